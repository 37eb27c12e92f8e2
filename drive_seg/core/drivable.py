"""Which road the vehicle can reach: the drivable-area mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive_seg.core.classes import ClassTable, Group
from drive_seg.errors import ParameterError

_ROAD, _PAVEMENT = np.uint8(Group.ROAD), np.uint8(Group.PAVEMENT)  # bytes, for vector instructions


@dataclass(frozen=True)
class DrivableRule:
    """When a road pixel counts as drivable.

    min_confidence: 0..1, least probability of its label. start_width: share of the image width, centred, and
    start_height: share of the image height from the bottom, in which the road in front of the vehicle begins.
    """

    min_confidence: float = 0.75
    start_width: float = 0.6
    start_height: float = 0.15

    def __post_init__(self) -> None:
        for name in ("min_confidence", "start_width", "start_height"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(f"{name} must be in 0..1, it is {getattr(self, name)}")


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
    drivable = np.flatnonzero(table.drivable_lut).astype(np.uint8)
    return _reach(labels, classes, confidence, drivable, ego, np.uint8(round(rule.min_confidence * 255)), start)


@njit(cache=True, nogil=True)
def _reach(labels, classes, confidence, drivable, ego, least, start):
    """drivable: ids of the drivable classes."""
    height, width = labels.shape
    start_top, start_left, start_right = start
    has_ego = ego.shape[0] == height and ego.shape[1] == width and height * width > 1
    is_open = np.ones(width, np.uint8)
    line, edges = np.zeros((width + 7) // 8 * 8, np.uint8), np.empty(width + 1, np.int32)

    # Connected runs (4-neighbours), bottom up, by union-find; a root knows whether its region starts at the vehicle.
    first, last, row = np.empty(1024, np.int32), np.empty(1024, np.int32), np.empty(1024, np.int32)
    parent, reached = np.empty(1024, np.int32), np.empty(1024, np.bool_)
    count, below, below_end = 0, 0, 0
    for y in range(height - 1, -1, -1):
        if not _open_road(labels[y], classes[y], confidence[y], drivable, ego[y if has_ego else 0], has_ego, least,
                          is_open, line):
            break
        begin, candidate = count, below
        found = _edges(line, width, edges)
        if count + found > first.shape[0]:
            first, last, row = _longer(first, width), _longer(last, width), _longer(row, width)
            parent, reached = _longer(parent, width), _longer(reached, width)
        for i in range(0, found, 2):
            left, right = edges[i], edges[i + 1]
            first[count], last[count], row[count], parent[count] = left, right, y, count
            reached[count] = y >= start_top and left < start_right and right > start_left
            while candidate < below_end and last[candidate] <= left:
                candidate += 1
            other = candidate
            while other < below_end and first[other] < right:
                a, b = _root(parent, count), _root(parent, other)
                if a != b:
                    parent[b] = a
                    reached[a] = reached[a] or reached[b]
                other += 1
            count += 1
        below, below_end = begin, count
    out = np.zeros((height, width), np.uint8)
    for i in range(count):
        if reached[_root(parent, i)]:
            out[row[i], first[i]:last[i]] = 255
    return out


@njit(cache=True, nogil=True)
def _open_road(label, cls, confidence, drivable, ego, has_ego, least, is_open, line):
    """One row, bottom up: close columns, put drivable road of the open ones into line (0 or 1). Returns whether any
    column is still open. Plain loops without branches, so that the compiler makes vector instructions of them.
    """
    width = is_open.shape[0]
    line[:width] = 0
    for k in drivable:
        for x in range(width):
            line[x] |= cls[x] == k
    if has_ego:
        for x in range(width):
            is_open[x] &= (label[x] == _ROAD) | (label[x] == _PAVEMENT) | ego[x]
            line[x] &= ego[x] ^ True
    else:
        for x in range(width):
            is_open[x] &= (label[x] == _ROAD) | (label[x] == _PAVEMENT)
    for x in range(width):
        line[x] &= is_open[x] & (label[x] == _ROAD) & (confidence[x] >= least)
    still_open = np.uint8(0)
    for x in range(width):
        still_open = max(still_open, is_open[x])
    return still_open != 0


@njit(cache=True, nogil=True)
def _edges(line, width, edges):
    """Where runs of ones begin and end, by turns, as (begin, end) pairs of pixels. Returns how many edges there are.

    line: width pixels of 0 or 1, then 0 up to a multiple of eight: stretches without an edge are passed word by word.
    """
    words = line.view(np.uint64)
    found = 0
    unchanged = np.uint64(0)
    for w in range(words.shape[0]):
        if words[w] == unchanged:
            continue
        for x in range(8 * w, 8 * w + 8):
            if line[x] != found & 1:
                edges[found] = x
                found += 1
        unchanged = np.uint64(0x0101010101010101) if found & 1 else np.uint64(0)
    if found & 1:
        edges[found] = width
        found += 1
    return found


@njit(cache=True, nogil=True)
def _longer(values, by):
    return np.concatenate((values, np.empty(values.shape[0] + by, values.dtype)))  # at least twice as long


@njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
