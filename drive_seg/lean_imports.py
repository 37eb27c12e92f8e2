"""Heavy parts of libraries that nothing here uses: left out while the library is loaded, free to import afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without(module: str) -> Iterator[None]:
    """Importing `module` fails within, unless it is loaded already."""
    modules: dict[str, Any] = sys.modules
    if module in modules:
        yield
        return
    modules[module] = None
    try:
        yield
    finally:
        if modules.get(module, module) is None:
            del modules[module]


def load_numba_without_scipy() -> None:
    """Where SciPy is installed, Numba loads its linear algebra.

    For processes that are this package's alone, before Numba compiles or loads a function: in them, it will compile
    none that multiplies matrices.
    """
    with without("scipy.linalg.cython_blas"):
        import numba.np.arraymath  # noqa: F401  looks for SciPy once
