"""A folder of results that is whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def named(folder: Path) -> Path:
    """The folder by a path that ends in its name, which `.` and `..` don't."""
    return folder.resolve() if folder.name in ("", "..") else folder


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to; it becomes `folder`, which is not there or empty, when the block ends well, else it is
    removed."""
    place = folder.resolve()
    # Inside an empty one, which may be a mount point or where the user stands: it is filled, not replaced.
    partial = place / ".partial" if place.exists() else place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if partial.parent == place:
            for file in list(partial.iterdir()):
                file.rename(place / file.name)
        else:
            partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
