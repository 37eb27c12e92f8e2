"""Where compiled functions are kept when neither the package's folder nor the user's cache can be written to."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import drive_seg
from drive_seg import numba_cache

PACKAGE = Path(drive_seg.__file__).parent
USE = """
import drive_seg, os, sys
assert "numba" not in sys.modules and "numpy" not in sys.modules and "tempfile" not in sys.modules or {anyway}
from drive_seg.core import drivable
assert drive_seg.__file__.startswith({copy!r}), drive_seg.__file__
print(os.environ.get("NUMBA_CACHE_DIR", "none"))
"""


@pytest.fixture
def copy(tmp_path) -> Path:
    """A folder with a copy of the package in which nothing can be cached, for root neither: a file is in the way."""
    shutil.copytree(PACKAGE, tmp_path / "copy/drive_seg", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [path for path in (tmp_path / "copy").rglob("*") if path.is_dir()]:
        (folder / "__pycache__").touch()
    (tmp_path / "tmp").mkdir()
    return tmp_path / "copy"


def use(copy: Path, *, anyway: bool = True, **variables: str) -> str:
    """Import compiled functions in a process of a user without a home; returns where they are cached."""
    left_out = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    env = {name: value for name, value in os.environ.items() if name not in left_out} | {
        "HOME": "/dev/null/nobody", "TMPDIR": str(copy.parent / "tmp"), "PYTHONPATH": str(copy)} | variables
    done = subprocess.run([sys.executable, "-c", USE.format(copy=str(copy), anyway=anyway)], env=env, cwd=copy.parent,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_user_who_can_write_nowhere_gets_a_temporary_folder_of_its_own(copy):
    folder = copy.parent / "tmp" / f"drive_seg-numba-{os.getuid()}"
    for _ in range(2):  # made, and found again
        assert use(copy) == str(folder)
    found = folder.lstat()
    assert stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == os.getuid()


@pytest.mark.parametrize("kind", ["open to all", "link", "file"])
def test_a_folder_that_is_not_safe_is_not_used(copy, kind):
    folder = copy.parent / "tmp" / f"drive_seg-numba-{os.getuid()}"
    if kind == "open to all":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "link":
        (copy.parent / "elsewhere").mkdir(0o700)
        folder.symlink_to(copy.parent / "elsewhere")
    else:
        folder.touch()
    used = Path(use(copy))
    assert used != folder and used.parent == folder.parent
    assert not used.is_symlink() and stat.S_IMODE(used.lstat().st_mode) == 0o700


def test_who_has_a_cache_keeps_it_and_importing_the_package_loads_nothing(copy):
    assert use(copy, anyway=False, XDG_CACHE_HOME=str(copy.parent / "cache")) == "none"
    assert use(copy, anyway=False, HOME=str(copy.parent)) == "none"
    assert use(copy, anyway=False, NUMBA_CACHE_DIR=str(copy.parent / "mine")) == str(copy.parent / "mine")


def test_every_folder_with_compiled_functions_is_known():
    folders = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if "@njit" in path.read_text()}
    assert folders == set(numba_cache.COMPILED)
