"""The oldest environment that setup.py allows: Python 3.10, as on JetPack 6, and the lowest series of each package."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from colours import paint_scene, write_colour_network
from stand_in import HELPERS, build_driver

from drive_seg.fp16.write import write_fp16

pytestmark = pytest.mark.slow  # whatever this machine has cached

SOURCE = Path(__file__).parents[2]
EXTRAS = ("gpu", "bench")  # bench: ONNX Runtime, which computes for the stand-in of TensorRT
SIZE = (360, 640)


def python_3_10() -> str | None:
    """A Python 3.10 of this machine: on the path, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for found in (shutil.which("python3.10"), *map(str, sorted(pyenv.glob("3.10.*/bin/python3.10")))):
        if found and subprocess.run([found, "-c", "import ensurepip, venv"], check=False, capture_output=True,
                                    env={**os.environ, "PYENV_VERSION": ""}).returncode == 0:
            return found
    return None


def lowest(requirement: str) -> str:
    """numpy>=1.26,<3 -> numpy==1.26.*"""
    name, version = re.match(r"([\w.-]+)[>=]=([\d.]+)", requirement).groups()
    return f"{name}=={version}.*"


@pytest.fixture(scope="module")
def oldest(declared) -> Path:
    """The virtual environment's folder of executables. It is kept beside the tests' own environment, with what Numba
    compiled in it, until a line of the package or of what it needs changes."""
    python = python_3_10()
    if python is None:
        pytest.skip("there is no Python 3.10 with venv on this machine")
    requirements = sum((declared["extras_require"][extra] for extra in EXTRAS), declared["install_requires"])
    constraints = "\n".join(map(lowest, requirements))
    folder = Path(sys.prefix) / "oldest"
    copy, programs, made = folder / "source", folder / "venv/bin", folder / "made"
    key = fingerprint(f"{python}\n{constraints}")
    if made.exists() and made.read_text() == key:
        return programs
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "install", "log", "out", "dist", "test"))
    (folder / "lowest.txt").write_text(constraints)
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    pip = subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", "--no-compile",
                          "--only-binary=:all:", "-c", str(folder / "lowest.txt"), f"{copy}[{','.join(EXTRAS)}]"],
                         capture_output=True, text=True, check=False)
    if pip.returncode and not any(word in pip.stderr for word in ("No matching distribution", "conflict")):
        pytest.skip(f"the package index can't be asked: {pip.stderr.strip().splitlines()[-1]}")
    assert pip.returncode == 0, pip.stderr
    made.write_text(key)
    return programs


def fingerprint(text: str) -> str:
    """Of a text and of every file that is installed."""
    digest = hashlib.sha256(text.encode())
    files = [SOURCE / name for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml")]
    for top in ("drive_seg", "engines", "launch", "config", "resource"):
        files += [path for path in (SOURCE / top).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in sorted(files):
        digest.update(f"\0{path.relative_to(SOURCE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def segment(programs: Path, folder: Path, network: Path, *options: str, **variables: str) -> np.ndarray:
    """The labels that `drive-seg segment` writes for a painted street."""
    cv2.imwrite(str(folder / "street.png"), paint_scene(*SIZE))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    run = subprocess.run([programs / "drive-seg", "segment", "street.png", "-o", "out", "--network", str(network),
                          *options], capture_output=True, text=True, check=False, cwd=folder, env=env)
    assert run.returncode == 0, run.stdout + run.stderr
    (labels,) = (folder / "out/labels").glob("*.png")
    return cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """The colour network, with its version for TensorRT."""
    path = write_colour_network(tmp_path_factory.mktemp("network"))
    write_fp16(path)
    return path


def test_it_is_as_old_as_promised(oldest):
    script = "import sys, numpy, cv2, numba; print(sys.version_info[:2], numpy.__version__, cv2.__version__)"
    said = subprocess.run([oldest / "python", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith("(3, 10) 1.26.") and " 4.8." in said


def test_it_segments_a_picture_on_the_processor_and_on_the_stand_in_gpu(oldest, network, tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "gpu").mkdir()
    on_cpu = segment(oldest, tmp_path / "cpu", network, "--engine", "openvino")
    assert set(np.unique(on_cpu)) == {0, 1, 2, 3}  # all that is painted
    driver = build_driver(tmp_path)
    on_gpu = segment(oldest, tmp_path / "gpu", network, "--engine", "tensorrt", "--plans", str(tmp_path / "plans"),
                     LD_LIBRARY_PATH=str(driver.parent), PYTHONPATH=str(HELPERS / "fake_tensorrt"))
    assert (on_gpu == on_cpu).mean() > 0.995
    assert list((tmp_path / "plans").glob("*.plan"))
