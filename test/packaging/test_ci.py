"""The verdict of .ci/run, with stand-ins for all that it calls."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]
MAKE = """#!/bin/sh
echo "make $@"
case "$@" in "$FAILS") exit 3;; esac
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def verdict(tmp_path):
    """Runs it with a command put after the set-up; returns its result. FAILS: the target of make that does."""
    programs = {"make": MAKE, **dict.fromkeys(("apt-get", "chromedriver", "g++"), "#!/bin/sh\n")}
    for path, text in {**{f"bin/{name}": text for name, text in programs.items()},
                       ".venv/bin/python": "#!/bin/sh\n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    (tmp_path / ".ci").mkdir()

    def run(after_set_up="", fails="nothing"):
        text = (SOURCE / ".ci/run").read_text()
        assert text.count('\nhave "Ray') == 1
        (tmp_path / ".ci/run").write_text(text.replace('\nhave "Ray', f'\n{after_set_up}\nhave "Ray'))
        return subprocess.run(["bash", ".ci/run"], cwd=tmp_path, capture_output=True, text=True, check=False, env={
            **os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "FAILS": fails})

    return run


def test_it_passes_when_all_steps_do(verdict):
    done = verdict()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "make test\n" in done.stdout and "make docs\n" in done.stdout
    assert "FAILED" not in done.stdout and "left out" not in done.stdout


@pytest.mark.parametrize("target", ["setup", "lint", "test", "test-train", "test-colcon", "test-pycuda", "docs"])
def test_a_step_that_fails_fails_it(verdict, target):
    assert verdict(fails=target).returncode == 1


def test_a_required_step_without_time_fails_it(verdict):
    done = verdict("SECONDS=$((LIMIT - 30))")
    assert done.returncode == 1 and "make test\n" not in done.stdout, done.stdout + done.stderr
    assert "FAILED: make test: not run, no time was left" in done.stdout


def test_an_optional_step_may_be_left_out(verdict):
    done = verdict("SECONDS=$GOAL")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "make test\n" in done.stdout and "left out: make docs: under 2 minutes were left" in done.stdout
