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

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from drive_seg.core.classes import UNKNOWN, ClassTable, Group

_GROUPS = len(Group)

_LOG2_E = 1.4426950408889634
_T0, _T1, _T2, _T3, _T4, _T5, _T6 = (np.float32(np.log(2.0) ** i / math.factorial(i)) for i in range(7))
"""Taylor's series of 2**f: within +-1/2 its relative error is 1.2e-7, that of float32 itself."""
_LEAST_POWER = np.float32(-126.0)
"""The smallest power of two that is not a denormal number."""
_GREATEST = np.finfo(np.float32).max


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
        logits = np.ascontiguousarray(logits, np.float32)
        gh, gw = logits.shape[1:]
        described = (np.empty((gh, gw), np.uint8), np.empty((_GROUPS, gh, gw), np.float32),
                     np.empty((gh, gw), np.float32))
        mean, std = (np.asarray(v, np.float32) for v in (self._trust.mean, self._trust.std))
        finite = self._in_bands(gh, lambda first, last: _describe_cells(
            logits, self._group_of_class, self._temperature, mean, std, first, last, *described))
        if not all(finite):
            raise ValueError("the network gave logits that are not finite numbers (overflow?)")
        height, width = size
        rows, columns = axis(height, gh), axis(width, gw)
        spans = np.searchsorted(columns[0], np.arange(max(gw - 1, 1) + 1))
        out = Decoded(*(np.empty((height, width), np.uint8) for _ in range(3)))
        self._in_bands(height, lambda first, last: _decode_rows(
            logits, *described, np.float32(self._trust.limit), self._group_of_class, *rows, spans, columns[1], first,
            last, out.classes, out.labels, out.confidence))
        return out

    def _in_bands(self, rows: int, work: Callable[[int, int], Any]) -> list:
        """Share rows among the threads: work(first, last) for each band; the results in order."""
        if self._pool is None:
            return [work(0, rows)]
        edges = [rows * i // self._threads for i in range(self._threads + 1)]
        waiting = [self._pool.submit(work, edges[i], edges[i + 1]) for i in range(1, self._threads)]
        return [work(edges[0], edges[1]), *(future.result() for future in waiting)]

    def close(self) -> None:
        """Give back the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def axis(pixels: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel centre falls between cell centres: (lower cell int32, weight of the next cell float32)."""
    place = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    lower = np.minimum(place.astype(np.int32), max(cells - 2, 0))
    return lower, (place - lower).astype(np.float32)


@njit(cache=True, nogil=True)
def _describe_cells(logits, group_of_class, temperature, mean, std, first, last, cell_class, cell_group, cell_trust):
    """Per cell: argmax class, group probabilities, standardised free energy. Returns whether all logits are finite.

    Loops run along a row of cells, so that the compiler makes vector instructions of them.
    """
    classes, _, gw = logits.shape
    scale = np.float32(_LOG2_E) / temperature
    best, highest, total = np.empty(gw, np.int32), np.empty(gw, np.float32), np.empty(gw, np.float32)
    share, exponent = np.empty(gw, np.float32), np.empty(gw, np.int32)
    power = exponent.view(np.float32)
    wrong = 0
    for y in range(first, last):
        for x in range(gw):
            best[x], highest[x], total[x] = 0, logits[0, y, x], 0.0
        for k in range(classes):
            row = logits[k, y]
            for x in range(gw):
                value = row[x]
                wrong += not abs(value) <= _GREATEST
                higher = value > highest[x]
                highest[x] = value if higher else highest[x]
                best[x] = k if higher else best[x]
        cell_group[:, y, :] = 0.0
        for k in range(classes):
            row, group = logits[k, y], cell_group[group_of_class[k], y]
            for x in range(gw):
                # exp(z) = 2**n * 2**f: n whole, straight into the exponent's bits; f in +-1/2, by Taylor's series.
                z = max((row[x] - highest[x]) * scale, _LEAST_POWER)
                n = np.floor(z + np.float32(0.5))
                f = z - n
                exponent[x] = (np.int32(n) + 127) << 23
                share[x] = _T0 + f * (_T1 + f * (_T2 + f * (_T3 + f * (_T4 + f * (_T5 + f * _T6)))))
            for x in range(gw):
                value = share[x] * power[x]
                total[x] += value
                group[x] += value
        for g in range(_GROUPS):
            for x in range(gw):
                cell_group[g, y, x] /= total[x]
        for x in range(gw):
            k = best[x]
            cell_class[y, x] = k
            cell_trust[y, x] = (highest[x] + temperature * np.log(total[x]) - mean[k]) / std[k]
    return wrong == 0


@njit(cache=True, nogil=True)
def _byte(probability):
    # Through int32: a direct conversion to uint8 keeps the compiler from using vector instructions.
    return np.uint8(np.int32(probability * np.float32(255.0) + np.float32(0.5)))


@njit(cache=True, nogil=True)
def _interpolate(a, b, weight, out):
    """Fill out with what lies between two cells. weight: of b, a value for each pixel."""
    for i in range(weight.shape[0]):
        out[i] = (np.float32(1.0) - weight[i]) * a + weight[i] * b


@njit(cache=True, nogil=True)
def _decode_rows(logits, cell_class, cell_group, cell_trust, trust_limit, group_of_class, row_cell, row_weight, spans,
                 column_weight, first, last, classes_out, labels_out, confidence_out):
    """Rows first..last of the images. spans[c], spans[c + 1]: the pixel columns between cell columns c and c + 1."""
    classes, gh, gw = logits.shape
    width = column_weight.shape[0]
    one = np.float32(1.0)
    # Of a whole line of pixels, where the four cells around agree; upper and lower: interpolated along the row of cells
    # above and below.
    class_line, label_line = np.zeros(width, np.uint8), np.zeros(width, np.uint8)
    upper, lower = np.zeros(width, np.float32), np.zeros(width, np.float32)
    # Of the pixels where they do not agree, packed run after run of neighbours; and of those whose trust is in doubt.
    mixed, doubtful = np.empty((spans.shape[0], 3), np.int64), np.empty((spans.shape[0], 3), np.int64)
    upper_logits, lower_logits = np.empty((classes, width), np.float32), np.empty((classes, width), np.float32)
    upper_group, lower_group = np.empty((_GROUPS, width), np.float32), np.empty((_GROUPS, width), np.float32)
    upper_trust, lower_trust = np.empty(width, np.float32), np.empty(width, np.float32)
    best, highest = np.empty(width, np.uint8), np.empty(width, np.float32)
    label, probability = np.empty(width, np.uint8), np.empty(width, np.float32)
    mixed_runs = doubtful_runs = 0
    mixed_count = doubtful_count = 0
    prepared = -1
    for y in range(first, last):
        y0 = row_cell[y]
        if y0 != prepared:
            prepared = y0
            y1 = min(y0 + 1, gh - 1)
            mixed_count = doubtful_count = mixed_runs = doubtful_runs = 0
            for c0 in range(spans.shape[0] - 1):
                start, end = spans[c0], spans[c0 + 1]
                if start == end:
                    continue
                c1 = min(c0 + 1, gw - 1)
                k = cell_class[y0, c0]
                if k == cell_class[y0, c1] and k == cell_class[y1, c0] and k == cell_class[y1, c1]:
                    g = group_of_class[k]
                    class_line[start:end] = k
                    label_line[start:end] = g
                    _interpolate(cell_group[g, y0, c0], cell_group[g, y0, c1], column_weight[start:end],
                                 upper[start:end])
                    _interpolate(cell_group[g, y1, c0], cell_group[g, y1, c1], column_weight[start:end],
                                 lower[start:end])
                else:
                    q, r = mixed_count, mixed_count + end - start
                    mixed_runs = _add_run(mixed, mixed_runs, start, end, q)
                    weight = column_weight[start:end]
                    for j in range(classes):
                        _interpolate(logits[j, y0, c0], logits[j, y0, c1], weight, upper_logits[j, q:r])
                        _interpolate(logits[j, y1, c0], logits[j, y1, c1], weight, lower_logits[j, q:r])
                    for g in range(_GROUPS):
                        _interpolate(cell_group[g, y0, c0], cell_group[g, y0, c1], weight, upper_group[g, q:r])
                        _interpolate(cell_group[g, y1, c0], cell_group[g, y1, c1], weight, lower_group[g, q:r])
                    mixed_count = r
                if min(cell_trust[y0, c0], cell_trust[y0, c1], cell_trust[y1, c0], cell_trust[y1, c1]) < trust_limit:
                    q, r = doubtful_count, doubtful_count + end - start
                    doubtful_runs = _add_run(doubtful, doubtful_runs, start, end, q)
                    weight = column_weight[start:end]
                    _interpolate(cell_trust[y0, c0], cell_trust[y0, c1], weight, upper_trust[q:r])
                    _interpolate(cell_trust[y1, c0], cell_trust[y1, c1], weight, lower_trust[q:r])
                    doubtful_count = r
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
            label[q] = group_of_class[0]
        for j in range(1, classes):
            g = group_of_class[j]
            for q in range(mixed_count):
                value = gy * upper_logits[j, q] + fy * lower_logits[j, q]
                higher = value > highest[q]
                highest[q] = value if higher else highest[q]
                best[q] = j if higher else best[q]
                label[q] = g if higher else label[q]
        for g in range(_GROUPS):
            for q in range(mixed_count):
                value = gy * upper_group[g, q] + fy * lower_group[g, q]
                probability[q] = value if label[q] == g else probability[q]
        for run in range(mixed_runs):
            start, end, q = mixed[run]
            for i in range(end - start):
                class_row[start + i], label_row[start + i] = best[q + i], label[q + i]
                confidence_row[start + i] = _byte(probability[q + i])
        for run in range(doubtful_runs):
            start, end, q = doubtful[run]
            for i in range(end - start):
                trusted = gy * upper_trust[q + i] + fy * lower_trust[q + i] >= trust_limit
                label_row[start + i] = label_row[start + i] if trusted else UNKNOWN


@njit(cache=True, nogil=True)
def _add_run(runs, count, start, end, place):
    """Append pixels start..end, packed from `place` on, to the runs (start, end, place); returns how many there are."""
    if count > 0 and runs[count - 1, 1] == start:
        runs[count - 1, 1] = end
        return count
    # Not as a tuple: Numba takes four seconds longer to compile that.
    runs[count, 0], runs[count, 1], runs[count, 2] = start, end, place
    return count + 1
