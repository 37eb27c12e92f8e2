"""What every reader of a label format gives: pictures, and their labels as class names painted pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drive_seg.core.frame import FrameError
from drive_seg.errors import DriveSegError
from drive_seg.sources.images import is_image

UNLABELLED = 255
"""Raw id of a pixel that no label covers."""

MOST_NAMES = 254

_MASK_FOLDERS = ("panoptic", "mask", "label", "annotation", "segmentation", "gt")
"""Beginnings of the names of folders that hold masks."""


class LabelError(DriveSegError, ValueError):
    """Labels that can't be read; the message names the file and the fix."""


class Names:
    """The classes that labels speak of, by name or by colour, with raw ids 0, 1, 2, ... in the order they turn up."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def id(self, name: str) -> int:
        """Raises LabelError for the 255th."""
        if name not in self._ids:
            if len(self._ids) == MOST_NAMES:
                some = ", ".join(list(self._ids)[:6])
                raise LabelError(f"the labels have more than {MOST_NAMES} classes or colours ({some}, ...)",
                                 "save masks without loss (PNG, not JPEG) and without smoothed edges")
            self._ids[name] = len(self._ids)
        return self._ids[name]

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)


Paint = Callable[[tuple[int, int], Names], np.ndarray]
"""(height, width) and names -> raw ids (H, W) uint8, UNLABELLED where no label is; raises LabelError."""


@contextmanager
def naming(where: object, fix: str = "export it again") -> Iterator[None]:
    """Raises LabelError, which names where, for what reading a damaged label raises."""
    try:
        yield
    except LabelError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, FrameError) as error:
        missing = isinstance(error, KeyError)
        raise LabelError(f"{where}: {f'{error} is missing' if missing else error}", fix) from error


@dataclass(frozen=True)
class Record:
    """One labelled picture.

    image: its file. name: what the labels call it, e.g. `drive_3/000120.jpg`. size: (height, width) that the labels are
    for, None where they take the picture's. split, drive: where the format tells them.
    """

    image: Path
    name: str
    size: tuple[int, int] | None
    paint: Paint
    split: str | None = None
    drive: str | None = None


class Pictures:
    """The image files below some folders, to be found by what labels call them."""

    def __init__(self, *roots: Path) -> None:
        self._exact: dict[str, Path] = {}
        self._base: dict[str, Path | None] = {}
        for root in roots:
            for path in sorted(p for p in root.rglob("*") if is_image(p)):
                self._exact.setdefault(path.relative_to(root).as_posix(), path)
                if _is_mask(path, root):
                    continue
                known = self._base.get(path.name, path)
                self._base[path.name] = path if known == path else None  # two of one name: only the whole name tells
            for path in self._exact.values():
                self._base.setdefault(path.name, path)

    def find(self, name: str) -> Path:
        """Raises LabelError where it is missing, or could be either of two."""
        name = name.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        for start in range(len(parts)):
            path = self._exact.get("/".join(parts[start:]))
            if path is not None:
                return path
        base = parts[-1] if parts else name
        for candidate in (base, base.partition("-")[2]):  # Label Studio puts 8 hexadecimal digits and - before a name
            if candidate in self._base:
                path = self._base[candidate]
                if path is None:
                    raise LabelError(f"two pictures are called {candidate}", "name them by folder in the labels")
                return path
        raise LabelError(f"the picture {name} is missing",
                         "put it beside the labels, or name its folder with --images")


def _is_mask(path: Path, root: Path) -> bool:
    """Whether a file lies in a folder of masks, which often have their pictures' names."""
    return any(part.lower().startswith(_MASK_FOLDERS) for part in path.relative_to(root).parts[:-1])
