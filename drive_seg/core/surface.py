"""Does what the network calls road look like the road around it?

A network calls things that it never saw on a road by what usually is there: road. So each cell of road is compared with
the road of its neighbourhood in the same picture: two chromaticities, brightness, and texture, each as deviations from
the median in units of the median absolute deviation. What differs too much is not road to trust. It needs no training,
one threshold, and no GPU, and works the same for every engine.

It does not see a thing that has the colour, brightness and texture of the road around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from drive_seg.core.classes import UNKNOWN, Group
from drive_seg.core.frame import Frame
from drive_seg.errors import ParameterError

CELLS = (44, 60)
"""Rows and columns of the cells that a picture is divided into."""

_SAMPLES = 4  # pixels of each cell, both ways
_BAND, _REACH = 4, 4  # rows of cells that share a neighbourhood, and rows that it reaches beyond them
_FEWEST = 15  # cells of road in a neighbourhood below which the whole picture's road is taken
_FLOOR = np.array([0.4, 0.4, 1.5, 1.0], np.float32)  # added to the deviations: grain is not an object
_WEIGHT = np.array([1.0, 1.0, 0.5, 0.5], np.float32)  # shadows and markings change brightness and texture


@dataclass(frozen=True)
class SurfaceRule:
    """limit: deviation above which a cell of road is unknown; inf trusts everything."""

    limit: float

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ParameterError(f"the surface limit must be positive, it is {self.limit}")


def strange_surface(frame: Frame, labels: np.ndarray) -> np.ndarray:
    """How much each cell differs from the road around it, CELLS float32; 0 where the cell is not road.

    labels: (H, W) uint8 planner labels of the frame, of any size.
    """
    rows, columns = CELLS
    small = frame.resized((rows * _SAMPLES, columns * _SAMPLES), cv2.INTER_LINEAR)
    few = cv2.resize(labels, (columns * _SAMPLES, rows * _SAMPLES), interpolation=cv2.INTER_NEAREST)
    features, road = _features(small, few, rows, columns)
    return _deviations(features, road, _FLOOR, _WEIGHT)


def distrust(frame: Frame, labels: np.ndarray, rule: SurfaceRule) -> None:
    """Turn road into unknown, in place, where its surface is strange."""
    strange = strange_surface(frame, labels) > rule.limit
    if strange.any():
        height, width = labels.shape
        _mark(labels, strange, (np.arange(height) * CELLS[0] // height), (np.arange(width) * CELLS[1] // width))


@njit(cache=True, nogil=True)
def _features(small, labels, rows, columns):
    """Per cell, of its road pixels alone: red-green and green-blue chromaticity, log brightness, log texture; and
    whether most of it is road."""
    out = np.zeros((rows, columns, 4), np.float32)
    road = np.zeros((rows, columns), np.bool_)
    height, width = labels.shape
    for y in range(rows):
        for x in range(columns):
            red_green, green_blue, bright, texture = 0.0, 0.0, 0.0, 0.0
            count, pairs = 0, 0
            for v in range(y * _SAMPLES, (y + 1) * _SAMPLES):
                for u in range(x * _SAMPLES, (x + 1) * _SAMPLES):
                    if labels[v, u] != Group.ROAD:
                        continue
                    b, g, r = np.int32(small[v, u, 0]), np.int32(small[v, u, 1]), np.int32(small[v, u, 2])
                    total = r + g + b
                    scale = 1.0 / (total + 30.0)
                    red_green += (r - g) * scale
                    green_blue += (g - b) * scale
                    bright += total
                    count += 1
                    if u + 1 < width and labels[v, u + 1] == Group.ROAD:
                        texture += abs(total - np.int32(small[v, u + 1, 0]) - np.int32(small[v, u + 1, 1])
                                       - np.int32(small[v, u + 1, 2]))
                        pairs += 1
                    if v + 1 < height and labels[v + 1, u] == Group.ROAD:
                        texture += abs(total - np.int32(small[v + 1, u, 0]) - np.int32(small[v + 1, u, 1])
                                       - np.int32(small[v + 1, u, 2]))
                        pairs += 1
            if 2 * count >= _SAMPLES * _SAMPLES:
                road[y, x] = True
                out[y, x, 0] = 100.0 * red_green / count
                out[y, x, 1] = 100.0 * green_blue / count
                out[y, x, 2] = 20.0 * np.log(bright / count / 3.0 + 10.0)
                out[y, x, 3] = 10.0 * np.log(2.0 * texture / max(pairs, 1) / 3.0 + 1.0)
    return out, road


@njit(cache=True, nogil=True)
def _deviations(features, road, floor, weight):
    rows, columns = road.shape
    out = np.zeros((rows, columns), np.float32)
    values = np.empty(rows * columns, np.float32)
    for first in range(0, rows, _BAND):
        last = min(first + _BAND, rows)
        top, bottom = max(0, first - _REACH), min(rows, last + _REACH)
        if road[first:last].sum() == 0:
            continue
        if road[top:bottom].sum() < _FEWEST:
            top, bottom = 0, rows
        for c in range(4):
            count = 0
            for y in range(top, bottom):
                for x in range(columns):
                    if road[y, x]:
                        values[count] = features[y, x, c]
                        count += 1
            middle = np.median(values[:count])
            spread = np.float32(1.48) * np.median(np.abs(values[:count] - middle)) + floor[c]
            for y in range(first, last):
                for x in range(columns):
                    if road[y, x]:
                        z = (features[y, x, c] - middle) / spread
                        out[y, x] += weight[c] * z * z
    return np.sqrt(out)


@njit(cache=True, nogil=True)
def _mark(labels, strange, row, column):
    for v in range(labels.shape[0]):
        if not strange[row[v]].any():
            continue
        for u in range(labels.shape[1]):
            if labels[v, u] == Group.ROAD and strange[row[v], column[u]]:
                labels[v, u] = UNKNOWN
