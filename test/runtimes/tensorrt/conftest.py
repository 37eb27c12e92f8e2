"""Real frames of this package's own drawing, and the kernels built for the host."""

from __future__ import annotations

import numpy as np
import pytest
from host_gpu import build_kernels


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory: pytest.TempPathFactory):
    """kernels.cu as a shared library of this machine."""
    return build_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(7)
