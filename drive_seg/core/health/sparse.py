"""What every eighth pixel both ways says of images of results, (H, W) uint8 each: compiled, being done each frame."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive_seg.core.classes import UNKNOWN

_STEP = 8
_FIRST = _STEP // 2


def few(size: tuple[int, int]) -> np.ndarray:
    """An array for `changed`, as many pixels as are looked at of an image of `size` = (height, width)."""
    return np.zeros(tuple(max(0, -(-(side - _FIRST) // _STEP)) for side in size), np.uint8)


@njit(cache=True, nogil=True)
def trust(labels, confidence):
    """(mean confidence 0..1, share of unknown pixels 0..1)."""
    total, unknown, count = 0, 0, 0
    for y in range(_FIRST, labels.shape[0], _STEP):
        for x in range(_FIRST, labels.shape[1], _STEP):
            total += confidence[y, x]
            unknown += labels[y, x] == UNKNOWN
            count += 1
    return total / max(count, 1) / 255.0, unknown / max(count, 1)


@njit(cache=True, nogil=True)
def changed(labels, before):
    """Share of pixels 0..1 whose label differs from `before`, which then becomes what is seen now."""
    count = 0
    for r in range(before.shape[0]):
        for c in range(before.shape[1]):
            label = labels[_FIRST + r * _STEP, _FIRST + c * _STEP]
            count += label != before[r, c]
            before[r, c] = label
    return count / max(before.size, 1)


@njit(cache=True, nogil=True)
def lower_share(mask):
    """Share of pixels 0..1 of the lower half that are not zero."""
    found, count = 0, 0
    for y in range(mask.shape[0] // 2, mask.shape[0], _STEP):
        for x in range(_FIRST, mask.shape[1], _STEP):
            found += mask[y, x] != 0
            count += 1
    return found / max(count, 1)


def warm_up() -> None:
    """Compile all of it."""
    image = np.zeros((16, 16), np.uint8)
    trust(image, image)
    changed(image, few(image.shape))
    lower_share(image)
