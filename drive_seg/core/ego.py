"""Where does the camera see its own vehicle? What keeps its place at the picture's edge while the world moves past.

A bonnet mirrors the world, so its pixels change as much as a road's. What does not change is where its outline runs,
and which side of it is the brighter one. So the gradients of many frames are averaged: those of the moving world cancel
out, an outline that is nailed to the picture remains. The vehicle is what lies between such an outline, all across the
picture, and the bottom or the top edge. A logo or text that a recorder burns in is a patch of such gradients whose
pixels keep their brightness, near one of these edges.

Dirt on the lens keeps its place, too. So what a mask may cover is bounded: an outline counts in the lowest 35 % and the
highest 20 % of the picture and must run all across it, text must be small. All else is left to the health check.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.errors import DriveSegError

BOTTOM, TOP = 0.35, 0.2
"""Shares of the height that the vehicle may cover."""
LEAST_FRAMES = 20
"""Frames that differ, below which nothing can be said."""

_WIDTH = 320  # pixels of the small picture in which outlines are looked for
_CHANGED, _LEAST_CHANGED = 12.0, 0.15  # levels of brightness; share of the pixels that must differ for a new frame
_MOVING, _LEAST_MOVING = 10.0, 0.3  # deviation of a pixel; share of the pixels above it for footage that moves
_STEADY = 0.5  # of the gradient's mean against the mean of its size: a moving world has 0.1 to 0.3
_CAP = 8.0  # levels a pixel, above which a stronger piece of an outline counts no more
# The bonnets of four drives: seen in all columns, within 0.07 of the height. The next best of the world, a straight
# motorway's barrier: in 0.95 of them, within 0.12.
_LEVELS, _PIECES = 1.5, 0.985  # levels that an outline must have, in this share of the columns
_BEND = 0.11  # most of the height that it spans
_NEAR = 0.03  # of the height, between edges of one outline
_TRIES = 3
_MARGIN = 0.008  # of the height by which the mask goes beyond the outline
_THIN = 0.012  # of the height; what is thinner is the picture's own border
_TEXT_STEADY, _TEXT_LEVELS, _TEXT_STILL = 0.9, 8.0, 1.0  # a lane line on a straight road: 1.3
_TEXT_LEAST, _TEXT_MOST = 3e-4, 0.05  # shares of the picture
_TEXT_ZONE = 0.15


class EgoError(DriveSegError, ValueError):
    """Footage from which the vehicle itself can't be found; says why, and what to record instead."""


@dataclass(frozen=True)
class Ego:
    """mask: (h, w) uint8, 255 where the camera sees its own vehicle. found: what it is, e.g. `bonnet or bumper`. share:
    of the picture, 0..1."""

    mask: np.ndarray
    found: tuple[str, ...]
    share: float


class EgoFinder:
    """Show it the frames of one drive, in any number; then ask what kept its place."""

    def __init__(self) -> None:
        self.frames = 0
        """Frames so far that differ from the one before."""
        self._size: tuple[int, int] | None = None
        self._last: np.ndarray | None = None

    def add(self, image: np.ndarray) -> bool:
        """image: (H, W, 3) uint8 BGR. Returns whether it differs enough from the last one that counted.

        Raises EgoError for an image of another size.
        """
        if self._size is None:
            self._size = image.shape[:2]
        if self._size != image.shape[:2]:
            raise EgoError(f"the pictures change from {self._size[1]}x{self._size[0]} to"
                           f" {image.shape[1]}x{image.shape[0]}", "give footage of one camera")
        height = max(8, round(_WIDTH * image.shape[0] / image.shape[1]))
        small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (_WIDTH, height),
                           interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._last is None:
            self._sums = {name: np.zeros(small.shape, np.float64) for name in ("x", "y", "size", "light", "squares")}
        elif (np.abs(small - self._last) > _CHANGED).mean() < _LEAST_CHANGED:
            return False
        self._last = small
        across, down = (cv2.Sobel(small, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 4) for dx in (1, 0))
        for name, value in (("x", across), ("y", down), ("size", np.hypot(across, down)), ("light", small),
                            ("squares", small * small)):
            self._sums[name] += value
        self.frames += 1
        return True

    def find(self) -> Ego:
        """What kept its place. Raises EgoError where the footage does not move enough to tell."""
        if self.frames < LEAST_FRAMES:
            raise EgoError(f"the footage does not move enough to tell: {self.frames} frames differ, it takes"
                           f" {LEAST_FRAMES}", "give a drive of a minute or more, with bends")
        x, y, size, light, squares = (self._sums[name] / self.frames for name in ("x", "y", "size", "light", "squares"))
        deviation = np.sqrt(np.maximum(squares - light * light, 0))
        moving = float((deviation > _MOVING).mean())
        if moving < _LEAST_MOVING:
            raise EgoError(f"the footage does not move enough to tell: {moving:.0%} of the picture changes",
                           "give a drive of a minute or more, with bends")
        steady = np.hypot(x, y) / (size + 1.0)
        rows, columns = y.shape
        mask, found = np.zeros((rows, columns), np.uint8), []
        # Across an outline brightness may fall or rise, but nearly everywhere it is the vertical gradient that is seen.
        score = np.minimum(np.abs(y), _CAP) * np.where(steady > _STEADY, steady, 0)
        for name, part, flip in (("bonnet or bumper", BOTTOM, False), ("roof", TOP, True)):
            zone = score[::-1] if flip else score
            outline = _outline(zone[round(rows * (1 - part)):-max(1, round(rows * _THIN))], rows)
            if outline is None:
                continue
            line = outline + round(rows * (1 - part)) - round(rows * _MARGIN)
            covered = np.arange(rows)[:, None] >= line[None, :]
            mask[covered[::-1] if flip else covered] = 255
            found.append(name)
        text = self._text(x, y, steady, deviation) & (mask == 0)
        if text.any():
            mask[text] = 255
            found.append("logo or text")
        assert self._size is not None
        whole = cv2.resize(mask, self._size[::-1], interpolation=cv2.INTER_LINEAR)
        whole = np.where(whole >= 128, 255, 0).astype(np.uint8)
        return Ego(whole, tuple(found), float((whole > 0).mean()))

    @staticmethod
    def _text(x: np.ndarray, y: np.ndarray, steady: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """Patches of what is burnt in, (rows, columns) bool."""
        rows, columns = y.shape
        still = cv2.erode(deviation.astype(np.float32), np.ones((3, 3), np.uint8)) < _TEXT_STILL
        burnt = (np.hypot(x, y) > _TEXT_LEVELS) & (steady > _TEXT_STEADY) & still
        burnt[round(rows * _TEXT_ZONE):round(rows * (1 - _TEXT_ZONE))] = False
        joined = cv2.morphologyEx(burnt.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 9), np.uint8))
        count, parts, facts, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        out = np.zeros((rows, columns), np.bool_)
        for i in range(1, count):
            left, top, wide, high, area = facts[i]
            boxed = wide * high / (rows * columns)
            if _TEXT_LEAST <= boxed <= _TEXT_MOST and area >= 0.4 * wide * high and min(wide, high) >= 3:
                out[max(0, top - 1):top + high + 1, max(0, left - 1):left + wide + 1] = True
        return out


def _outline(score: np.ndarray, height: int) -> np.ndarray | None:
    """The highest path from the left to the right side along which the score is high: its row in each column, or None.

    score: (rows, columns). height: rows of the whole picture. By dynamic programming, at most two rows up or down a
    column.
    """
    rows, columns = score.shape
    if rows < 3:
        return None
    left, found = score.copy(), None
    for _ in range(_TRIES):
        path = _best_path(left)
        reach = np.arange(rows)[:, None] - path[None, :]
        seen = np.where(np.abs(reach) <= 1, left, 0).max(axis=0)
        if (seen >= _LEVELS).mean() >= _PIECES and np.ptp(path) <= _BEND * height:
            # The outline itself may be the weaker of two edges close by: as far up as there is one.
            near = (reach <= 0) & (reach >= -round(_NEAR * height)) & (left >= _LEVELS)
            highest = np.where(near.any(axis=0), near.argmax(axis=0), path).astype(np.int32)
            smooth = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(highest, 15, "edge"), 31), axis=1)
            path = np.minimum(path, smooth.astype(np.int32))
            found = path if found is None else np.minimum(found, path)
            left[reach >= -2] = 0  # look above: a bonnet has edges of its own
        else:
            left[np.abs(reach) <= 2] = 0
    return found


def _best_path(score: np.ndarray) -> np.ndarray:
    rows, columns = score.shape
    total = score[:, 0].astype(np.float64)
    came = np.zeros((rows, columns), np.int8)
    for c in range(1, columns):
        padded = np.pad(total, 2, constant_values=-np.inf)
        options = np.stack([padded[2 + step:2 + step + rows] - 0.1 * abs(step) for step in range(-2, 3)])
        best = options.argmax(axis=0)
        came[:, c] = best - 2
        total = options[best, np.arange(rows)] + score[:, c]
    path = np.empty(columns, np.int32)
    path[-1] = int(total.argmax())
    for c in range(columns - 1, 0, -1):
        path[c - 1] = path[c] + came[path[c], c]
    return path
