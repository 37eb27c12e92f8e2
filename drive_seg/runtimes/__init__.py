"""Runtimes that execute a network: one file or folder each, imported only when chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drive_seg.core.engine import Engine, EngineError, LogFunction
from drive_seg.loading import fix_for_memory, one_line
from drive_seg.runtimes.form import check_form

if TYPE_CHECKING:
    from drive_seg.network import Network


@dataclass(frozen=True)
class Options:
    """How a network is to be run.

    input_size: (height, width) in pixels other than the network's own. precision: one that the runtime knows, or
    `auto`. threads: of a runtime on the CPU, by default one a core. cameras: whose frames may wait together: one on a
    GPU runs them in batches. plan_folder: where TensorRT's plans are kept, by default in the user's cache.
    """

    input_size: tuple[int, int] | None = None
    precision: str = "auto"
    threads: int | None = None
    cameras: int = 1
    plan_folder: Path | None = None
    progress: LogFunction = lambda line: None


@dataclass(frozen=True)
class Runtime:
    """A line of RUNTIMES. precisions: that it runs. open: makes its engine, warmed up; raises EngineError."""

    precisions: tuple[str, ...]
    open: Callable[[Network, Options], Engine]


def _tensorrt(network: Network, options: Options) -> Engine:
    from drive_seg.runtimes.tensorrt.engine import open_tensorrt

    return open_tensorrt(network, options.input_size, options.precision, cameras=options.cameras,
                         plan_folder=options.plan_folder, progress=options.progress)


def _openvino(network: Network, options: Options) -> Engine:
    from drive_seg.runtimes.openvino import OpenVinoEngine

    return OpenVinoEngine(network, options.input_size, options.threads, options.precision)


def _onnxruntime(network: Network, options: Options) -> Engine:
    from drive_seg.runtimes.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(network, options.input_size, options.threads)


RUNTIMES: dict[str, Runtime] = {
    "tensorrt": Runtime(("fp16", "int8"), _tensorrt),
    "openvino": Runtime(("fp32", "bf16", "int8"), _openvino),
    "onnxruntime": Runtime(("fp32",), _onnxruntime),
}
"""The runtimes by name. To add one, add a line (docs/new_runtime.md)."""

ENGINES = tuple(RUNTIMES)
"""Names that open_engine takes besides `auto`."""

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
"""What open_engine takes as precision; each runtime knows some of them."""


def open_engine(name: str, network: Network, *, input_size: tuple[int, int] | None = None, precision: str = "auto",
                threads: int | None = None, cameras: int = 1, plan_folder: Path | None = None,
                progress: LogFunction = lambda line: None) -> Engine:
    """Open a runtime by name, warmed up and ready.

    `auto` takes what `choose` says, and OpenVINO where that can't be opened; a runtime that was named is taken or the
    call fails. For the arguments see Options; the precision `auto` is the fastest that keeps the accuracy. Raises
    EngineError with the fix when it can't run here.
    """
    options = Options(input_size, precision, threads, cameras, plan_folder, progress)
    if name != "auto":
        return _open(name, network, options)
    name, why = choose()
    progress(f"engine auto takes {name}: {why}")
    try:
        return _open(name, network, options)
    except EngineError as error:
        if name == FALLBACK:
            raise
        progress(f"engine auto takes {FALLBACK}: {error}")
    return _open(FALLBACK, network, options)


FALLBACK = "openvino"
"""What `auto` takes where there is no usable GPU."""


def choose() -> tuple[str, str]:
    """What `auto` takes on this machine, and why: TensorRT where a GPU and all that it needs are there."""
    try:
        return "tensorrt", describe_gpu()
    except EngineError as error:
        return FALLBACK, str(error)


def _open(name: str, network: Network, options: Options) -> Engine:
    runtime = RUNTIMES.get(name)
    if runtime is None:
        raise EngineError(f"no engine is called {name!r}", f"use auto, {', '.join(RUNTIMES)}")
    if options.precision not in ("auto", *runtime.precisions):
        known = ", ".join(runtime.precisions)
        raise EngineError(f"{name} runs {known}, not {options.precision}",
                          f"set precision to {known} or auto, or take another engine")
    check_form(network, options.input_size)
    try:
        return runtime.open(network, options)
    except EngineError:
        raise
    except (RuntimeError, MemoryError, OSError) as error:  # of a library, in its start
        raise EngineError(f"{name} can't be opened ({one_line(error)})", fix_for_memory(error)) from error


def describe_gpu() -> str:
    """The GPU and the TensorRT that would run on it. Raises EngineError, naming the fix, where one is missing or the
    driver is too old for it."""
    from drive_seg.runtimes.cuda_driver import first_gpu, open_backend
    from drive_seg.runtimes.tensorrt.library import check_driver, load_library

    device = first_gpu()
    open_backend()
    library = load_library()
    check_driver(library)
    return f"{device.title}, {library.title}"
