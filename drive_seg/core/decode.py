"""Logits to labels at the camera's resolution: the exact bilinear argmax, without upsampling the logits.

A pixel's class is the argmax of the bilinearly upsampled logits (half-pixel centres, clamped at the edges), the lowest
id on a tie. Interpolation is a convex combination: where the four cells around a pixel share their argmax, the pixel
has it too. So those pixels are filled without looking at a logit, and only the others are evaluated. All that the
pixel rows between two rows of cells have in common is prepared once for them; a row is then plain loops over
contiguous memory.

Confidence is the probability of the published label: the soft-max of each cell, summed over the classes of a group and
interpolated like the logits. A mixture of calibrated cells is calibrated, and falls where two regions meet.

Trust says how familiar the network found a cell: its free energy T log sum exp(logits / T), standardised per class
(Liu et al., NeurIPS 2020; Jung et al., ICCV 2021). Where the interpolated trust is under a limit, the label is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

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
        gh, gw = cells.shape[:2]
        described = (np.empty((gh, gw), np.uint8), np.empty((gh, gw, _GROUPS), np.float32),
                     np.empty((gh, gw), np.float32))
        mean, std = (np.asarray(v, np.float32) for v in (self._trust.mean, self._trust.std))
        finite = self._in_bands(gh, lambda first, last: _describe_cells(
            cells, self._group_of_class, self._temperature, mean, std, first, last, *described))
        if not all(finite):
            raise ValueError("the network gave logits that are no finite numbers (overflow?)")
        height, width = size
        rows, columns = _axis(height, gh), _axis(width, gw)
        out = Decoded(*(np.empty((height, width), np.uint8) for _ in range(3)))
        self._in_bands(height, lambda first, last: _decode_rows(
            cells, *described, np.float32(self._trust.limit), self._group_of_class, *rows, *columns, first, last,
            out.classes, out.labels, out.confidence))
        return out

    def _in_bands(self, rows: int, work: Callable[[int, int], Any]) -> list:
        """Share rows among the threads: work(first, last) for each band; the results in order."""
        edges = [rows * i // self._threads for i in range(self._threads + 1)]
        waiting = [self._pool.submit(work, edges[i], edges[i + 1]) for i in range(1, self._threads)]
        return [work(edges[0], edges[1]), *(future.result() for future in waiting)]

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
def _describe_cells(cells, group_of_class, temperature, mean, std, first, last, cell_class, cell_group, cell_trust):
    """Per cell: argmax class, group probabilities, standardised free energy. Returns whether all logits are finite."""
    gw, classes = cells.shape[1:]
    inverse = np.float32(1.0) / temperature
    finite = True
    for y in range(first, last):
        for x in range(gw):
            best, highest = 0, cells[y, x, 0]
            for k in range(classes):
                value = cells[y, x, k]
                if not np.isfinite(value):
                    finite = False
                if value > highest:
                    best, highest = k, value
            for g in range(_GROUPS):
                cell_group[y, x, g] = 0.0
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
    return finite


@njit(cache=True, nogil=True)
def _byte(probability):
    # Through int32: a direct conversion to uint8 keeps the compiler from using vector instructions.
    return np.uint8(np.int32(probability * np.float32(255.0) + np.float32(0.5)))


@njit(cache=True, nogil=True)
def _between(a, b, weight):
    return (np.float32(1.0) - weight) * a + weight * b


@njit(cache=True, nogil=True)
def _decode_rows(cells, cell_class, cell_group, cell_trust, trust_limit, group_of_class, row_cell, row_weight,
                 column_cell, column_weight, first, last, classes_out, labels_out, confidence_out):
    gh, gw, classes = cells.shape
    width = column_cell.shape[0]
    one = np.float32(1.0)
    # Of a whole line of pixels, where the four cells around agree; upper and lower: interpolated along the row of cells
    # above and below.
    class_line, label_line = np.zeros(width, np.uint8), np.zeros(width, np.uint8)
    upper, lower = np.zeros(width, np.float32), np.zeros(width, np.float32)
    # Of the pixels where they do not agree, and of those whose trust is in doubt.
    mixed, doubtful = np.empty(width, np.int32), np.empty(width, np.int32)
    upper_logits, lower_logits = np.empty((classes, width), np.float32), np.empty((classes, width), np.float32)
    upper_group, lower_group = np.empty((_GROUPS, width), np.float32), np.empty((_GROUPS, width), np.float32)
    upper_trust, lower_trust = np.empty(width, np.float32), np.empty(width, np.float32)
    best, highest = np.empty(width, np.int32), np.empty(width, np.float32)
    mixed_count = doubtful_count = 0
    prepared = -1
    for y in range(first, last):
        y0 = row_cell[y]
        if y0 != prepared:
            prepared = y0
            y1 = min(y0 + 1, gh - 1)
            mixed_count = doubtful_count = 0
            for x in range(width):
                c0, w = column_cell[x], column_weight[x]
                c1 = min(c0 + 1, gw - 1)
                k = cell_class[y0, c0]
                if k == cell_class[y0, c1] and k == cell_class[y1, c0] and k == cell_class[y1, c1]:
                    g = group_of_class[k]
                    class_line[x], label_line[x] = k, g
                    upper[x] = _between(cell_group[y0, c0, g], cell_group[y0, c1, g], w)
                    lower[x] = _between(cell_group[y1, c0, g], cell_group[y1, c1, g], w)
                else:
                    q = mixed_count
                    mixed[q] = x
                    for j in range(classes):
                        upper_logits[j, q] = _between(cells[y0, c0, j], cells[y0, c1, j], w)
                        lower_logits[j, q] = _between(cells[y1, c0, j], cells[y1, c1, j], w)
                    for g in range(_GROUPS):
                        upper_group[g, q] = _between(cell_group[y0, c0, g], cell_group[y0, c1, g], w)
                        lower_group[g, q] = _between(cell_group[y1, c0, g], cell_group[y1, c1, g], w)
                    mixed_count += 1
                above = _between(cell_trust[y0, c0], cell_trust[y0, c1], w)
                below = _between(cell_trust[y1, c0], cell_trust[y1, c1], w)
                if above < trust_limit or below < trust_limit:
                    doubtful[doubtful_count] = x
                    upper_trust[doubtful_count], lower_trust[doubtful_count] = above, below
                    doubtful_count += 1
        fy = row_weight[y]
        gy = one - fy
        class_row, label_row, confidence_row = classes_out[y], labels_out[y], confidence_out[y]
        for x in range(width):
            class_row[x] = class_line[x]
        for x in range(width):
            label_row[x] = label_line[x]
        for x in range(width):
            confidence_row[x] = _byte(gy * upper[x] + fy * lower[x])
        for q in range(mixed_count):
            best[q], highest[q] = 0, gy * upper_logits[0, q] + fy * lower_logits[0, q]
        for j in range(1, classes):
            for q in range(mixed_count):
                value = gy * upper_logits[j, q] + fy * lower_logits[j, q]
                higher = value > highest[q]
                highest[q] = value if higher else highest[q]
                best[q] = j if higher else best[q]
        for q in range(mixed_count):
            x, k = mixed[q], best[q]
            g = group_of_class[k]
            class_row[x], label_row[x] = k, g
            confidence_row[x] = _byte(gy * upper_group[g, q] + fy * lower_group[g, q])
        for q in range(doubtful_count):
            if gy * upper_trust[q] + fy * lower_trust[q] < trust_limit:
                label_row[doubtful[q]] = UNKNOWN
