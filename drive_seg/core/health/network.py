"""Does the network see what it was trained for?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive_seg.core.health import sparse
from drive_seg.core.health.status import Level, Status, worst

_LEAST = (0.005, 0.01)
"""Least deviations of confidence and unknown share: a network that knows nearly every pixel of its training pictures
has next to none, and would call any other place strange."""


@dataclass(frozen=True)
class Typical:
    """Per image of the training data, mean and standard deviation of: confidence (mean over pixels, 0..1) and unknown
    (share of pixels, 0..1)."""

    confidence: tuple[float, float]
    unknown: tuple[float, float]


class NetworkHealth:
    """Follows the mean confidence and the share of unknown pixels, and compares them with the training data."""

    _SMOOTH = 1.0  # seconds

    def __init__(self, typical: Typical | None = None, *, shift_warn: float = 4.0, unknown_warn: float = 0.35) -> None:
        """shift_warn: standard deviations of the training images (why so many: engines/README.md). unknown_warn: share
        of pixels."""
        self.typical, self.shift_warn, self.unknown_warn = typical, shift_warn, unknown_warn
        self.confidence: float | None = None
        self.unknown: float | None = None
        self._last = 0.0

    def observe(self, labels: np.ndarray, confidence: np.ndarray, now: float) -> None:
        """labels, confidence: (H, W) uint8 of one frame."""
        sure, share = measure(labels, confidence)
        if self.confidence is None or self.unknown is None:
            self.confidence, self.unknown = sure, share
        else:
            weight = 1 - np.exp(-max(now - self._last, 0.0) / self._SMOOTH)
            self.confidence += weight * (sure - self.confidence)
            self.unknown += weight * (share - self.unknown)
        self._last = now

    @property
    def shift(self) -> float | None:
        """How far the last second lies outside the training data, in standard deviations of its images."""
        if self.typical is None or self.confidence is None or self.unknown is None:
            return None
        least_sure, least_unknown = _LEAST
        less_sure = (self.typical.confidence[0] - self.confidence) / max(self.typical.confidence[1], least_sure)
        more_unknown = (self.unknown - self.typical.unknown[0]) / max(self.typical.unknown[1], least_unknown)
        return float(max(less_sure, more_unknown, 0.0))

    def status(self, now: float) -> Status:
        """What is unusual about the last second."""
        if self.confidence is None or self.unknown is None:
            return Status("network")
        values = {"confidence": f"{self.confidence:.2f}", "unknown": f"{self.unknown:.1%}"}
        found = []
        if self.shift is not None:
            values["domain_shift"] = f"{self.shift:.1f}"
            if self.shift > self.shift_warn:
                found.append(Status("shift", Level.WARN, f"the images are unlike the training data (domain shift"
                                    f" {self.shift:.1f})", "drive with care; train the network for this place"))
        if self.unknown > self.unknown_warn:
            found.append(Status("unknown", Level.WARN, f"{self.unknown:.0%} of the image is unknown",
                                "check the lens; is this place like the training data?"))
        return worst("network", found, values)


def measure(labels: np.ndarray, confidence: np.ndarray) -> tuple[float, float]:
    """(mean confidence 0..1, share of unknown pixels 0..1) of one frame, from every eighth pixel both ways."""
    return sparse.trust(labels, confidence)
