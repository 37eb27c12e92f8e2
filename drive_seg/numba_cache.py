"""A place for what Numba compiles, where it would find none. Imports neither Numba nor numpy."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

COMPILED = ("core", "core/health", "replay", "training")
"""Folders of this package with functions that Numba compiles."""


def provide() -> None:
    """Name a folder for compiled functions where Numba would find none, which it raises for on import.

    It takes the package's own folders, or else the user's cache. Neither can be written where the package is root's and
    the user has no home, or where all is read-only.
    """
    here = Path(__file__).parent
    if os.environ.get("NUMBA_CACHE_DIR") or all(_writable(here / folder / "__pycache__") for folder in COMPILED):
        return
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  as Numba does
    if not cache.startswith("~") and _writable(Path(cache, "numba")):
        return
    import tempfile  # here, for it is seldom needed

    with contextlib.suppress(OSError):  # Numba says what it lacks
        os.environ["NUMBA_CACHE_DIR"] = str(_own_folder(Path(tempfile.gettempdir())))


def _writable(folder: Path) -> bool:
    """Whether a folder can be written to, or made."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return os.access(f"{folder}/.", os.W_OK | os.X_OK)  # the dot: a file is not a folder


def _own_folder(parent: Path) -> Path:
    """A folder that nobody else can write to, for what lies in it is run: this user's of before, or else a new one."""
    import stat
    import tempfile

    folder = parent / f"drive_seg-numba-{os.getuid()}"
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=parent))  # not ours, or open to others
    return folder
