"""A network at another input size, for runtimes that run a file at the size that it has."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from drive_seg.network import Network


def at_size(network: Network, size: tuple[int, int], folder: Path) -> Network:
    """The network for images of `size` = (height, width): itself, or a copy in `folder` that has this size for its own.

    Raises EngineError for a network that holds sizes fixed.
    """
    if size == network.input_size:
        return network
    from drive_seg.fp16.typed import load_onnx  # raises EngineError where onnx is missing

    path = folder / f"{network.path.stem}_{size[0]}x{size[1]}.onnx"
    path.write_bytes(load_onnx(network.path, size).SerializeToString())
    return replace(network, path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), input_size=size, int8=None)
