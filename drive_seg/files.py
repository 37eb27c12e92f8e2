"""Files that are whole or not there at all, in a folder that several processes write to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from drive_seg.core.engine import EngineError
from drive_seg.resources import user_cache

CACHE = user_cache()
"""Where plans and kernels go unless the user names a folder."""


def plan_folder(given: Path | None) -> Path:
    """The folder that the user names, else CACHE. Raises EngineError where its ~ is nobody's home."""
    try:
        return (given or CACHE).expanduser()
    except RuntimeError as error:
        raise EngineError(f"plan folder {given}: {error}", "name another folder") from error


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder to write to; renamed to `path` when the block ends well, else removed.

    Raises EngineError naming the fix when the folder can't be written or the disk is full.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(name)
        yield part
        part.chmod(0o644)
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.replace(path)
        part = None
    except OSError as error:
        raise EngineError(*_why(error, path)) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a lock file: of several processes (and threads) that want it, one goes on at a time.

    waiting is called once when another holds it. The lock ends with its process, however that ends. Raises EngineError
    when the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise EngineError(*_why(error, path)) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def stamp() -> str:
    """The present time, for files: ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _why(error: OSError, path: Path) -> tuple[str, str]:
    """The reason and the fix."""
    folder = path.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free / 1e6
        return (f"no room to write {path} ({error.strerror}; {free:.0f} MB free)",
                "free some, or name another folder (parameter plan_folder, --plans)")
    return f"{path} can't be written ({error.strerror})", "name a folder that can be (parameter plan_folder, --plans)"
