"""The kernels: their arguments, and the compiled code that is loaded for a GPU.

They ship compiled. Where none of that suits a GPU, NVIDIA's compiler library (NVRTC) compiles them.
"""

from __future__ import annotations

import ctypes
import sysconfig
from ctypes import byref, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint64, c_void_p
from pathlib import Path

from drive_seg.core.engine import EngineError
from drive_seg.runtimes.tensorrt.gpu import Gpu

SOURCE = Path(__file__).with_name("kernels.cu")
COMPILED = Path(__file__).with_name("compiled")  # sm_87.cubin and so on; `make cubins` writes them
PTX = "compute_80"  # for newer GPUs; drivers before CUDA 12.5, which know none of those, refuse PTX of CUDA 12.6
OPTIONS = ("--std=c++17", "--fmad=false")  # without contraction of a*b+c they compute what core/ does, bit for bit
NOT_FINITE = 255  # a tile's report in place of the frame's ticket when a logit is not a finite number

_FIX = "pip install nvidia-cuda-nvrtc-cu12 (CUDA 12) or nvidia-cuda-nvrtc (CUDA 13)"


class PrepareArguments(ctypes.Structure):
    """See kernels.cu."""

    _fields_ = [*((name, c_uint64) for name in ("image", "columns", "rows", "pixels")),
                *((name, c_int32) for name in ("pitch", "step", "at_0", "at_1", "at_2", "yuv", "chroma_row", "halvings",
                                               "source_width", "source_height", "width", "height", "tile_width",
                                               "tile_height"))]


class DecodeArguments(ctypes.Structure):
    """See kernels.cu."""

    _fields_ = [*((name, c_uint64) for name in ("logits", "group_of_class", "mean", "deviation", "columns", "rows",
                                                "classes_out", "labels_out", "confidence_out", "ticket", "reports")),
                *((name, c_float) for name in ("temperature", "trust_limit")),
                *((name, c_int32) for name in ("classes", "channels", "source_width", "source_height", "width",
                                               "height", "tile_width", "tile_height"))]


def load_kernels(gpu: Gpu) -> str:
    """Load the kernels into a GPU: those compiled for it, else the PTX, else compiled here. Returns which.

    Use it inside `gpu.current()`. Raises EngineError saying why none of them could be loaded.
    """
    architecture = "sm_{}{}".format(*gpu.device.compute_capability)
    refused = []
    for name in (f"{architecture}.cubin", f"{PTX}.ptx", "NVRTC"):
        try:
            gpu.load_module(compile_kernels(SOURCE.read_bytes(), architecture) if name == "NVRTC"
                            else (COMPILED / name).read_bytes())
            return name
        except FileNotFoundError:
            continue
        except (EngineError, OSError) as error:
            refused.append(f"{name}: {error}")
    raise EngineError(f"the GPU kernels can't be loaded ({'; '.join(refused)})")


def load_nvrtc(path: Path | None = None) -> ctypes.CDLL:
    """The library at `path`, or else the newest of what pip, the CUDA toolkit or the system has. Raises EngineError."""
    places = [Path(sysconfig.get_path("purelib"), "nvidia"), Path("/usr/local/cuda/lib64")]
    found = [path] if path else [
        *sorted((p for place in places for p in place.rglob("libnvrtc.so.1?")), key=lambda p: p.suffix, reverse=True),
        Path("libnvrtc.so.13"), Path("libnvrtc.so.12")]
    for library in found:
        try:
            for builtins in library.parent.glob("libnvrtc-builtins.so.*"):  # which it doesn't look for beside itself
                ctypes.CDLL(str(builtins))
            nvrtc = ctypes.CDLL(str(library))
            nvrtc.nvrtcGetErrorString.restype = c_char_p
            return nvrtc
        except OSError:
            continue
    raise EngineError("no NVRTC to compile the GPU kernels with", _FIX)


def compile_kernels(source: bytes, architecture: str, nvrtc: ctypes.CDLL | None = None) -> bytes:
    """CUDA C -> cubin for an architecture like `sm_87`, PTX for one like `compute_80`. Raises EngineError."""
    nvrtc = nvrtc or load_nvrtc()
    program = c_void_p()

    def must(status: int) -> None:
        if status:
            raise EngineError(f"NVRTC failed: {nvrtc.nvrtcGetErrorString(status).decode()}")

    def output(what: str) -> bytes:
        size = c_size_t()
        must(getattr(nvrtc, f"nvrtcGet{what}Size")(program, byref(size)))
        out = ctypes.create_string_buffer(size.value)
        must(getattr(nvrtc, f"nvrtcGet{what}")(program, out))
        return out.raw

    must(nvrtc.nvrtcCreateProgram(byref(program), c_char_p(source), c_char_p(b"kernels.cu"), 0, None, None))
    try:
        options = [option.encode() for option in (*OPTIONS, f"--gpu-architecture={architecture}")]
        status = nvrtc.nvrtcCompileProgram(program, c_int(len(options)), (c_char_p * len(options))(*options))
        if status:
            said = output("ProgramLog").strip(b"\0\n ") or nvrtc.nvrtcGetErrorString(status)
            raise EngineError(f"NVRTC can't compile the GPU kernels for {architecture}:"
                              f" {said.decode(errors='replace').splitlines()[0]}; one that knows this GPU is needed",
                              _FIX)
        return output("CUBIN" if architecture.startswith("sm_") else "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(byref(program))
