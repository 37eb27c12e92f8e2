"""Which road the vehicle can reach: the drivable-area mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive_seg.core.classes import ClassTable, Group
from drive_seg.errors import ParameterError

_ROAD, _PAVEMENT = np.uint8(Group.ROAD), np.uint8(Group.PAVEMENT)  # bytes, for vector instructions

ASSUMED_HEIGHT = 2.0
"""Metres of the camera above the road that are assumed at least: more than cars have, so that sizes are judged too
large rather than too small."""


@dataclass(frozen=True)
class DrivableRule:
    """When a road pixel counts as drivable.

    min_confidence: 0..1, least probability of its label. start_width: share of the image width, centred, and
    start_height: share of the image height from the bottom, in which the road in front of the vehicle begins.
    speck: metres; what is neither ground nor this large, both across and up the image, is a speck and ends no column;
    0 lets every pixel end one. camera_height: metres above the road, by which that is measured.
    """

    min_confidence: float = 0.65
    start_width: float = 0.6
    start_height: float = 0.15
    speck: float = 0.15
    camera_height: float = ASSUMED_HEIGHT

    def __post_init__(self) -> None:
        for name in ("min_confidence", "start_width", "start_height", "speck"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(f"{name} must be in 0..1, it is {getattr(self, name)}")
        if not self.camera_height > 0:
            raise ParameterError(f"camera_height must be above 0, it is {self.camera_height}")


_ONE, _TWO, _THREE, _FOUR = (np.uint64(n) for n in (1, 2, 3, 4))
_FEWEST_GROUND = 0.02  # share of the width that must be ground in the row that is taken for the horizon
_SURE_SIZE = 0.5  # of `speck`, for what the network is sure of
_SURE = 204  # confidence 0..255, 80 %
_EGO_ROWS = 0.4  # share of the height, from the bottom, in which the network may see the vehicle itself
_EGO_NEAR = 0.15  # share in which what it sees need not reach the bottom edge: bonnets mirror the road


def drivable_area(labels: np.ndarray, classes: np.ndarray, confidence: np.ndarray, table: ClassTable,
                  rule: DrivableRule, ego: np.ndarray | None = None, scale: np.ndarray | None = None) -> np.ndarray:
    """Road that can be reached from in front of the vehicle without crossing anything else.

    labels, classes, confidence: (H, W) uint8 as Decoder gives them. ego: (H, W) bool, True where the vehicle itself is
    seen. scale: (H,) float32, pixels a metre on the ground in each row, 0 above the horizon (GroundView.scale); without
    it, by the highest row that shows ground and rule.camera_height. Returns (H, W) uint8, 255 drivable and 0 not.

    Going up an image column, the first contact with something that is neither ground (road or pavement) nor the vehicle
    itself ends it; what lies behind is never drivable. Unknown is not ground. Something is a connected patch that is at
    least `rule.speck` wide or high where its foot is; smaller ones are not drivable themselves, but end no column. So
    are pixels of an ego class that reach down to the bottom edge, and all that is below one close to that edge.
    """
    height, width = labels.shape
    if ego is None:
        ego = np.zeros((1, 1), np.bool_)
    elif ego.shape != labels.shape:
        raise ValueError(f"the ego mask is {ego.shape}, the labels are {labels.shape}")
    if scale is not None and scale.shape != (height,):
        raise ValueError(f"the scale has {scale.shape} rows, the labels {height}")
    # The start is measured from the lowest row that shows the world, not the bonnet.
    bottom = height if ego.shape == (1, 1) else height - int(np.argmin(np.all(ego, axis=1)[::-1]))
    half = max(1, round(width * rule.start_width / 2))
    left, right = max(0, width // 2 - half), min(width, width // 2 + half)
    # By column, below which row does the network see the vehicle itself?
    world, is_seen = _own_vehicle(classes, ego, np.flatnonzero(table.ego_lut).astype(np.uint8),
                                  height - round(height * _EGO_NEAR), height - round(height * _EGO_ROWS))
    if is_seen:
        bottom = min(bottom, int(np.median(world[left:right])))
    start = (bottom - max(1, round(height * rule.start_height)), left, right)
    drivable = np.flatnonzero(table.drivable_lut).astype(np.uint8)
    limit = np.zeros(height, np.float32)
    if rule.speck > 0:
        if scale is None:
            scale = np.maximum(np.arange(height) - _horizon(labels, max(1, int(width * _FEWEST_GROUND))), 0
                               ) / rule.camera_height
        limit = (rule.speck * scale).astype(np.float32)
    return _reach(labels, classes, confidence, drivable, ego, world, limit, np.uint8(round(rule.min_confidence * 255)),
                  start)


@njit(cache=True, nogil=True)
def _own_vehicle(classes, ego, own, near, highest):
    """By column, the row from which down the vehicle is seen: from the highest pixel of an ego class below row `near`,
    and above that as far as all is of an ego class or in the ego mask; the height without any. And whether there is
    any. own: ids of the ego classes."""
    height, width = classes.shape
    has_ego = ego.shape[0] == height and ego.shape[1] == width and height * width > 1
    world = np.full(width, height, np.int32)
    if own.shape[0] == 0:
        return world, False
    is_own, is_seen = np.empty(width, np.uint8), False
    for y in range(height - 1, highest - 1, -1):
        more = y >= near
        cls = classes[y]
        is_own[:] = 0
        found = np.uint8(0)
        for k in own:
            for x in range(width):
                is_own[x] |= cls[x] == k
        for x in range(width):
            found = np.uint8(found | is_own[x])
        if found or has_ego:
            for x in range(width):
                if (is_own[x] and y >= near) or (world[x] == y + 1 and (is_own[x] or (has_ego and ego[y, x]))):
                    world[x] = y
                    more = is_seen = True
        if not more:
            break
    return world, is_seen


@njit(cache=True, nogil=True)
def _horizon(labels, fewest):
    """The highest row with so many pixels of ground; the height where there is none."""
    height, width = labels.shape
    for y in range(height):
        label = labels[y]
        any_found = np.uint8(0)  # most rows of sky have none, and a byte is quicker than a count
        for x in range(width):
            any_found = np.uint8(any_found | (label[x] == _ROAD) | (label[x] == _PAVEMENT))
        if not any_found:
            continue
        found = 0
        for x in range(width):
            found += (label[x] == _ROAD) | (label[x] == _PAVEMENT)
        if found >= fewest:
            return y
    return height


@njit(cache=True, nogil=True)
def _reach(labels, classes, confidence, drivable, ego, world, limit, least, start):
    """drivable: ids of the drivable classes. world: see _own_vehicle. limit: by row, pixels to which a patch is a
    speck."""
    height, width = labels.shape
    start_top, start_left, start_right = start
    has_ego = ego.shape[0] == height and ego.shape[1] == width and height * width > 1
    has_own = world.min() < height
    is_open, begin_open, end_open = np.ones(width, np.uint8), 0, width  # all are closed outside of begin..end
    own, none = np.zeros(width, np.uint8), np.zeros(width, np.uint8)
    line, edges = np.zeros((width + 7) // 8 * 8, np.uint8), np.empty(width + 1, np.int32)
    words = line.view(np.uint64)
    speck_first, speck_last, speck_row = _specks(labels, confidence, ego, has_ego, world, has_own, limit)
    at = 0  # the next speck

    # Connected runs (4-neighbours), bottom up, by union-find; a root knows whether its region starts at the vehicle.
    first, last, row = np.empty(1024, np.int32), np.empty(1024, np.int32), np.empty(1024, np.int32)
    parent, reached = np.empty(1024, np.int32), np.empty(1024, np.bool_)
    count, below, below_end = 0, 0, 0
    for y in range(height - 1, -1, -1):
        vehicle, passed = none, none
        if has_ego or has_own:
            _vehicle(own, ego[y if has_ego else 0], has_ego, world, y)
            vehicle = passed = own
        if at < speck_row.shape[0] and speck_row[at] == y:
            passed = vehicle.copy()
            while at < speck_row.shape[0] and speck_row[at] == y:
                passed[speck_first[at]:speck_last[at]] = 1
                at += 1
        # Going up, fewer and fewer columns are open, and only those need work.
        among = slice(begin_open, end_open)
        _open_road(labels[y, among], classes[y, among], confidence[y, among], drivable, vehicle[among], passed[among],
                   least, is_open[among], line[among])
        while begin_open < end_open and not is_open[begin_open]:
            begin_open += 1
        while begin_open < end_open and not is_open[end_open - 1]:
            end_open -= 1
        if begin_open == end_open:
            break
        begin, candidate = count, below
        found = _edges(line, words, begin_open, end_open, edges)
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
def _vehicle(own, ego, has_ego, world, y):
    """One row: 1 where the vehicle itself is seen, by the mask or by the network."""
    for x in range(own.shape[0]):
        own[x] = world[x] <= y
    if has_ego:
        for x in range(own.shape[0]):
            own[x] |= ego[x]


@njit(cache=True, nogil=True)
def _open_road(label, cls, confidence, drivable, vehicle, passed, least, is_open, line):
    """One row, bottom up: close columns, put drivable road of the open ones into line (0 or 1). vehicle: 1 where it is
    seen itself. passed: 1 there and on specks. Plain loops without branches, so that the compiler makes vector
    instructions of them.
    """
    width = is_open.shape[0]
    line[:] = 0
    for k in drivable:
        for x in range(width):
            line[x] |= cls[x] == k
    for x in range(width):
        is_open[x] &= (label[x] == _ROAD) | (label[x] == _PAVEMENT) | passed[x]
        line[x] &= is_open[x] & (label[x] == _ROAD) & (confidence[x] >= least) & (vehicle[x] ^ 1)


@njit(cache=True, nogil=True)
def _specks(labels, confidence, ego, has_ego, world, has_own, limit):
    """The runs (first, last, row), bottom up, of connected patches (8-neighbours) that are neither ground nor vehicle,
    and small for where they stand. What touches the image's edges, or reaches above the ground, may be larger."""
    height, width = labels.shape
    line, edges = np.zeros((width + 7) // 8 * 8, np.uint8), np.empty(width + 1, np.int32)
    words = line.view(np.uint64)
    own = np.zeros(width, np.uint8)
    size = 1024
    first, last, row = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    parent = np.empty(size, np.int32)
    # Of a root: columns and rows that its patch spans, whether it may be larger than is seen, greatest confidence.
    left_most, right_most, lowest = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    highest, sure, open_end = np.empty(size, np.int32), np.empty(size, np.uint8), np.empty(size, np.bool_)
    count, below, below_end = 0, 0, 0
    for y in range(height - 1, -1, -1):
        if limit[y] <= 1.0:  # nothing is smaller; what reaches up to here is not small
            for i in range(below, below_end):
                open_end[_root(parent, i)] = True
            break
        label = labels[y]
        for x in range(width):
            line[x] = (label[x] != _ROAD) & (label[x] != _PAVEMENT)
        if has_ego or has_own:
            _vehicle(own, ego[y if has_ego else 0], has_ego, world, y)
            for x in range(width):
                line[x] &= own[x] ^ 1
        begin, candidate = count, below
        found = _edges(line, words, 0, width, edges)
        if count + found > first.shape[0]:
            first, last, row = _longer(first, width), _longer(last, width), _longer(row, width)
            parent, lowest, highest = _longer(parent, width), _longer(lowest, width), _longer(highest, width)
            left_most, right_most = _longer(left_most, width), _longer(right_most, width)
            sure, open_end = _longer(sure, width), _longer(open_end, width)
        for i in range(0, found, 2):
            left, right = edges[i], edges[i + 1]
            first[count], last[count], row[count], parent[count] = left, right, y, count
            left_most[count], right_most[count], lowest[count], highest[count] = left, right, y, y
            open_end[count] = y == 0 or y == height - 1 or left == 0 or right == width
            while candidate < below_end and last[candidate] < left:
                candidate += 1
            other = candidate
            while other < below_end and first[other] <= right:
                a, b = _root(parent, count), _root(parent, other)
                if a != b:
                    parent[b] = a
                    left_most[a], right_most[a] = min(left_most[a], left_most[b]), max(right_most[a], right_most[b])
                    lowest[a], highest[a] = max(lowest[a], lowest[b]), min(highest[a], highest[b])
                    open_end[a] = open_end[a] or open_end[b]
                other += 1
            count += 1
        below, below_end = begin, count
    for i in range(count):  # of few patches it matters how sure the network is
        a = parent[i] = _root(parent, i)
        open_end[a] |= not _is_within(left_most[a], right_most[a], highest[a], lowest[a], limit[lowest[a]])
        sure[i] = 0
    for i in range(count):
        a = parent[i]
        if not open_end[a] and last[i] - first[i] < limit[row[i]]:
            for x in range(first[i], last[i]):
                sure[a] = max(sure[a], confidence[row[i], x])
    kept = 0
    for i in range(count):
        a = parent[i]
        most = limit[lowest[a]]
        if sure[a] >= _SURE:
            most *= _SURE_SIZE
        if not open_end[a] and _is_within(left_most[a], right_most[a], highest[a], lowest[a], most):
            first[kept], last[kept], row[kept] = first[i], last[i], row[i]
            kept += 1
    return first[:kept], last[:kept], row[:kept]


@njit(cache=True, nogil=True)
def _is_within(left, right, top, bottom, most):
    return right - left < most and bottom - top + 1 < most


@njit(cache=True, nogil=True)
def _edges(line, words, begin, end, edges):
    """Where runs of ones begin and end, by turns, as (begin, end) pairs of pixels. Returns how many edges there are.

    line: pixels of 0 or 1, a multiple of eight of them, 0 outside of begin..end. words: the same by eights, for
    stretches without an edge are passed by words.
    """
    word, words_end = np.uint64(begin // 8), np.uint64((end + 7) // 8)  # unsigned: an index needs no check
    found = 0
    unchanged = np.uint64(0)
    while word < words_end:
        if word + _FOUR <= words_end and ((words[word] ^ unchanged) | (words[word + _ONE] ^ unchanged)
                                          | (words[word + _TWO] ^ unchanged) | (words[word + _THREE] ^ unchanged)) == 0:
            word += _FOUR
            continue
        if words[word] != unchanged:
            first = 8 * np.int64(word)
            for x in range(first, first + 8):
                if line[x] != found & 1:
                    edges[found] = x
                    found += 1
            unchanged = np.uint64(0x0101010101010101) if found & 1 else np.uint64(0)
        word += _ONE
    if found & 1:
        edges[found] = end
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
