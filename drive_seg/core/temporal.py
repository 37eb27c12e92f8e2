"""Less flicker between frames: a label that changes without conviction waits for the next frame to agree.

Safe first: road that stops being road changes at once, whatever its confidence. Only the other way, and between labels
that are all not road, does a change wait; at most `lag` frames, so that what moves is never held back for longer.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from drive_seg.core.classes import Group
from drive_seg.errors import ParameterError


class TemporalFilter:
    """Remembers the labels of the last frame of one camera."""

    def __init__(self, *, sure: float = 0.55, lag: int = 1) -> None:
        """sure: 0..1, confidence from which a change is taken at once. lag: most frames that a change waits."""
        if not 0 <= sure <= 1 or not 1 <= lag <= 250:
            raise ParameterError(f"sure must be in 0..1 and lag in 1..250, they are {sure} and {lag}")
        self._sure, self._lag = round(sure * 255), lag
        self._labels: np.ndarray | None = None
        self._waited: np.ndarray | None = None
        pixel = np.zeros(1, np.uint8)
        _filter(pixel, pixel, pixel, pixel, self._sure, self._lag)  # compiled or loaded now, not in a frame

    def reset(self) -> None:
        """Forget the last frame, e.g. when time jumped."""
        self._labels = None

    def apply(self, labels: np.ndarray, confidence: np.ndarray) -> None:
        """Filter labels (H, W) uint8 in place. A new size starts again.

        confidence: (H, W) uint8; becomes 0 where a label is held back, as the network does not vouch for it now.
        """
        if self._labels is None or self._waited is None or self._labels.shape != labels.shape:
            self._labels, self._waited = labels.copy(), np.zeros(labels.shape, np.uint8)
            return
        _filter(labels.reshape(-1), confidence.reshape(-1), self._labels.reshape(-1), self._waited.reshape(-1),
                self._sure, self._lag)


@njit(cache=True, nogil=True)
def _filter(labels, confidence, shown, waited, sure, lag):
    for i in range(labels.shape[0]):
        if labels[i] == shown[i]:
            waited[i] = 0
        elif shown[i] == Group.ROAD or confidence[i] >= sure or waited[i] >= lag:
            shown[i], waited[i] = labels[i], 0
        else:
            waited[i] += 1
            labels[i], confidence[i] = shown[i], 0
