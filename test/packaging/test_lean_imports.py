"""Parts of Numba and OpenVINO that processes of this package do not load, and everybody else can."""

import os
import subprocess
import sys

import pytest

USE = """
import sys
from drive_seg import lean_imports
if {leave_out}:
    lean_imports.load_numba_without_scipy()
    lean_imports.load_numba_without_scipy()
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


def test_openvino_comes_without_what_reports_to_its_vendor():
    code = ("import sys\n"
            "import drive_seg.openvino_core\n"
            "print([name for name in sys.modules if name.startswith(('openvino.tools', 'openvino_telemetry'))])\n"
            "import openvino.tools.ovc\n")
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
