"""Pictures of chosen frames of a replay: the camera's image beside what was made of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.frame import FrameError
from drive_seg.core.overlay import draw_overlay
from drive_seg.replay.resultbag import MASKS, Masks, ResultReader
from drive_seg.sources.bag import Bag, BagError

_DIFFERENT = (255, 0, 255)  # BGR of pixels on which two results differ


@dataclass(frozen=True)
class Picture:
    """One frame. image: (H, W, 3) uint8 BGR, None where the bag is gone or the message is not an image. masks: None
    where the frame has no result."""

    log_ns: int
    image: np.ndarray | None
    masks: Masks | None


def pictures(folder: Path, bag: Path, topic: str, log_ns: Collection[int],
             outputs: tuple[str, ...] = MASKS) -> Iterator[Picture]:
    """The frames of a result folder that were recorded at some times, in their order."""
    images = _images(bag, topic, log_ns)
    with ResultReader(folder / "result", outputs) as reader:
        for ns in sorted(set(log_ns)):
            image = next((pixels for at, pixels in images if at == ns), None) if images is not None else None
            yield Picture(ns, image, next(reader.frames(ns, ns + 1), None))


def _images(bag: Path, topic: str, log_ns: Collection[int]) -> Iterator[tuple[int, np.ndarray | None]] | None:
    """Images in the order of their times; None when the bag is gone. Every time yields once."""
    try:
        source = Bag(bag)
        name = source.image_topic(topic)
    except BagError:
        return None

    def decoded() -> Iterator[tuple[int, np.ndarray | None]]:
        last = None
        with source:
            for image in source.images_at(name, log_ns):
                if image.log_ns == last:
                    continue
                last = image.log_ns
                try:
                    yield last, image.frame().bgr()
                except FrameError:
                    yield last, None

    return decoded()


def side_by_side(image: np.ndarray | None, a: Masks, b: Masks, width: int = 640) -> np.ndarray:
    """A over B beside the image and their difference (magenta), as one BGR picture 2 * width wide.

    image: (H, W, 3) uint8 BGR or None. a, b: masks of the same size.
    """
    height, full = a.images["labels"].shape
    ground = np.full((height, full, 3), 96, np.uint8) if image is None else _fitted(image, (height, full))
    panels = [ground, _difference(ground, a, b)]
    for masks, caption in ((a, "A"), (b, "B")):
        panels.append(draw_overlay(ground, masks.images["labels"], masks.images["drivable_area"], caption=caption))
    small = [cv2.resize(p, (width, max(1, round(width * height / full))), interpolation=cv2.INTER_AREA) for p in panels]
    return np.vstack([np.hstack(small[:2]), np.hstack(small[2:])])


def _difference(ground: np.ndarray, a: Masks, b: Masks) -> np.ndarray:
    out = ground // 3
    for output in MASKS:
        out[a.images[output] != b.images[output]] = _DIFFERENT
    return out


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
