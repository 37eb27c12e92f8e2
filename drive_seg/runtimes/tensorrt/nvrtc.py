"""NVIDIA's compiler library: compiles the kernels where none that was shipped suits a GPU."""

from __future__ import annotations

import ctypes
import sysconfig
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path

from drive_seg.core.engine import EngineError

OPTIONS = ("--std=c++17", "--fmad=false")
"""Without contraction of a*b+c the kernels compute what core/ does, bit for bit."""

FIX = "pip install nvidia-cuda-nvrtc-cu12 (CUDA 12) or nvidia-cuda-nvrtc (CUDA 13)"


def load_nvrtc(path: Path | None = None) -> ctypes.CDLL:
    """The library at `path`, or else the newest of what pip, the CUDA toolkit or the system has. Raises EngineError."""
    places = [Path(sysconfig.get_path("purelib"), "nvidia"), Path("/usr/local/cuda/lib64")]
    found = [path] if path else sorted((p for place in places for p in place.rglob("libnvrtc.so.1?")),
                                       key=lambda p: p.suffix, reverse=True)
    for library in (*found, *(() if path else (Path("libnvrtc.so.13"), Path("libnvrtc.so.12")))):
        try:
            for builtins in library.parent.glob("libnvrtc-builtins.so.*"):  # which it doesn't look for beside itself
                ctypes.CDLL(str(builtins))
            return ctypes.CDLL(str(library))
        except OSError:
            continue
    raise EngineError("no NVRTC to compile the GPU kernels with", FIX)


def compile_kernels(source: bytes, architecture: str, nvrtc: ctypes.CDLL | None = None) -> bytes:
    """CUDA C -> cubin for an architecture like `sm_87`, PTX for one like `compute_80`. Raises EngineError."""
    nvrtc = nvrtc or load_nvrtc()
    program = c_void_p()
    _must(nvrtc, nvrtc.nvrtcCreateProgram(byref(program), c_char_p(source), c_char_p(b"kernels.cu"), 0, None, None))
    try:
        options = [option.encode() for option in (*OPTIONS, f"--gpu-architecture={architecture}")]
        status = nvrtc.nvrtcCompileProgram(program, c_int(len(options)), (c_char_p * len(options))(*options))
        if status:
            said = _bytes(nvrtc, program, "nvrtcGetProgramLog").decode(errors="replace").strip("\0\n ").splitlines()
            raise EngineError(f"NVRTC can't compile the GPU kernels for {architecture}:"
                              f" {said[0] if said else _name(nvrtc, status)}; one that knows this GPU is needed", FIX)
        return _bytes(nvrtc, program, "nvrtcGetCUBIN" if architecture.startswith("sm_") else "nvrtcGetPTX")
    finally:
        nvrtc.nvrtcDestroyProgram(byref(program))


def _bytes(nvrtc: ctypes.CDLL, program: c_void_p, what: str) -> bytes:
    size = c_size_t()
    _must(nvrtc, getattr(nvrtc, f"{what}Size")(program, byref(size)))
    out = ctypes.create_string_buffer(size.value)
    _must(nvrtc, getattr(nvrtc, what)(program, out))
    return out.raw


def _must(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        raise EngineError(f"NVRTC failed: {_name(nvrtc, status)}")


def _name(nvrtc: ctypes.CDLL, status: int) -> str:
    nvrtc.nvrtcGetErrorString.restype = c_char_p
    return nvrtc.nvrtcGetErrorString(status).decode()
