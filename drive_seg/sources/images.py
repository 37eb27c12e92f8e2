"""Images on disk: one, or a folder of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.frame import CutShortError, Frame, FrameError, TooLargeError, decode
from drive_seg.sources.frame_source import FrameSource, Shot, SourceError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""Names of image files end so, in small or capital letters."""

_LOOKED_AT = 1000  # files, for images in folders inside


class ImageSource(FrameSource):
    """One image, or the images of a folder in natural order (img2 before img10), `rate` a second."""

    def __init__(self, path: Path, rate: float = 10.0) -> None:
        """Raises SourceError for a folder without images."""
        self.source, self.rate = str(path), rate
        if path.is_dir():
            self._paths = sorted((p for p in path.iterdir() if is_image(p) and p.is_file()), key=_natural)
        else:
            self._paths = [path]
        if not self._paths:
            inside = next((p.parent for p in islice(path.rglob("*"), _LOOKED_AT) if is_image(p)), None)
            if inside is not None:
                raise SourceError(f"{path} has images only in folders inside it", f"give those, such as {inside}")
            raise SourceError(f"{path} has no images ({', '.join(SUFFIXES)})",
                              "give a folder of images, a video or a rosbag2")
        self._names = _distinct(self._paths)
        self.count = len(self._paths)

    def __iter__(self) -> Iterator[Shot]:
        """See FrameSource. A damaged image loses only itself: its shot raises FrameError; the only one, SourceError."""
        if self.count == 1:
            yield Shot(0, self._names[0], read_image(self._paths[0]))
            return
        for i, (path, name) in enumerate(zip(self._paths, self._names, strict=True)):
            yield Shot(round(i * 1e9 / self.rate), name, partial(_read, path))


def read_image(path: Path) -> Frame:
    """Read an image file as BGR, turned upright where its EXIF data says so. Raises SourceError."""
    try:
        return _read(path)
    except FrameError as error:
        raise SourceError(error.reason, error.fix) from error


def _read(path: Path) -> Frame:
    try:
        return Frame.from_array(decode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR))
    except OSError as error:
        raise FrameError(f"can't read {path}: {error.strerror}") from error
    except TooLargeError as error:
        raise TooLargeError(f"{path} is too large: {error.reason}", "make it smaller") from error
    except CutShortError as error:
        raise FrameError(f"{path} is {error}", "copy it again") from error
    except FrameError as error:
        raise FrameError(f"{path} is {error}", f"give one of {', '.join(SUFFIXES)}") from error


def is_image(path: Path) -> bool:
    """Whether a file's name is that of an image (hidden files are not)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _distinct(paths: list[Path]) -> list[str]:
    """A name for the result of each image: its own without suffix; with it where several differ only there."""
    stems = Counter(p.stem for p in paths)
    names = [p.stem if stems[p.stem] == 1 else p.name.replace(".", "_") for p in paths]
    counts = Counter(names)  # a_jpg.png beside a.jpg and a.png
    return [name if counts[name] == 1 else f"{name}_{number}" for number, name in enumerate(names)]


def _natural(path: Path) -> list:
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdigit() else part.lower() for part in parts]
