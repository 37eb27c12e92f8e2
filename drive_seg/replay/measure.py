"""What one frame's masks say, in figures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from drive_seg.core.classes import LABEL_NAMES
from drive_seg.core.segmentation import Segmentation


@dataclass
class _Seen:
    labels: np.ndarray
    record: dict


class Measure:
    """Measures segmentations in the order of a drive. Remembers two label images, no more.

    A record of a frame:
        shares      share of the pixels with each planner label, by name, 0..1
        drivable    share of the pixels that are drivable, 0..1
        confidence  mean probability of the labels, 0..1
        changed     share of the pixels whose label differs from the frame before; None for the first frame
        flicker     share of the pixels whose label differs from the frame before and the frame after while those two
                    agree: a label that came or went for one frame; None at both ends
        digest      first 16 hex digits of the SHA-256 of the labels and the drivable mask
    """

    def __init__(self) -> None:
        self._before: _Seen | None = None
        self._last: _Seen | None = None

    def add(self, segmentation: Segmentation) -> dict:
        """The record of one frame. Its `flicker` is filled in when the next frame is added."""
        labels, drivable = segmentation.labels, segmentation.drivable_mask
        last = _of_size(self._last, labels)
        before = None if last is None else _of_size(self._before, labels)
        counts, confidence, changed, flicker = _count(
            labels, segmentation.confidence, labels if last is None else last.labels,
            labels if before is None else before.labels)
        digest = hashlib.sha256(np.ascontiguousarray(labels).data)
        digest.update(np.ascontiguousarray(drivable).data)
        record = {
            "shares": {name: round(float(counts[id_]) / labels.size, 6) for id_, name in LABEL_NAMES.items()},
            "drivable": round(cv2.countNonZero(drivable) / labels.size, 6),
            "confidence": round(confidence / labels.size / 255, 5),
            "changed": round(changed / labels.size, 6) if last is not None else None,
            "flicker": None,
            "digest": digest.hexdigest()[:16],
        }
        if last is not None and before is not None:
            last.record["flicker"] = round(flicker / labels.size, 6)
        self._before, self._last = self._last, _Seen(labels, record)
        return record

    def gap(self) -> None:
        """A frame is missing: what comes next has no neighbour to differ from."""
        self._before = self._last = None


def _of_size(seen: _Seen | None, labels: np.ndarray) -> _Seen | None:
    return seen if seen is not None and seen.labels.shape == labels.shape else None


@njit(cache=True, nogil=True)
def _count(labels, confidence, last, before):
    """Pixels of each label, sum of the confidences, pixels that changed, and that changed for the last frame only."""
    counts = np.zeros(256, np.int64)
    total = changed = flicker = 0
    for y in range(labels.shape[0]):
        row, row_confidence, row_last, row_before = labels[y], confidence[y], last[y], before[y]
        for x in range(labels.shape[1]):
            total += row_confidence[x]
        for x in range(labels.shape[1]):
            changed += row[x] != row_last[x]
        for x in range(labels.shape[1]):
            flicker += (row[x] != row_last[x]) & (row[x] == row_before[x])
        x = 0
        while x < labels.shape[1]:  # labels come in long runs
            first = x
            while x < labels.shape[1] and row[x] == row[first]:
                x += 1
            counts[row[first]] += x - first
    return counts, total, changed, flicker
