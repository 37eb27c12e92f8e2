"""ThreadSanitizer over the kernels, a real thread for each of a block's: no word of shared memory is raced for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from compiled import HELPERS, build, find_compiler

_RACE = 66  # ThreadSanitizer's exit code when it found one


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels can't be built for the host")
    folder, source = tmp_path_factory.mktemp("races"), HELPERS / "kernels_in_threads.cpp"
    try:
        return build(compiler, folder, "kernels_in_threads", "-O1", "-g", "-fsanitize=thread", "-pthread", str(source),
                     stderr=subprocess.PIPE, text=True)
    except subprocess.CalledProcessError as error:
        if "tsan" in error.stderr:
            pytest.skip("this compiler has no ThreadSanitizer")
        pytest.fail(error.stderr)


def run(program: Path, mutant: int) -> subprocess.CompletedProcess:
    done = subprocess.run([program, str(mutant)], capture_output=True, text=True, check=False, timeout=300)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer doesn't run on this kernel's memory layout")
    return done


def test_no_races(program):
    done = run(program, 0)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize("mutant, kernel", [(1, "prepare"), (2, "decode")])
def test_a_missing_barrier_is_found(program, mutant, kernel):
    done = run(program, mutant)
    assert done.returncode == _RACE and "data race" in done.stderr and kernel in done.stderr
