"""Runtimes that execute a network: one file each, imported only when chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drive_seg.core.engine import Engine, EngineError

if TYPE_CHECKING:
    from drive_seg.network import Network

ENGINES = ("openvino", "onnxruntime")
"""Names that open_engine takes besides `auto`."""


def open_engine(name: str, network: Network, *, input_size: tuple[int, int] | None = None) -> Engine:
    """Open a runtime by name, warmed up and ready.

    input_size: (height, width) other than the network's own. Raises EngineError with the fix when it can't run here.
    """
    if name in ("auto", "openvino"):
        from drive_seg.runtimes.openvino import OpenVinoEngine

        return OpenVinoEngine(network, input_size)
    if name == "onnxruntime":
        from drive_seg.runtimes.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(network, input_size)
    raise EngineError(f"no engine is called {name!r}: use auto, {', '.join(ENGINES)}")
