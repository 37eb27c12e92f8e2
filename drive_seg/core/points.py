"""Every pixel's place on the ground, as an organised point cloud in base_link."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive_seg.core.classes import UNKNOWN, Group
from drive_seg.core.ground import BLOCKED, GroundView, Sight

_PIXEL = 2  # steps


class Points:
    """Turns what is seen into one point a pixel. Holds the look-up tables for one view, and the cloud itself: from
    frame to frame only the pixels are rewritten that appeared or went.
    """

    def __init__(self, view: GroundView, out: np.ndarray | None = None) -> None:
        """out: (height, width, 3) float32 that becomes the cloud, where the caller wants it in memory of its own."""
        height, width = view.camera.size
        x, y = view.ground_points()
        line, step = view.locate(x, y)
        step = np.rint(step)
        seen = (line >= 0) & (step >= 0) & (step < view.limit[np.maximum(line, 0)])
        rows = np.flatnonzero(seen.any(axis=1))
        self._rows = slice(rows[0], rows[-1] + 1) if rows.size else slice(0, 0)  # sky is never looked at
        band = self._rows
        self._line = np.where(seen, line, -1)[band].astype(np.int16)
        self._step = np.where(seen, step, 0)[band].astype(np.int16)
        z = np.full_like(x, view.ground_z)
        self._ground = np.ascontiguousarray(np.stack([x, y, z], -1)[band], np.float32)
        self._shown = np.zeros(self._line.shape, np.bool_)
        self._cloud = np.empty((height, width, 3), np.float32) if out is None else out
        self._cloud[:] = np.nan

    def cloud(self, labels: np.ndarray, sight: Sight) -> np.ndarray:
        """(height, width, 3) float32 x, y, z in metres in base_link; NaN where no ground is seen: above the horizon,
        out of range, hidden, unknown. An obstacle is shown at its foot only, where it meets the ground.

        labels: (height, width) uint8 that `sight` was made of. The array is reused by the next call.
        """
        contact = sight.end < sight.state.shape[1]
        at = np.minimum(sight.end, sight.state.shape[1] - 1)
        blocked = contact & (sight.state[np.arange(len(at)), at] == BLOCKED)
        _show(np.ascontiguousarray(labels)[self._rows], self._line, self._step, self._ground, sight.end, blocked,
              self._shown, self._cloud[self._rows])
        return self._cloud


@njit(cache=True, nogil=True)
def _show(labels, line, step, ground, end, blocked, shown, cloud):
    height, width = line.shape
    for v in range(height):
        for u in range(width):
            i = line[v, u]
            show = False
            if i >= 0:
                beyond = step[v, u] - end[i]
                label = labels[v, u]
                if label == Group.ROAD or label == Group.PAVEMENT:
                    show = beyond < 0
                elif label != UNKNOWN:
                    show = blocked[i] and -_PIXEL <= beyond < _PIXEL
            if show != shown[v, u]:
                shown[v, u] = show
                for c in range(3):
                    cloud[v, u, c] = ground[v, u, c] if show else np.nan
