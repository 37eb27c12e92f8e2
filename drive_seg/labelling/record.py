"""What every reader of a label format gives: pictures, and their labels as class names painted pixel by pixel."""

from __future__ import annotations

from collections import Counter
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
    """The classes that labels speak of, by name or by colour, with raw ids 0, 1, 2, ... in the order they turn up.

    no_area: how many shapes could not be painted, by what they are, as `polyline "kerb"`.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self.no_area: Counter[str] = Counter()

    def skip(self, shape: object, name: object) -> None:
        """Note a shape that covers no pixels: a line, a point, a polygon of two corners."""
        self.no_area[f'{shape} "{name}"'] += 1

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
    for, None where they take the picture's. split, drive: where the format tells them; a drive
    counts where the name tells none, or with a split.
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
        self._roots = [root.resolve() for root in roots]
        self._exact: dict[str, Path] = {}
        self._ends: dict[str, Path | None] = {}  # by what a path ends with; None where two do
        for root in self._roots:
            found = sorted(p for p in root.rglob("*") if is_image(p))
            for path in found:
                self._exact.setdefault(path.relative_to(root).as_posix(), path)
            for path in (p for p in found if not _is_mask(p, root)):
                for end in _ends(path.relative_to(root)):
                    self._ends[end] = path if self._ends.get(end, path) == path else None
            for path in found:
                for end in _ends(path.relative_to(root)):
                    self._ends.setdefault(end, path)

    def find(self, name: str) -> Path:
        """The picture with the longest end of its path in common. Raises LabelError where it is missing, or could be
        either of two."""
        name = name.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        if parts:
            ends.append(parts[-1].partition("-")[2])  # Label Studio puts 8 hexadecimal digits and - before a name
        for end in ends:
            if end in self._exact:
                return self._exact[end]
            if end in self._ends:
                path = self._ends[end]
                if path is None:
                    raise LabelError(f"two pictures are called {end}", "name them by folder in the labels")
                return path
        raise LabelError(f"the picture {name} is missing",
                         "put it beside the labels, or name its folder with --images")

    def inside(self, path: Path) -> str:
        """A picture's path from the folder that it was found in, as `drive_3/000120.jpg`."""
        return next((path.relative_to(root).as_posix() for root in self._roots if path.is_relative_to(root)), path.name)


def _ends(path: Path) -> Iterator[str]:
    """`a/b/c.png`, `b/c.png`, `c.png`."""
    return ("/".join(path.parts[start:]) for start in range(len(path.parts)))


def _is_mask(path: Path, root: Path) -> bool:
    """Whether a file lies in a folder of masks, which often have their pictures' names."""
    return any(part.lower().startswith(_MASK_FOLDERS) for part in path.relative_to(root).parts[:-1])
