"""Numba without SciPy: where that is installed, Numba loads its linear algebra, which nothing here uses."""

from __future__ import annotations

import sys
from typing import Any

_WANTED = "scipy.linalg.cython_blas"


def leave_out() -> None:
    """Have Numba load without SciPy; others can import it all the same.

    For processes that are this package's alone, before Numba compiles or loads a function: in them, it will compile
    none that multiplies matrices.
    """
    if _WANTED in sys.modules:
        return
    modules: dict[str, Any] = sys.modules
    modules[_WANTED] = None  # so that importing it fails
    try:
        import numba.np.arraymath  # noqa: F401  looks for SciPy once
    finally:
        del modules[_WANTED]
