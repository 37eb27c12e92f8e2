"""Painting polygons and masks into a picture of class ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

_SHIFT = 4  # binary places of a corner that cv2.fillPoly takes
_FAR = 1e6  # pixels


def fill_polygons(canvas: np.ndarray, rings: Sequence[np.ndarray], value: int) -> None:
    """Fill rings of corners (n, 2) float (x, y) in a canvas (H, W) uint8.

    Coordinates as labelling tools have them: 0 is the left or upper edge of the first pixel. Pixels whose centre lies
    inside are filled, with those that the outline touches; overlapping rings are one area. Raises ValueError for
    corners that are no numbers, or far from any picture.
    """
    for ring in rings:
        if len(ring) >= 3:
            if not (np.abs(ring) < _FAR).all():  # NaN too
                raise ValueError("a corner is not a number, or lies far outside the picture")
            fixed = np.round((np.asarray(ring, np.float64) - 0.5) * (1 << _SHIFT)).astype(np.int32)
            cv2.fillPoly(canvas, [fixed], int(value), lineType=cv2.LINE_8, shift=_SHIFT)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Its corners (4, 2)."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def circle(x: float, y: float, radius_x: float, radius_y: float, turn: float = 0.0) -> np.ndarray:
    """Corners (72, 2) of an ellipse. turn: radians, clockwise."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    points = np.stack([radius_x * np.cos(angle), radius_y * np.sin(angle)], 1)
    cos, sin = np.cos(turn), np.sin(turn)
    return points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def paste_mask(canvas: np.ndarray, mask: np.ndarray, left: int, top: int, value: int) -> None:
    """Set canvas (H, W) to value where a mask (h, w) bool lies with its upper left corner at (left, top)."""
    y0, x0 = max(0, top), max(0, left)
    part = canvas[y0:top + mask.shape[0], x0:left + mask.shape[1]]
    part[mask[y0 - top:y0 - top + part.shape[0], x0 - left:x0 - left + part.shape[1]]] = value


def class_masks(classes: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """The class ids below `count` that a picture (H, W) uint8 shows, each with its mask (H, W) bool."""
    for id_ in range(count):
        mask = classes == id_
        if mask.any():
            yield id_, mask


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the set pixels of a mask (H, W) bool, which must have some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1
