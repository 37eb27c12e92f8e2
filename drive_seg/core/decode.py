"""Logits to labels at the camera's resolution: the exact bilinear argmax, without upsampling the logits.

A pixel's class is the argmax of the bilinearly upsampled logits (half-pixel centres, clamped at the edges), the lowest
id on a tie. Interpolation is a convex combination: where both ends of an interval share their argmax, every point
between has it too. So intervals whose four corner cells agree are filled without looking at a logit, and in the others
the logits are interpolated only where the two ends of the row's interval still differ.

Confidence is the probability of the published label: the soft-max of each cell, summed over the classes of a group and
interpolated like the logits. A mixture of calibrated cells is calibrated, and falls where two regions meet.

Trust says how familiar the network found a cell: its free energy T log sum exp(logits / T), standardised per class
(Liu et al., NeurIPS 2020; Jung et al., ICCV 2021). Where the interpolated trust is under a limit, the label is unknown.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from drive_seg.core.classes import UNKNOWN, ClassTable, Group

_GROUPS = len(Group)


@dataclass(frozen=True)
class TrustModel:
    """What free energy is normal for each class, and under how many standard deviations a cell is unknown.

    mean, std: (C,) float32, of the free energy on training images, by predicted class. limit: standardised score under
    which a pixel is unknown; -inf trusts everything.
    """

    mean: np.ndarray
    std: np.ndarray
    limit: float


@dataclass(frozen=True)
class Decoded:
    """What decoding gives, each (H, W) uint8: network class ids, planner labels, confidence (255 = certain)."""

    classes: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray


class Decoder:
    """Decodes one network's logits. Holds no state between frames; the worker threads only split the rows."""

    def __init__(self, table: ClassTable, *, temperature: float = 1.0, trust: TrustModel | None = None,
                 threads: int = 2) -> None:
        """temperature: the logits are divided by it before the soft-max (Guo et al., ICML 2017)."""
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, it is {temperature}")
        classes = len(table)
        self._classes = classes
        self._group_of_class = table.group_lut[:classes].copy()
        self._temperature = np.float32(temperature)
        if trust is None:
            trust = TrustModel(np.zeros(classes, np.float32), np.ones(classes, np.float32), -np.inf)
        if trust.mean.shape != (classes,) or trust.std.shape != (classes,) or not (trust.std > 0).all():
            raise ValueError(f"trust statistics must be {classes} means and {classes} positive deviations")
        self._trust = trust
        self._threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self._threads - 1, "decode") if self._threads > 1 else None

    def decode(self, logits: np.ndarray, size: tuple[int, int]) -> Decoded:
        """Decode logits (C, gh, gw) float32 to images of `size` = (H, W) pixels.

        Raises ValueError when the channels are not the class table's, or when a logit is not a finite number: a network
        that overflowed must not become a mask.
        """
        if logits.ndim != 3 or logits.shape[0] != self._classes:
            raise ValueError(f"the network gave logits {logits.shape}, its class table has {self._classes} classes:"
                             " use the class table that belongs to this network")
        cells = np.ascontiguousarray(logits.transpose(1, 2, 0), np.float32)
        cell_class, cell_group, cell_trust, finite = _describe_cells(
            cells, self._group_of_class, self._temperature,
            np.asarray(self._trust.mean, np.float32), np.asarray(self._trust.std, np.float32))
        if not finite:
            raise ValueError("the network gave logits that are no finite numbers (overflow?)")
        height, width = size
        rows, columns = _axis(height, cells.shape[0]), _axis(width, cells.shape[1])
        out = Decoded(*(np.empty((height, width), np.uint8) for _ in range(3)))

        def band(first: int, last: int) -> None:
            _decode_rows(cells, cell_class, cell_group, cell_trust, np.float32(self._trust.limit),
                         self._group_of_class, *rows, *columns, first, last, out.classes, out.labels, out.confidence)

        edges = [height * i // self._threads for i in range(self._threads + 1)]
        waiting = [self._pool.submit(band, edges[i], edges[i + 1]) for i in range(1, self._threads)]
        band(edges[0], edges[1])
        for future in waiting:
            future.result()
        return out

    def close(self) -> None:
        """Give back the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _axis(pixels: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel centre falls between cell centres: (lower cell int32, weight of the next cell float32)."""
    place = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    lower = np.minimum(place.astype(np.int32), max(cells - 2, 0))
    return lower, (place - lower).astype(np.float32)


@njit(cache=True, nogil=True)
def _describe_cells(cells, group_of_class, temperature, mean, std):
    """Per cell: argmax class, group probabilities, standardised free energy; and whether every logit is finite."""
    gh, gw, classes = cells.shape
    cell_class = np.empty((gh, gw), np.uint8)
    cell_group = np.zeros((gh, gw, _GROUPS), np.float32)
    cell_trust = np.empty((gh, gw), np.float32)
    inverse = np.float32(1.0) / temperature
    finite = True
    for y in range(gh):
        for x in range(gw):
            best, highest = 0, cells[y, x, 0]
            for k in range(classes):
                value = cells[y, x, k]
                if not np.isfinite(value):
                    finite = False
                if value > highest:
                    best, highest = k, value
            total = np.float32(0.0)
            for k in range(classes):
                share = np.exp((cells[y, x, k] - highest) * inverse)
                cell_group[y, x, group_of_class[k]] += share
                total += share
            scale = np.float32(1.0) / total
            for g in range(_GROUPS):
                cell_group[y, x, g] *= scale
            cell_class[y, x] = best
            cell_trust[y, x] = (highest + temperature * np.log(total) - mean[best]) / std[best]
    return cell_class, cell_group, cell_trust, finite


@njit(cache=True, nogil=True)
def _argmax(values):
    best = 0
    for k in range(1, values.shape[0]):
        if values[k] > values[best]:
            best = k
    return best


@njit(cache=True, nogil=True)
def _byte(probability):
    # Through int32: a direct conversion to uint8 keeps the compiler from using vector instructions.
    return np.uint8(np.int32(probability * np.float32(255.0) + np.float32(0.5)))


_FLAT, _SLOPED, _MIXED = 0, 1, 2  # corners agree in class and confidence; in class; not in class


@njit(cache=True, nogil=True)
def _decode_rows(cells, cell_class, cell_group, cell_trust, trust_limit, group_of_class, row_cell, row_weight,
                 column_cell, column_weight, first, last, classes_out, labels_out, confidence_out):
    gh, gw, classes = cells.shape
    intervals = max(gw - 1, 1)
    starts = np.searchsorted(column_cell, np.arange(intervals + 1))
    kind = np.empty(intervals, np.uint8)
    doubtful = np.empty(intervals, np.bool_)
    left = np.empty(classes, np.float32)
    right = np.empty(classes, np.float32)
    one = np.float32(1.0)
    described = -1
    for y in range(first, last):
        y0 = row_cell[y]
        y1 = min(y0 + 1, gh - 1)
        fy = row_weight[y]
        gy = one - fy
        if y0 != described:  # what holds for all pixel rows between two rows of cells
            described = y0
            for c in range(intervals):
                c1 = min(c + 1, gw - 1)
                k = cell_class[y0, c]
                if k == cell_class[y0, c1] and k == cell_class[y1, c] and k == cell_class[y1, c1]:
                    g = group_of_class[k]
                    level = _byte(cell_group[y0, c, g])
                    same = (level == _byte(cell_group[y0, c1, g]) and level == _byte(cell_group[y1, c, g])
                            and level == _byte(cell_group[y1, c1, g]))
                    kind[c] = _FLAT if same else _SLOPED
                else:
                    kind[c] = _MIXED
                doubtful[c] = (cell_trust[y0, c] < trust_limit or cell_trust[y0, c1] < trust_limit
                               or cell_trust[y1, c] < trust_limit or cell_trust[y1, c1] < trust_limit)
        class_row, label_row, confidence_row = classes_out[y], labels_out[y], confidence_out[y]
        c = 0
        while c < intervals:
            c1 = min(c + 1, gw - 1)
            k = cell_class[y0, c]
            begin, end = starts[c], starts[c + 1]
            if kind[c] != _MIXED:
                group = group_of_class[k]
                if kind[c] == _FLAT:
                    level = _byte(cell_group[y0, c, group])
                    follower = c + 1
                    while (follower < intervals and kind[follower] == _FLAT and cell_class[y0, follower] == k):
                        follower += 1  # neighbours share two corners: class and confidence are the same
                    end = starts[follower]
                    for i in range(begin, end):
                        confidence_row[i] = level
                    c = follower
                else:
                    a = gy * cell_group[y0, c, group] + fy * cell_group[y1, c, group]
                    b = gy * cell_group[y0, c1, group] + fy * cell_group[y1, c1, group]
                    for i in range(begin, end):
                        confidence_row[i] = _byte((one - column_weight[i]) * a + column_weight[i] * b)
                    c += 1
                for i in range(begin, end):
                    class_row[i] = k
                for i in range(begin, end):
                    label_row[i] = group
                continue
            for j in range(classes):
                left[j] = gy * cells[y0, c, j] + fy * cells[y1, c, j]
                right[j] = gy * cells[y0, c1, j] + fy * cells[y1, c1, j]
            class_left, class_right = _argmax(left), _argmax(right)
            for i in range(begin, end):
                fx = column_weight[i]
                gx = one - fx
                best = class_left
                if class_left != class_right:
                    best, highest = 0, gx * left[0] + fx * right[0]
                    for j in range(1, classes):
                        value = gx * left[j] + fx * right[j]
                        if value > highest:
                            best, highest = j, value
                group = group_of_class[best]
                a = gy * cell_group[y0, c, group] + fy * cell_group[y1, c, group]
                b = gy * cell_group[y0, c1, group] + fy * cell_group[y1, c1, group]
                class_row[i] = best
                label_row[i] = group
                confidence_row[i] = _byte(gx * a + fx * b)
            c += 1
        for c in range(intervals):
            if doubtful[c]:
                c1 = min(c + 1, gw - 1)
                a = gy * cell_trust[y0, c] + fy * cell_trust[y1, c]
                b = gy * cell_trust[y0, c1] + fy * cell_trust[y1, c1]
                if a < trust_limit or b < trust_limit:
                    for i in range(starts[c], starts[c + 1]):
                        if (one - column_weight[i]) * a + column_weight[i] * b < trust_limit:
                            label_row[i] = UNKNOWN
