"""Numba does not load SciPy in processes of this package, and everybody else can."""

import os
import subprocess
import sys

import pytest

USE = """
import sys
from drive_seg import numba_blas
if {leave_out}:
    numba_blas.leave_out()
    numba_blas.leave_out()
import numba
assert numba.njit(lambda x: x + 1)(1) == 2
print("scipy.linalg" in sys.modules)
import scipy.linalg.cython_blas
assert scipy.linalg.cython_blas.here
"""


@pytest.mark.parametrize("leave_out", [True, False])
def test_numba_leaves_scipy_out(tmp_path, leave_out):
    linalg = tmp_path / "scipy/linalg"
    linalg.mkdir(parents=True)
    (tmp_path / "scipy/__init__.py").write_text("__version__ = '1.14.0'\n")
    (linalg / "__init__.py").touch()
    (linalg / "cython_blas.py").write_text("here = True\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", USE.format(leave_out=leave_out)], env=env, cwd=tmp_path, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{not leave_out}\n"
