"""C++ that the tests build: kept in pytest's cache from one run to the next, until a source changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from drive_seg.runtimes.tensorrt.kernels import SOURCE

HELPERS = Path(__file__).parent
_KEPT = HELPERS.parents[1] / ".pytest_cache/d/compiled"
_USUAL = ["-std=c++17", "-Wno-attributes", f"-I{SOURCE.parent}"]


def find_compiler() -> str | None:
    """The path of a C++ compiler."""
    return shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")


def build(compiler: str, folder: Path, name: str, *arguments: str, **options: object) -> Path:
    """A library or program of that name from sources among the helpers: in the cache, or in `folder` where there can be
    none. options: of subprocess.run. Raises CalledProcessError."""
    command = [compiler, *_USUAL, *arguments]
    facts = hashlib.sha256(repr((command, Path(compiler).resolve().stat().st_mtime_ns)).encode())
    for source in sorted([*HELPERS.glob("*.cpp"), *HELPERS.glob("*.h"), SOURCE]):
        facts.update(source.read_bytes())
    kept = _KEPT / facts.hexdigest()[:16]
    if not (kept / name).exists():
        made = folder / f"made_{name}"
        made.mkdir()
        subprocess.run([*command, "-o", str(made / name)], check=True, **options)
        partial = kept.with_suffix(f".{os.getpid()}")
        try:
            shutil.copytree(made, partial)
            partial.rename(kept)  # whole, also for another process that builds the same
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            return made / name
    return kept / name
