"""Frames, the kernels built for the host, and the packages that call CUDA."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from colours import paint_scene
from host_gpu import build_kernels


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory: pytest.TempPathFactory):
    """kernels.cu as a shared library of this machine."""
    return build_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def street() -> list[np.ndarray]:
    """BGR camera images: up to five from the folder DRIVE_SEG_FRAMES where it is set, else drawn ones with noise."""
    folder = os.environ.get("DRIVE_SEG_FRAMES")
    if folder:
        paths = sorted(p for p in Path(folder).iterdir() if p.suffix in (".png", ".jpg"))
        return [cv2.imread(str(p)) for p in paths[:: max(1, len(paths) // 5)][:5]]
    rng = np.random.default_rng(1)
    scenes = [cv2.GaussianBlur(paint_scene(*size), (0, 0), 2) for size in ((360, 480), (720, 1280))]
    return [np.clip(s + rng.normal(0, 8, s.shape), 0, 255).astype(np.uint8) for s in scenes]


@pytest.fixture(scope="module", params=["cuda-bindings", "pycuda"])
def package(request) -> str:
    """The name of one of the two packages that call the CUDA driver, for `backend` in a script under the stand-in."""
    module = {"cuda-bindings": "cuda", "pycuda": "pycuda"}[request.param]
    if importlib.util.find_spec(module) is None:
        target = {"cuda-bindings": "make gpu-tools", "pycuda": "make test-pycuda"}[request.param]
        pytest.skip(f"{request.param} is not installed here: {target} does it")
    return request.param
