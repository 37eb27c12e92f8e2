"""What `make` makes of the machine that it finds: with a stand-in for Python, and nothing installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]
PYTHON = f"""#!/bin/sh
case "$1 $2" in
  "-m venv") echo "$@" >> log; mkdir -p .venv/bin; cp venv-python .venv/bin/python;;
  -c*) exec {sys.executable} -c "$(cat before.py)
$2";;
  *) exit 9;;
esac
"""
VENV_PYTHON = """#!/bin/sh
echo "$@" >> log
"""
WITHOUT_PIP = """#!/bin/sh
echo "No module named pip" >&2
exit 1
"""
X86 = "import platform; platform.system, platform.machine = lambda: 'Linux', lambda: 'x86_64'"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make(tmp_path):
    """Runs a target, by default `setup`, in a folder with stand-ins; returns its result and what it called since."""
    shutil.copy(SOURCE / "Makefile", tmp_path)
    for name, text in {"setup.py": "", "pyproject.toml": "", "python": PYTHON, "venv-python": VENV_PYTHON,
                       "before.py": X86, "log": ""}.items():
        (tmp_path / name).write_text(text)
    for name in ("python", "venv-python"):
        (tmp_path / name).chmod(0o755)

    def run(target="setup"):
        done = subprocess.run(["make", target, "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True,
                              check=False)
        calls = (tmp_path / "log").read_text().splitlines()
        (tmp_path / "log").write_text("")
        return done, calls

    return run


def leave(folder: Path, text: str) -> None:
    """A virtual environment's Python, as something left it."""
    (folder / ".venv/bin").mkdir(parents=True, exist_ok=True)
    (folder / ".venv/bin/python").write_text(text)
    (folder / ".venv/bin/python").chmod(0o755)


def test_the_first_time_installs_and_the_second_does_nothing(make):
    done, calls = make()
    assert done.returncode == 0, done.stderr
    assert calls[0] == "-m venv --clear .venv" and "-m pip install" in calls[-1]
    assert make()[1] == []


def test_an_environment_without_pip_is_made_anew(make, tmp_path):
    leave(tmp_path, WITHOUT_PIP)
    done, calls = make()
    assert done.returncode == 0, done.stderr
    assert calls[0] == "-m venv --clear .venv" and "-m pip install" in calls[-1]


def test_an_interrupted_install_is_taken_up_again(make, tmp_path):
    leave(tmp_path, VENV_PYTHON.replace("echo", "case $3 in install) exit 130;; esac; echo"))
    assert make()[0].returncode != 0
    (tmp_path / ".venv/bin/python").write_text(VENV_PYTHON)
    done, calls = make()
    assert done.returncode == 0 and "-m pip install" in calls[-1]
    assert not [call for call in calls if "venv --clear" in call], "what was installed is kept"


@pytest.mark.parametrize(("target", "extra"), [("rtx", "rtx"), ("gpu-tools", "gpu-test")])
def test_pinned_extras_are_installed_again_when_setup_py_changes(make, tmp_path, target, extra):
    def installs():
        done, calls = make(target)
        assert done.returncode == 0, done.stderr
        return [call for call in calls if call.endswith(f"-e .[{extra}]")]

    assert len(installs()) == 1 and installs() == []
    for ready in (tmp_path / ".venv").glob(".ready*"):
        os.utime(ready, (ready.stat().st_mtime - 10,) * 2)
    (tmp_path / "setup.py").touch()
    assert len(installs()) == 1 and installs() == []


@pytest.mark.parametrize(("target", "fails"), [("rtx", ".[rtx]"), ("gpu-tools", ".[gpu-test]"),
                                               ("gpu-tools", "tensorrt-cu12-bindings"),
                                               ("gpu-tools", "tensorrt-cu13-bindings")])
def test_what_can_not_be_downloaded_is_said_and_tried_again(make, tmp_path, target, fails):
    leave(tmp_path, VENV_PYTHON + f'case "$*" in *"{fails}"*) exit 1;; esac\n')
    for _ in range(2):
        done, calls = make(target)
        assert done.returncode == 0, done.stderr
        assert any(fails in call for call in calls) and "be installed here" in done.stdout
    leave(tmp_path, VENV_PYTHON)
    done, calls = make(target)
    assert any(fails in call for call in calls) and "be installed here" not in done.stdout
    assert make(target)[1] == []


@pytest.mark.parametrize(("before", "line"), [
    (X86 + "; import sys; sys.modules['ensurepip'] = None", "sudo apt install python3-venv"),
    ("import platform; platform.machine = lambda: 'aarch64'", "Linux on x86_64 only, this is Linux on aarch64"),
    ("import platform; platform.system = lambda: 'Darwin'", "Linux on x86_64 only, this is Darwin on "),
])
def test_a_machine_that_can_not_do_it_is_reported_the_fix_before_anything_is_made(make, tmp_path, before, line):
    (tmp_path / "before.py").write_text(before)
    done, calls = make()
    assert done.returncode != 0 and line in done.stderr, done.stderr
    assert not calls and not (tmp_path / ".venv").exists()
    assert len(done.stderr.splitlines()) == 2, "one line, and make's own"


@pytest.mark.parametrize(("cuda", "extra"), [(12040, "tensorrt-cu12"), (13000, "tensorrt")])
def test_gpu_check_takes_the_tensorrt_that_the_driver_runs(make, tmp_path, cuda, extra):
    (tmp_path / ".venv-gpu/bin").mkdir(parents=True)
    (tmp_path / ".venv-gpu/bin/python").write_text(VENV_PYTHON + 'test "$*" != "-c import tensorrt"\n')
    (tmp_path / ".venv-gpu/bin/python").chmod(0o755)
    (tmp_path / "before.py").write_text(f"""
import ctypes, types
def tell(out):
    out._obj.value = {cuda}
ctypes.CDLL = lambda name: types.SimpleNamespace(cuDriverGetVersion=tell)
""")
    done, calls = make("gpu-check")
    assert done.returncode == 0, done.stderr
    assert [call.rpartition(" ")[2] for call in calls if "-m pip install" in call] == [
        ".[gpu]", f".[gpu,{extra}]", ".[gpu,rtx]"]


@pytest.fixture
def arguments(make, tmp_path):
    """Runs a target with a stand-in for the command; returns the words that it was called with."""
    leave(tmp_path, VENV_PYTHON)
    for name in ("drive-seg", "gpu"):
        script = tmp_path / ".venv/bin" / name
        script.write_text("#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done > words\n")
        script.chmod(0o755)
    (tmp_path / ".venv/.ready").touch()

    def run(target, *given, environment=None):
        (tmp_path / "words").unlink(missing_ok=True)
        done = subprocess.run(["make", target, *given, "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True,
                              check=False, env={**os.environ, **(environment or {})})
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "ran").exists(), "what was given was run"
        return (tmp_path / "words").read_text().split("\0")[:-1]

    return run


HOSTILE = ["it's here.mp4", 'a "quoted" name', "`touch ran`", "$(touch ran)", "$(shell touch ran)", "'; touch ran; '",
           '"; touch ran; "', "a; touch ran", "$HOME", "$$x", "a b", "--help", "-x", "a\\b", "#c", "100%"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("by_environment", [False, True], ids=["command line", "environment"])
def test_what_is_given_to_make_is_text(arguments, text, by_environment):
    names = ("SOURCE", "TOPIC", "DURATION", "RATE")
    given = dict.fromkeys(names, text)
    words = ([] if by_environment else [f"{name}={text}" for name in names])
    expected = ["demo", *(f"--{name.lower()}={text}" for name in names), "--out", "out"]
    assert arguments("run", *words, environment=given if by_environment else None) == expected
    assert arguments("gpu-check", "GPU_PYTHON=.venv/bin/gpu", f"FRAMES={text}")[2] == f"--frames={text}"


def test_what_is_not_given_is_left_out(arguments):
    nothing = dict.fromkeys(("SOURCE", "TOPIC", "DURATION", "RATE"), "")
    assert arguments("run", environment=nothing) == ["demo", "--out", "out"]
    assert arguments("run", "RATE=2", environment=nothing) == ["demo", "--rate=2", "--out", "out"]
