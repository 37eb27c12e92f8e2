"""Which data files setup.py names, for every setuptools that installs it."""

import os
import runpy
import subprocess
from pathlib import Path

import pytest
import setuptools

SOURCE = Path(__file__).parents[2]


@pytest.fixture
def package_data(monkeypatch) -> dict[str, list[str]]:
    """What setup.py hands to setuptools."""
    given = {}
    monkeypatch.chdir(SOURCE)  # setup.py goes there itself; this goes back afterwards
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    runpy.run_path(str(SOURCE / "setup.py"))
    return given["package_data"]


def test_no_pattern_needs_a_new_setuptools(package_data):
    """`**` came with 62.3; colcon on Ubuntu 22.04 calls the system's 59.6, for which it is `*`."""
    assert not [pattern for patterns in package_data.values() for pattern in patterns if "**" in pattern]


def test_every_data_file_of_the_package_is_named(package_data):
    if not (SOURCE / ".git").exists():
        pytest.skip("not a git checkout: nothing tells which files belong to the package")
    listed = subprocess.run(["git", "ls-files", "drive_seg"], cwd=SOURCE, check=True, capture_output=True, text=True)
    data = {SOURCE / line for line in listed.stdout.splitlines() if not line.endswith(".py")}
    named = {path for package, patterns in package_data.items() for pattern in patterns
             for path in (SOURCE / package.replace(".", os.sep)).glob(pattern)}
    assert data and data <= named, f"setup.py's package_data lacks {sorted(data - named)}"
