"""The kernels: their arguments, and the compiled code that is loaded for a GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ctypes import c_float, c_int32, c_uint64
from pathlib import Path

from drive_seg.core.engine import EngineError
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.nvrtc import compile_kernels

SOURCE = Path(__file__).with_name("kernels.cu")

COMPILED = Path(__file__).with_name("compiled")
"""sm_87.cubin and so on for the GPUs that are most in use, compute_80.ptx for others; `make cubins` writes them."""

PTX = "compute_80"
"""What the driver of any GPU of compute capability 8.0 or newer can turn into its own code."""

NOT_FINITE = 255
"""What a tile reports in place of the frame's ticket when a logit is not a finite number."""


class PrepareArguments(ctypes.Structure):
    """See kernels.cu."""

    _fields_ = [*((name, c_uint64) for name in ("image", "columns", "rows", "pixels")),
                *((name, c_int32) for name in ("pitch", "step", "at_0", "at_1", "at_2", "yuv", "chroma_row", "halvings",
                                               "halved_width", "halved_height", "width", "height", "tile_width",
                                               "tile_height"))]


class DecodeArguments(ctypes.Structure):
    """See kernels.cu."""

    _fields_ = [*((name, c_uint64) for name in ("logits", "group_of_class", "mean", "deviation", "columns", "rows",
                                                "classes_out", "labels_out", "confidence_out", "ticket", "reports")),
                *((name, c_float) for name in ("temperature", "trust_limit")),
                *((name, c_int32) for name in ("classes", "channels", "grid_width", "grid_height", "width", "height",
                                               "tile_width", "tile_height"))]


def load_kernels(gpu: Gpu) -> str:
    """Load the kernels into a GPU: those compiled for it, else the PTX, else compiled here. Returns which.

    Use it inside `gpu.current()`. Raises EngineError saying why none of them could be loaded.
    """
    refused = []
    for name, image in _candidates(gpu.compute_capability):
        try:
            gpu.load_module(image())
            return name
        except (EngineError, OSError) as error:
            refused.append(f"{name}: {error}")
    raise EngineError(f"the GPU kernels can't be loaded ({'; '.join(refused)})")


def _candidates(compute_capability: tuple[int, int]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    architecture = "sm_{}{}".format(*compute_capability)
    cubin, ptx = COMPILED / f"{architecture}.cubin", COMPILED / f"{PTX}.ptx"
    if cubin.is_file():
        yield cubin.name, cubin.read_bytes
    if compute_capability >= (8, 0):
        yield ptx.name, ptx.read_bytes
    yield "NVRTC", lambda: compile_kernels(SOURCE.read_bytes(), architecture)
