"""Are the masks plausible? Drivable share and flicker from frame to frame."""

from __future__ import annotations

import numpy as np

from drive_seg.core.health import sparse
from drive_seg.core.health.status import Level, Status, worst


class OutputHealth:
    """Follows how much of the lower half is drivable, and how much of the labels changes between frames."""

    _SMOOTH = 1.0  # seconds
    _APART = 1.0  # seconds between frames that say nothing about each other: a pause, or a camera not believed

    def __init__(self, *, nothing_for: float = 1.0, flicker_warn: float = 0.2) -> None:
        """nothing_for: seconds without any drivable pixel. flicker_warn: share of pixels that change their label."""
        self.nothing_for, self.flicker_warn = nothing_for, flicker_warn
        self.reset()

    def reset(self) -> None:
        """Forget earlier frames."""
        self.flicker: float | None = None
        self.share: float | None = None
        self._labels: np.ndarray | None = None
        self._size: tuple[int, int] | None = None
        self._none_since: float | None = None
        self._last = 0.0

    def observe(self, labels: np.ndarray, drivable: np.ndarray | None, now: float) -> None:
        """labels: (H, W) uint8. drivable: the same, 255 = drivable; None when it was not asked for."""
        if now - self._last > self._APART:
            self.reset()
        fresh = self._size != labels.shape
        if fresh:
            self._labels, self._size = sparse.few(labels.shape), labels.shape
        changed = sparse.changed(labels, self._labels)
        if not fresh:
            weight = 1 - np.exp(-max(now - self._last, 0.0) / self._SMOOTH)
            self.flicker = changed if self.flicker is None else self.flicker + weight * (changed - self.flicker)
        self._last = now
        self.share = None if drivable is None else sparse.lower_share(drivable)
        if self.share != 0:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = now

    def status(self, now: float) -> Status:
        """What is unusual about the masks."""
        values, found = {}, []
        if self.share is not None:
            values["drivable"] = f"{self.share:.0%} of the lower half"
        if self.flicker is not None:
            values["flicker"] = f"{self.flicker:.1%}"
            if self.flicker > self.flicker_warn:
                found.append(Status("flicker", Level.WARN,
                                    f"{self.flicker:.0%} of the labels change from frame to frame",
                                    "check the image for interference; try the temporal filter"))
        if self._none_since is not None and now - self._none_since >= self.nothing_for:
            found.append(Status("drivable", Level.WARN, "nothing is drivable",
                                "check camera and scene; is the road in front covered by the ego mask?"))
        return worst("output", found, values)
