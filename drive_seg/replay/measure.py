"""What one frame's masks say, in figures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

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
        labels, drivable = segmentation.labels, segmentation.drivable
        counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
        digest = hashlib.sha256(np.ascontiguousarray(labels))
        digest.update(np.ascontiguousarray(drivable))
        record = {
            "shares": {name: round(float(counts[id_]) / labels.size, 6) for id_, name in LABEL_NAMES.items()},
            "drivable": round(cv2.countNonZero(drivable) / labels.size, 6),
            "confidence": round(cv2.mean(segmentation.confidence)[0] / 255, 5),
            "changed": None,
            "flicker": None,
            "digest": digest.hexdigest()[:16],
        }
        last, before = self._last, self._before
        if last is not None and last.labels.shape == labels.shape:
            differs = cv2.compare(labels, last.labels, cv2.CMP_NE)
            record["changed"] = round(cv2.countNonZero(differs) / labels.size, 6)
            if before is not None and before.labels.shape == labels.shape:
                came_and_went = cv2.bitwise_and(differs, cv2.compare(labels, before.labels, cv2.CMP_EQ))
                last.record["flicker"] = round(cv2.countNonZero(came_and_went) / labels.size, 6)
        self._before, self._last = last, _Seen(labels, record)
        return record

    def gap(self) -> None:
        """A frame is missing: what comes next has no neighbour to differ from."""
        self._before = self._last = None
