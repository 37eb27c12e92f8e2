"""Which road the vehicle can reach: the drivable-area mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive_seg.core.classes import ClassTable, Group


@dataclass(frozen=True)
class DrivableRule:
    """When a road pixel counts as drivable.

    min_confidence: 0..1, least probability of its label. start_width: share of the image width, centred, and
    start_height: share of the image height from the bottom, in which the road in front of the vehicle begins.
    """

    min_confidence: float = 0.6
    start_width: float = 0.6
    start_height: float = 0.15

    def __post_init__(self) -> None:
        for name in ("min_confidence", "start_width", "start_height"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, it is {getattr(self, name)}")


def drivable_area(labels: np.ndarray, classes: np.ndarray, confidence: np.ndarray, table: ClassTable,
                  rule: DrivableRule, ego: np.ndarray | None = None) -> np.ndarray:
    """Road that can be reached from in front of the vehicle without crossing anything else.

    labels, classes, confidence: (H, W) uint8 as Decoder gives them. ego: (H, W) bool, True where the vehicle itself is
    seen. Returns (H, W) uint8, 255 drivable and 0 not. Going up an image column, the first pixel that is neither ground
    (road or pavement) nor the vehicle itself ends it; what lies behind is never drivable. Unknown is not ground.
    """
    height, width = labels.shape
    if ego is None:
        ego = np.zeros((1, 1), np.bool_)
    elif ego.shape != labels.shape:
        raise ValueError(f"the ego mask is {ego.shape}, the labels are {labels.shape}")
    # The start is measured from the lowest row that shows the world, not the bonnet.
    bottom = height if ego.shape == (1, 1) else height - int(np.argmin(ego.all(axis=1)[::-1]))
    half = max(1, round(width * rule.start_width / 2))
    top = bottom - max(1, round(height * rule.start_height))
    start = (top, max(0, width // 2 - half), min(width, width // 2 + half))
    return _reach(labels, classes, confidence, table.drivable_lut, ego, round(rule.min_confidence * 255), start)


@njit(cache=True, nogil=True)
def _reach(labels, classes, confidence, drivable_lut, ego, least, start):
    height, width = labels.shape
    start_top, start_left, start_right = start
    has_ego = ego.shape[0] == height and ego.shape[1] == width and height * width > 1
    out = np.zeros((height, width), np.uint8)
    is_open = np.ones(width, np.bool_)
    still_open, runs, top = width, 0, height
    while top > 0 and still_open > 0:
        top -= 1
        before = False
        for x in range(width):
            inside = False
            if is_open[x] and not (has_ego and ego[top, x]):
                label = labels[top, x]
                if label == Group.ROAD:
                    inside = drivable_lut[classes[top, x]] and confidence[top, x] >= least
                elif label != Group.PAVEMENT:
                    is_open[x] = False
                    still_open -= 1
            if inside:
                out[top, x] = 255
                if not before:
                    runs += 1
            before = inside

    # Connected runs (4-neighbours), bottom up, by union-find; a root knows whether its region starts at the vehicle.
    first = np.empty(runs, np.int32)
    last = np.empty(runs, np.int32)
    row = np.empty(runs, np.int32)
    parent = np.empty(runs, np.int32)
    reached = np.zeros(runs, np.bool_)
    count, below, below_end = 0, 0, 0
    for y in range(height - 1, top - 1, -1):
        begin, candidate = count, below
        x = 0
        while x < width:
            if out[y, x] == 0:
                x += 1
                continue
            left = x
            while x < width and out[y, x] != 0:
                x += 1
            first[count], last[count], row[count], parent[count] = left, x, y, count
            if y >= start_top and left < start_right and x > start_left:
                reached[count] = True
            while candidate < below_end and last[candidate] <= left:
                candidate += 1
            other = candidate
            while other < below_end and first[other] < x:
                a, b = _root(parent, count), _root(parent, other)
                if a != b:
                    parent[b] = a
                    reached[a] = reached[a] or reached[b]
                other += 1
            count += 1
        below, below_end = begin, count
    for i in range(runs):
        if not reached[_root(parent, i)]:
            out[row[i], first[i]:last[i]] = 0
    return out


@njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
