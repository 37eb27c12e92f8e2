"""The kernels' source, their arguments, and compiling them: once for each GPU, cached by hash."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from ctypes import c_float, c_int32, c_uint64
from pathlib import Path

from drive_seg.core.engine import EngineError
from drive_seg.runtimes.tensorrt.files import locked, write_whole

SOURCE = Path(__file__).with_name("kernels.cu")
_HEADER = Path(__file__).with_name("kernels.h")
_FLAGS = ("-cubin", "-O3", "-std=c++17", "-fmad=false")

PREPARE = {
    "bgr8": "prepare_bgr", "8UC3": "prepare_bgr", "rgb8": "prepare_rgb", "bgra8": "prepare_bgra",
    "8UC4": "prepare_bgra", "rgba8": "prepare_rgba", "mono8": "prepare_mono", "8UC1": "prepare_mono",
    "yuv422": "prepare_uyvy", "uyvy": "prepare_uyvy", "yuv422_yuy2": "prepare_yuyv", "yuyv": "prepare_yuyv",
    "nv12": "prepare_nv12", "nv21": "prepare_nv21",
}
"""Kernel that reads each encoding. Others (Bayer patterns) become BGR on the processor first."""

MOST_HALVINGS = 3
"""How often prepare_* can halve an image; a larger one is halved on the processor first."""

NOT_FINITE = 255
"""What a tile reports in place of the frame's ticket when a logit is no finite number."""


class PrepareArguments(ctypes.Structure):
    """See kernels.h."""

    _fields_ = [*((name, c_uint64) for name in ("image", "columns", "rows", "planes")),
                *((name, c_int32) for name in ("pitch", "image_height", "halved_width", "halved_height", "width",
                                               "height", "halvings"))]


class DecodeArguments(ctypes.Structure):
    """See kernels.h."""

    _fields_ = [*((name, c_uint64) for name in ("logits", "group_of_class", "mean", "deviation", "columns", "rows",
                                                "classes_out", "labels_out", "confidence_out", "ticket", "reports")),
                *((name, c_float) for name in ("temperature", "trust_limit")),
                *((name, c_int32) for name in ("classes", "grid_width", "grid_height", "width", "height",
                                               "tile_width", "tile_height"))]


def find_nvcc() -> str | None:
    """The CUDA compiler: on the PATH, under CUDA_HOME, or where the toolkit puts it."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = os.pathsep.join(str(Path(home) / "bin") for home in homes if home)
    return shutil.which("nvcc") or shutil.which("nvcc", path=places)


def compiled(compute_capability: tuple[int, int], folder: Path) -> Path:
    """The kernels for a GPU, e.g. (8, 7), compiled into `folder` unless they are there already.

    Raises EngineError without nvcc or the source, when nvcc doesn't know the GPU, or when the folder can't be written.
    """
    name = "kernels-sm_{}{}".format(*compute_capability)
    try:
        text = b"".join((SOURCE.read_bytes(), _HEADER.read_bytes(), " ".join(_FLAGS).encode()))
    except OSError as error:
        raise EngineError(f"the GPU kernels' source {error.filename} can't be read ({error.strerror})",
                          "install drive_seg again") from error
    cubin = folder / f"{name}-{hashlib.sha256(text).hexdigest()[:16]}.cubin"
    if cubin.is_file():
        return cubin
    nvcc = find_nvcc()
    if nvcc is None:
        raise EngineError("nvcc is needed once to compile the GPU kernels, and is neither on the PATH nor under"
                          " /usr/local/cuda",
                          "install the CUDA toolkit (on a Jetson `sudo apt install cuda-toolkit`), or copy"
                          f" {cubin.name} from a machine where `drive-seg build` ran into {folder}")
    with locked(cubin.with_suffix(".lock")):
        if not cubin.is_file():  # another process may have been faster
            _compile(nvcc, compute_capability, cubin)
    return cubin


def _compile(nvcc: str, compute_capability: tuple[int, int], cubin: Path) -> None:
    architecture = "sm_{}{}".format(*compute_capability)
    with write_whole(cubin) as part:
        run = subprocess.run([nvcc, *_FLAGS, f"-arch={architecture}", str(SOURCE), "-o", str(part)],
                             capture_output=True, text=True, check=False)
        if run.returncode:
            said = (run.stderr or run.stdout).strip().splitlines() or ["it said nothing"]
            raise EngineError(f"{nvcc} can't compile the kernels for compute capability"
                              f" {compute_capability[0]}.{compute_capability[1]}: {said[-1]}; a CUDA toolkit that knows"
                              " this GPU is needed")
