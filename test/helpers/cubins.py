"""python3 test/helpers/cubins.py: compile the kernels that ship, with NVRTC from PyPI (`make cubins` installs it).

NVRTC of CUDA 12.6 for what the drivers of CUDA 12 load, JetPack 6's too; of CUDA 13.0 for GPUs that 12.6 doesn't know.
"""

from __future__ import annotations

import ctypes
import hashlib
import sysconfig
from pathlib import Path

import pytest

from drive_seg.runtimes.tensorrt.kernels import COMPILED, OPTIONS, PTX, SOURCE, compile_kernels, load_nvrtc

CUDA_12 = ("12.6", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
           ("sm_80", "sm_86", "sm_87", "sm_89", "sm_90", PTX))  # Ampere, Orin, Ada, Hopper
CUDA_13 = ("13.0", "nvidia/cu13/lib/libnvrtc.so.13", ("sm_110", "sm_120"))  # Thor, Blackwell
STAMP = COMPILED / "source.sha256"


def file_for(architecture: str) -> Path:
    """Where the compiled kernels are."""
    return COMPILED / f"{architecture}.{'cubin' if architecture.startswith('sm_') else 'ptx'}"


def source_digest() -> str:
    """A hash of all that the compiled kernels follow from."""
    return hashlib.sha256(SOURCE.read_bytes() + " ".join(OPTIONS).encode()).hexdigest()


def nvrtc_of(release: str, library: str) -> ctypes.CDLL | None:
    """NVRTC from PyPI, of exactly this CUDA release; None where it is not installed."""
    path = Path(sysconfig.get_path("purelib"), library)
    if not path.is_file() or not list(path.parent.glob(f"libnvrtc-builtins.so.{release}")):
        return None
    return load_nvrtc(path)


def compile_all(release: str, library: str, architectures: tuple[str, ...]) -> dict[str, bytes]:
    """Compiled code by architecture; skips the test where this NVRTC is not installed."""
    nvrtc = nvrtc_of(release, library)
    if nvrtc is None:
        pytest.skip(f"NVRTC of CUDA {release} is not installed here (`make cubins` installs it)")
    return {name: compile_kernels(SOURCE.read_bytes(), name, nvrtc) for name in architectures}


if __name__ == "__main__":
    COMPILED.mkdir(exist_ok=True)
    for group in (CUDA_12, CUDA_13):
        for name, image in compile_all(*group).items():
            file_for(name).write_bytes(image)
            print(f"{file_for(name)}: {len(image)} bytes")
    STAMP.write_text(source_digest() + "\n")
