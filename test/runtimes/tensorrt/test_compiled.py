"""The kernels that ship compiled: made from this source, by NVIDIA's compilers, and within the limits set for them."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

import cubins
import numpy as np
import pytest

from drive_seg.core.engine import EngineError
from drive_seg.gpu_check.checks import random_frame
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes.tensorrt import kernels
from drive_seg.runtimes.tensorrt.intake import Intake, decode_tiling, places, prepare_tiling, taps

CUBINS = [name for _, _, names in (cubins.CUDA_12, cubins.CUDA_13) for name in names if name.startswith("sm_")]

REGISTERS = 64
"""The most of a thread: 8 blocks of 128 threads then share the 65536 registers of a multiprocessor."""

SHARED = 100 << 10
"""Bytes of a multiprocessor's shared memory where it is least: compute capability 8.9 and 12.0."""


def test_they_were_made_from_this_source():
    assert cubins.STAMP.read_text().strip() == cubins.source_digest(), "run `make cubins` after a change of kernels.cu"
    for architecture in (*CUBINS, kernels.PTX):
        image = cubins.file_for(architecture).read_bytes()
        assert image.startswith(b"\x7fELF" if architecture in CUBINS else b"//")
        assert b"prepare" in image and b"decode" in image


def test_no_gpu_that_an_older_driver_runs_needs_the_ptx():
    """A driver refuses PTX that is newer than itself, but loads what any compiler of its CUDA 12 made for its GPU."""
    version = re.search(rb"^\.version (\d+)\.(\d+)$", cubins.file_for(kernels.PTX).read_bytes(), re.MULTILINE)
    assert version is not None and (int(version[1]), int(version[2])) <= (8, 5)  # CUDA 12.5
    known_to_cuda_12_0 = {"sm_80", "sm_86", "sm_87", "sm_89", "sm_90"}  # CUDA 12.8 brought the next ones
    assert known_to_cuda_12_0 <= set(CUBINS)


@pytest.mark.parametrize("group", [cubins.CUDA_12, cubins.CUDA_13], ids=lambda group: group[0])
def test_the_compiler_makes_the_same_again(group):
    for architecture, image in cubins.compile_all(*group).items():
        assert image == cubins.file_for(architecture).read_bytes(), f"{architecture}: run `make cubins`"


def tool(name: str) -> str:
    path = Path(sysconfig.get_path("purelib"), "nvidia/cu13/bin", name)
    if not path.is_file():
        pytest.skip(f"{name} is not installed here (`make test` installs it on x86-64 Linux)")
    return str(path)


@pytest.mark.parametrize("architecture", CUBINS)
def test_no_spills_and_few_registers(architecture):
    said = subprocess.run([tool("cuobjdump"), "--dump-resource-usage", str(cubins.file_for(architecture))],
                          capture_output=True, text=True, check=True).stdout
    used = dict(re.findall(r"Function (\w+):\s+(REG:.*)", said))
    assert set(used) == {"prepare", "decode"}
    for kernel, resources in used.items():
        numbers = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", resources)}
        assert numbers["REG"] <= REGISTERS, (kernel, resources)
        assert numbers["STACK"] == numbers["LOCAL"] == 0, (kernel, resources)  # nothing is spilled


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "yuv422", "nv12"])
@pytest.mark.parametrize("height, width", [(360, 640), (720, 1280), (1080, 1920)])
def test_the_shared_memory_has_room_for_several_blocks(height, width, encoding):
    """While one loads, another computes. Each takes 1 KB more than it asks for."""
    network = Network.load(default_network())
    grid = (network.input_size[0] // 8, network.input_size[1] // 8)
    intake = Intake.of(random_frame(np.random.default_rng(), encoding, height, width), network.input_size)
    columns, rows = (taps(network.input_size[i], intake.halved[i]) for i in (1, 0))
    tilings = (prepare_tiling(columns, rows, intake),
               decode_tiling(places(width, grid[1]), places(height, grid[0]), grid, len(network.table)))
    assert min(SHARED // (tiling.shared + 1024) for tiling in tilings) >= 4, tilings


@pytest.mark.parametrize("architecture", CUBINS)
def test_camera_bytes_are_read_and_pixels_written_16_bytes_at_once(architecture):
    code = subprocess.run([tool("nvdisasm"), "-c", str(cubins.file_for(architecture))], capture_output=True, text=True,
                          check=True).stdout
    sections = re.split(r"\.section\s+\.text\.(\w+)", code)
    used = {name: re.findall(r"\b(LDG|STG)\.E((?:\.\w+)*)", text)
            for name, text in zip(sections[1::2], sections[2::2], strict=True)}
    loads = [kind for what, kind in used["prepare"] if what == "LDG"]
    assert any(".128" in kind for kind in loads) and not any(".U8" in kind for kind in loads), loads
    assert all(".128" in kind for what, kind in used["prepare"] if what == "STG"), used["prepare"]
    assert any(".128" in kind for what, kind in used["decode"] if what == "LDG"), used["decode"]


def test_a_gpu_that_the_compiler_does_not_know_names_the_fix():
    library = cubins.nvrtc_of(*cubins.CUDA_12[:2])
    if library is None:
        pytest.skip("NVRTC of CUDA 12.6 is not installed here")
    with pytest.raises(EngineError, match="for sm_990: .*one that knows this GPU is needed: pip install"):
        kernels.compile_kernels(kernels.SOURCE.read_bytes(), "sm_990", library)


def test_source_that_does_not_compile_says_where():
    library = cubins.nvrtc_of(*cubins.CUDA_12[:2])
    if library is None:
        pytest.skip("NVRTC of CUDA 12.6 is not installed here")
    with pytest.raises(EngineError, match=r"kernels.cu\(1\): error"):
        kernels.compile_kernels(b"no code", "sm_87", library)


def test_without_a_compiler_the_error_names_the_fix(tmp_path):
    with pytest.raises(EngineError, match="pip install nvidia-cuda-nvrtc"):
        kernels.load_nvrtc(tmp_path / "libnvrtc.so.12")
