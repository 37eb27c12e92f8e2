"""Builds pycuda for the tests, on a machine without CUDA: `python build_pycuda.py FOLDER`, or `make test-pycuda`.

PyPI has pycuda's source alone. It is compiled against the headers in NVIDIA's wheels and linked with the stand-in
driver, unoptimised: over two minutes of processor time. --needs builds nothing: it says what this machine lacks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from compiled import find_compiler
from stand_in import build_driver, run_script

PYCUDA = "pycuda>=2026.1,<2027"
HEADERS = ("nvidia-cuda-runtime-cu12==12.6.77", "nvidia-cuda-profiler-api-cu12==12.6.77")
SETUPTOOLS = "setuptools>=77,<85"

# pycuda's setup.py executes this file, which it looks for in the user's home. setuptools compiles one source after the
# other, so its compile() is replaced by one that starts as many as there are cores.
CONFIGURATION = """
import os
from concurrent.futures import ThreadPoolExecutor
from distutils.ccompiler import CCompiler

CUDA_INC_DIR = {includes}
CUDADRV_LIB_DIR = {libraries}
CUDA_ENABLE_CURAND = False
CXXFLAGS = ["-O0", "-g0", "-w"]
LDFLAGS = ["-Wl,-z,lazy"]  # it refers to more of the driver than the stand-in has


def compile(self, sources, output_dir=None, macros=None, include_dirs=None, debug=False, extra_preargs=None,
            extra_postargs=None, depends=None):
    macros, objects, extra_postargs, options, build = self._setup_compile(
        output_dir, macros, include_dirs, sources, depends, extra_postargs)
    arguments = self._get_cc_args(options, debug, extra_preargs)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda name: self._compile(name, *build[name], arguments, extra_postargs, options), objects))
    return objects


CCompiler.compile = compile
"""


def lacking() -> str | None:
    """What this machine lacks to build it, and the fix."""
    if find_compiler() is None:
        return "no C++ compiler: sudo apt install g++"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no Python.h: sudo apt install python3-dev (for another Python, e.g. python3.12-dev)"
    return None


def runs(driver: Path, folder: Path) -> bool:
    """Whether the pycuda in a folder opens the stand-in driver."""
    return run_script(driver, 'backend("pycuda")', PYTHONPATH=str(folder)).returncode == 0


def pip_install(folder: Path, log: Path, *arguments: str, **environment: str) -> None:
    """Raises SystemExit with one line."""
    with log.open("a") as file:
        done = subprocess.run([sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--target",
                               str(folder), *arguments], env={**os.environ, **environment}, check=False, stdout=file,
                              stderr=subprocess.STDOUT)
    if done.returncode:
        *_, said = ["", *(line for line in log.read_text().splitlines() if line.startswith("ERROR"))]
        sys.exit(f"test-pycuda: pip failed, see {log} ({said})")


def build(driver: Path, folder: Path, log: Path) -> None:
    """pycuda and what it imports, into a new folder. Raises SystemExit with one line."""
    compiler = str(find_compiler())
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        pip_install(home / "headers", log, "--no-deps", "--only-binary=:all:", *HEADERS)
        (home / "libcuda.so").symlink_to(driver)
        (home / ".aksetup-defaults.py").write_text(CONFIGURATION.format(
            includes=[str(path) for path in home.glob("headers/nvidia/*/include")], libraries=[name]))
        (home / "constraints.txt").write_text(SETUPTOOLS)
        pip_install(
            folder, log, "--no-cache-dir", "--only-binary=:all:", "--no-binary=pycuda", PYCUDA, HOME=name, CC=compiler,
            CXX=compiler, XDG_CONFIG_HOME=os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config")),  # pip's own
            PIP_CONSTRAINT=str(home / "constraints.txt"), PIP_BUILD_CONSTRAINT=str(home / "constraints.txt"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(sys.prefix, "pycuda"))
    parser.add_argument("--needs", action="store_true")
    given = parser.parse_args()
    if (lacks := lacking()) is not None:
        sys.exit(f"test-pycuda: {lacks}")
    if given.needs:
        return
    folder = given.folder.resolve()
    with tempfile.TemporaryDirectory() as name:
        driver = build_driver(Path(name))
        if runs(driver, folder):
            return
        print(f"building pycuda in {folder} (once; over two minutes of processor time)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        log = folder.with_suffix(".log")
        log.unlink(missing_ok=True)
        build(driver, folder, log)
        if not runs(driver, folder):
            said = run_script(driver, 'backend("pycuda")', PYTHONPATH=str(folder)).stderr
            sys.exit(f"test-pycuda: the pycuda that was built doesn't start: {said.strip().splitlines()[-1]}")


if __name__ == "__main__":
    main()
