"""Drawing: labels and drivable area over the camera image, in one pass, with a legend.

The scene stays visible: background is only dimmed, road, pavement and obstacles are tinted, the drivable area is green
with a bright outline, unknown is hatched, so that it never passes for a colour.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numba import njit

from drive_seg.core.classes import LABEL_COLOURS, LABEL_NAMES, UNKNOWN, Group

DRIVABLE_COLOUR = (40, 205, 90)
"""RGB of the drivable area."""

OUTLINE_COLOUR = (190, 255, 150)
"""RGB of the drivable area's outline."""

_OPACITY = {Group.BACKGROUND: 0.30, Group.ROAD: 0.50, Group.PAVEMENT: 0.55, Group.OBSTACLE: 0.55, UNKNOWN: 0.65}
_DRIVABLE_OPACITY = 0.45
_DRIVABLE, _OUTLINE = 100, 101  # entries of the tables below that no label uses
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _SHADE, _ALERT = (245, 245, 245), (24, 22, 20), (40, 50, 225)  # BGR


def draw_overlay(image: np.ndarray, labels: np.ndarray | None, drivable: np.ndarray | None = None, *,
                 caption: str = "", inset: np.ndarray | None = None, legend: bool = True,
                 out: np.ndarray | None = None) -> np.ndarray:
    """Draw one frame's result over it.

    image: (H, W, 3) uint8 BGR. labels: (H, W) uint8 planner ids; None when this frame has none: then the image stays as
    it is and is marked so. drivable: (H, W) uint8, 255 where drivable. caption: a line at the top left. inset: a
    picture (h, w, 3) uint8 BGR for the top right corner, e.g. a bird's-eye view, shrunk to two fifths of the image
    where larger. out: (H, W, 3) uint8 to draw into; may be `image` itself. Returns out, or a new array. Raises
    ValueError when the sizes differ.
    """
    height, width = image.shape[:2]
    for name, mask in (("labels", labels), ("drivable area", drivable)):
        if mask is not None and mask.shape != (height, width):
            raise ValueError(f"the {name} is {mask.shape}, the image is {(height, width)}")
    if out is None:
        out = np.empty((height, width, 3), np.uint8)
    if out is not image:
        np.copyto(out, image)  # blending in place needs one compiled version, whatever the image's strides are
    if labels is not None:
        thickness = max(1, round(height / 360))
        _blend(out, labels, labels if drivable is None else drivable, drivable is not None, thickness,
               max(4, height // 45), _MULTIPLY, _ADD)
    unit = max(height, width / 2) / 720
    if legend and min(height, width) >= 160:
        picture = _legend(round(unit * 24), drivable is not None or labels is None)
        _paste(out, picture, height - picture.shape[0], (width - picture.shape[1]) // 2)
    if labels is None:
        _write(out, f"{caption}   no mask for this frame".strip(), round(unit * 26), _ALERT)
    elif caption:
        _write(out, caption, round(unit * 26), _SHADE)
    if inset is not None and inset.size:
        scale = min(0.4 * height / inset.shape[0], 0.4 * width / inset.shape[1], 1.0)
        size = (max(1, round(inset.shape[1] * scale)), max(1, round(inset.shape[0] * scale)))
        margin = round(unit * 12)
        picture = cv2.copyMakeBorder(cv2.resize(inset, size, interpolation=cv2.INTER_AREA), 2, 2, 2, 2,
                                     cv2.BORDER_CONSTANT, value=_INK)
        _paste(out, picture, margin, width - picture.shape[1] - margin)
    return out


def draw_grid(cells: np.ndarray) -> np.ndarray:
    """An occupancy grid as a picture: forward is up, left is left.

    cells: (along y, along x) int8 as in nav_msgs/OccupancyGrid: 0 drivable, above it occupied, -1 unknown. Returns
    (along x, along y, 3) uint8 BGR, one pixel a cell.
    """
    picture = np.full((*cells.shape, 3), LABEL_COLOURS[Group.BACKGROUND][::-1], np.uint8)
    picture[cells == 0] = DRIVABLE_COLOUR[::-1]
    picture[cells > 0] = LABEL_COLOURS[Group.OBSTACLE][::-1]
    return np.ascontiguousarray(picture.transpose(1, 0, 2)[::-1, ::-1])  # rows run from right to left


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Blending as (pixel * multiply[id] + add[id]) >> 8, by label id and the two entries of the drivable area."""
    multiply = np.zeros(256, np.int32)
    add = np.zeros((256, 3), np.int32)
    looks = {int(label): (LABEL_COLOURS[label], _OPACITY[label]) for label in LABEL_COLOURS}
    looks[_DRIVABLE] = (DRIVABLE_COLOUR, _DRIVABLE_OPACITY)
    looks[_OUTLINE] = (OUTLINE_COLOUR, 0.95)
    for entry, (colour, opacity) in looks.items():
        multiply[entry] = round(256 * (1 - opacity))
        add[entry] = [round(256 * opacity * value) for value in colour[::-1]]
    return multiply, add


_MULTIPLY, _ADD = _tables()


@njit(cache=True, nogil=True)
def _blend(image, labels, drivable, has_drivable, thickness, hatch, multiply, add):
    height, width = labels.shape
    entries = np.empty(width, np.uint8)
    for y in range(height):
        row = drivable[y]
        above, below = drivable[max(y - thickness, 0)], drivable[min(y + thickness, height - 1)]
        for x in range(width):
            entries[x] = labels[y, x]
            if has_drivable and row[x]:
                left, right = row[max(x - thickness, 0)], row[min(x + thickness, width - 1)]
                inside = above[x] and below[x] and left and right
                entries[x] = _DRIVABLE if inside else _OUTLINE
            elif entries[x] == UNKNOWN and (x + y) // hatch % 2:
                entries[x] = 0  # Group.BACKGROUND
        for x in range(width):
            entry = entries[x]
            m = multiply[entry]
            for c in range(3):
                image[y, x, c] = (np.int32(image[y, x, c]) * m + add[entry, c]) >> 8


@lru_cache(maxsize=16)
def _legend(size: int, drivable: bool) -> np.ndarray:
    """The legend as a strip (h, w, 3) BGR. size: height of a line in pixels."""
    entries = [(LABEL_NAMES[label], LABEL_COLOURS[label]) for label in LABEL_NAMES]
    if drivable:
        entries.insert(0, ("drivable", DRIVABLE_COLOUR))
    size = max(size, 10)
    scale = size / 40
    thickness = max(1, round(size / 22))
    gap, box = round(size * 0.55), round(size * 0.62)
    widths = [cv2.getTextSize(name, _FONT, scale, thickness)[0][0] for name, _ in entries]
    strip = np.full((round(size * 1.5), gap + sum(w + box + round(1.6 * gap) for w in widths), 3), _SHADE, np.uint8)
    middle, x = strip.shape[0] // 2, gap
    for (name, colour), width in zip(entries, widths, strict=True):
        top = middle - box // 2
        swatch = strip[top : top + box, x : x + box]
        swatch[:] = colour[::-1]
        if name == LABEL_NAMES[UNKNOWN]:
            rows, columns = np.indices(swatch.shape[:2])
            swatch[(rows + columns) % 8 < 4] = LABEL_COLOURS[Group.BACKGROUND][::-1]
        x += box + gap // 2
        cv2.putText(strip, name, (x, middle + round(size * 0.22)), _FONT, scale, _INK, thickness, cv2.LINE_AA)
        x += width + round(1.1 * gap)
    return strip


def _paste(out: np.ndarray, picture: np.ndarray, top: int, left: int) -> None:
    """Lay a picture over out at a place; what does not fit is cut."""
    top, left = max(top, 0), max(left, 0)
    region = out[top : top + picture.shape[0], left : left + picture.shape[1]]
    region[:] = picture[: region.shape[0], : region.shape[1]]


def _write(out: np.ndarray, text: str, size: int, ground: tuple[int, int, int]) -> None:
    """Write a line on a plate of colour `ground` (BGR) at the top left. size: the line's height in pixels."""
    scale, thickness = max(size, 10) / 40, max(1, round(size / 22))
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = size // 2
    plate = np.full((height + 2 * pad, width + 2 * pad, 3), ground, np.uint8)
    cv2.putText(plate, text, (pad, pad + height), _FONT, scale, _INK, thickness, cv2.LINE_AA)
    _paste(out, plate, 0, 0)
