"""What `pip install 'drive-seg[gpu]'` would do on a Jetson: Python 3.10 of JetPack 6, wheels for aarch64 alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

GLIBC = 35  # Ubuntu 22.04 has 2.35


def test_everything_is_there_as_a_wheel_and_nothing_brings_a_compiler_or_onnx(declared, tmp_path):
    requirements = declared["install_requires"] + declared["extras_require"]["gpu"]
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, GLIBC + 1)]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report",
         str(tmp_path / "report.json"), "--target", str(tmp_path / "none"), "--only-binary=:all:",
         "--python-version=3.10", "--platform=manylinux2014_aarch64", *platforms, *requirements],
        capture_output=True, text=True, check=False, timeout=900)
    if pip.returncode and not any(word in pip.stderr for word in ("No matching distribution", "conflict")):
        pytest.skip(f"the package index can't be asked: {pip.stderr.strip().splitlines()[-1]}")
    assert pip.returncode == 0, pip.stderr
    found = {entry["metadata"]["name"].lower(): entry["metadata"]["version"]
             for entry in json.loads((tmp_path / "report.json").read_text())["install"]}
    assert found["cuda-bindings"].startswith("12.9."), found  # 13 needs a driver that JetPack 6 has not
    assert not {"onnx", "pycuda", "nvidia-cuda-nvcc-cu12"} & set(found), found
