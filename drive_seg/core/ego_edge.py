"""Where the vehicle ends: the network sees the edge of a bonnet a few pixels off, an ego mask knows it."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive_seg.core.classes import ClassTable
from drive_seg.core.decode import Decoded

_STRIP = 0.03  # of the height: how far above the mask's edge the network's may be


def upper_edge(ego: np.ndarray) -> np.ndarray:
    """The row, (W,) int32, at which the part of an ego mask begins that reaches the lower edge of the picture; the
    height in a column where none does. ego: (H, W) bool, True where the vehicle itself is seen."""
    covered = np.where(ego.all(axis=0), len(ego), np.argmin(ego[::-1], axis=0))
    return (len(ego) - covered).astype(np.int32)


def end_at_mask(decoded: Decoded, table: ClassTable, edge: np.ndarray) -> None:
    """Let the vehicle end where its mask does, in place. edge: see upper_edge.

    Going up from the mask, a strip of an ego class that is at most 3 % of the height takes class, label and confidence
    of the pixel above it. A higher one stays what it is: there the mask may leave out something of the vehicle.
    """
    most = max(1, round(decoded.classes.shape[0] * _STRIP))
    _cut_strip(decoded.classes, decoded.labels, decoded.confidence, table.ego_lut, edge, most)


@njit(cache=True, nogil=True)
def _cut_strip(classes, labels, confidence, is_own, edge, most):
    height, width = classes.shape
    for x in range(width):
        foot = edge[x]
        if foot == height:
            continue
        top = foot
        while top > 0 and foot - top <= most and is_own[classes[top - 1, x]]:
            top -= 1
        if top == 0 or foot - top > most:
            continue
        for y in range(top, foot):
            classes[y, x], labels[y, x] = classes[top - 1, x], labels[top - 1, x]
            confidence[y, x] = confidence[top - 1, x]
