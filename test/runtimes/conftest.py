"""What tests of the runtimes need to know of this machine."""

from __future__ import annotations

import ctypes

import pytest


@pytest.fixture(scope="session")
def no_driver() -> None:
    """Skips a test of what is said without an NVIDIA driver where there is one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    pytest.skip("this machine has an NVIDIA driver")
