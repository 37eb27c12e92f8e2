"""What TensorRT for RTX compiles when a plan is opened, kept for the next start: its plans hold no finished kernels."""

from __future__ import annotations

import contextlib
from pathlib import Path

from drive_seg.core.engine import EngineError
from drive_seg.files import write_whole


class JitCache:
    """The cache of one engine. Must live as long as the contexts made with `config`; use it with the GPU current."""

    def __init__(self, engine, path: Path) -> None:
        """engine: an ICudaEngine of TensorRT for RTX."""
        self._path = path
        self._stored = b""
        self.config = engine.create_runtime_config()
        """For create_execution_context."""
        self._cache = self.config.create_runtime_cache()
        with contextlib.suppress(OSError):
            self._stored = path.read_bytes()
        if self._stored:
            self._cache.deserialize(self._stored)  # it refuses what is damaged or another GPU's, and stays empty
        self.config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Write it down if there is something new; a folder that can't be written only makes the next start slower."""
        compiled = self._cache.serialize()
        if compiled is None or bytes(compiled) == self._stored:
            return
        with contextlib.suppress(EngineError), write_whole(self._path) as part:
            part.write_bytes(bytes(compiled))
