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
    """A folder beside to write to; it becomes `folder`, which is not there or empty, when the block ends well, else it
    is removed."""
    place = folder.resolve()
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if place.exists():  # not replaced: it may be where the user stands
            for file in partial.iterdir():
                file.rename(place / file.name)
        else:
            partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
