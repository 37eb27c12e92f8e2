"""Runtimes that execute a network: one file or folder each, imported only when chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from drive_seg.core.engine import Engine, EngineError

if TYPE_CHECKING:
    from drive_seg.network import Network

ENGINES = ("tensorrt", "openvino", "onnxruntime")
"""Names that open_engine takes besides `auto`."""


def open_engine(name: str, network: Network, *, input_size: tuple[int, int] | None = None,
                plan_folder: Path | None = None, progress: Callable[[str], None] = lambda line: None) -> Engine:
    """Open a runtime by name, warmed up and ready.

    `auto` takes TensorRT where a GPU is usable, else OpenVINO, and says why; a runtime that was named is taken or the
    call fails. input_size: (height, width) other than the network's own. plan_folder: where TensorRT's plans are kept,
    by default in the user's cache. progress: takes one line at a time, on the choice and on what takes long. Raises
    EngineError with the fix when it can't run here.
    """
    if name == "auto":
        try:
            progress(f"engine auto takes tensorrt: {describe_gpu()}")
            return open_engine("tensorrt", network, input_size=input_size, plan_folder=plan_folder, progress=progress)
        except EngineError as error:
            progress(f"engine auto takes openvino: {error}")
            name = "openvino"
    if name == "tensorrt":
        from drive_seg.runtimes.tensorrt.engine import open_tensorrt

        return open_tensorrt(network, input_size, plan_folder=plan_folder, progress=progress)
    if name == "openvino":
        from drive_seg.runtimes.openvino import OpenVinoEngine

        return OpenVinoEngine(network, input_size)
    if name == "onnxruntime":
        from drive_seg.runtimes.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(network, input_size)
    raise EngineError(f"no engine is called {name!r}: use auto, {', '.join(ENGINES)}")


def describe_gpu() -> str:
    """The GPU and the TensorRT that would run on it. Raises EngineError, naming the fix, where one is missing."""
    from drive_seg.runtimes.tensorrt.driver import first_gpu
    from drive_seg.runtimes.tensorrt.gpu import import_pycuda
    from drive_seg.runtimes.tensorrt.library import load_library

    name, (major, minor) = first_gpu()
    import_pycuda()
    return f"{name} (compute capability {major}.{minor}), {load_library().title}"
