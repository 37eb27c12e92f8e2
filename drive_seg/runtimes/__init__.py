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


PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
"""What open_engine takes as precision; each runtime knows some of them."""


def open_engine(name: str, network: Network, *, input_size: tuple[int, int] | None = None, precision: str = "auto",
                threads: int | None = None, plan_folder: Path | None = None,
                progress: Callable[[str], None] = lambda line: None) -> Engine:
    """Open a runtime by name, warmed up and ready.

    `auto` takes TensorRT where a GPU is usable, else OpenVINO, and says why; a runtime that was named is taken or the
    call fails. input_size: (height, width) other than the network's own. precision: `auto` is the fastest that keeps
    the accuracy; TensorRT runs fp16, OpenVINO fp32, bf16 or int8, ONNX Runtime fp32. threads: of a runtime on the CPU,
    by default one a core. plan_folder: where TensorRT's plans are kept, by default in the user's cache. progress: takes
    one line at a time, on the choice and on what takes long. Raises EngineError with the fix when it can't run here.
    """
    if name == "auto":
        try:
            progress(f"engine auto takes tensorrt: {describe_gpu()}")
            return open_engine("tensorrt", network, input_size=input_size, precision=precision, plan_folder=plan_folder,
                               progress=progress)
        except EngineError as error:
            progress(f"engine auto takes openvino: {error}")
            name = "openvino"
    if name == "tensorrt":
        _only(name, precision, "fp16")
        from drive_seg.runtimes.tensorrt.engine import open_tensorrt

        return open_tensorrt(network, input_size, plan_folder=plan_folder, progress=progress)
    if name == "openvino":
        from drive_seg.runtimes.openvino import OpenVinoEngine

        return OpenVinoEngine(network, input_size, threads, precision)
    if name == "onnxruntime":
        _only(name, precision, "fp32")
        from drive_seg.runtimes.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(network, input_size, threads)
    raise EngineError(f"no engine is called {name!r}", f"use auto, {', '.join(ENGINES)}")


def _only(name: str, precision: str, known: str) -> None:
    if precision not in ("auto", known):
        raise EngineError(f"{name} runs {known}, not {precision}",
                          f"set precision to {known} or auto, or take another engine")


def describe_gpu() -> str:
    """The GPU and the TensorRT that would run on it. Raises EngineError, naming the fix, where one is missing."""
    from drive_seg.runtimes.tensorrt.driver import first_gpu
    from drive_seg.runtimes.tensorrt.gpu import import_pycuda
    from drive_seg.runtimes.tensorrt.library import load_library

    name, (major, minor) = first_gpu()
    import_pycuda()
    return f"{name} (compute capability {major}.{minor}), {load_library().title}"
