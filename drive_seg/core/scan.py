"""Free space as a laser scan around base_link."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive_seg.core.ground import (
    BESIDE,
    BLOCKED,
    DISTRUSTED,
    IN_IMAGE,
    PAVEMENT,
    UNSEEN,
    UNSURE,
    GroundView,
    Sight,
)
from drive_seg.errors import ParameterError

_LATE = 1.5
"""Where the ego mask ends so many times farther out than the image begins, and than most rays, more is hidden than the
vehicle."""
_LOOK_EVERY = 0.25
"""Metres between the points at which it is looked for what cuts a ray off."""
_GAP = -2
"""In the table of lines: ground between two seen parts of a ray that nobody sees."""


class Scan:
    """Turns what is seen into ranges from base_link's origin. Holds the look-up table for one view.

    angle_min, angle_max, increment: radians in base_link, counter-clockwise. range_min: metres at which the first ray
    leaves the camera's dead zone. range_max: metres to which every ray that the image does not cut off can measure.
    """

    def __init__(self, view: GroundView, *, increment: float = np.radians(0.5), resolution: float = 0.05,
                 pavement_is_obstacle: bool = True) -> None:
        """increment: radians between rays. resolution: metres between the points looked at along a ray."""
        if not 0 < increment <= np.pi or not resolution > 0:
            raise ParameterError(f"a scan needs an increment in 0..pi and a positive resolution, not {increment},"
                                 f" {resolution}")
        self.increment = float(increment)
        self._pavement_ends = pavement_is_obstacle
        sure = view.sure_range
        reach = np.arange(resolution / 2, sure + np.hypot(*view.foot) + resolution, resolution)
        count = int(np.pi / increment)
        angles = np.arange(-count, count + 1) * increment
        x, y = np.cos(angles)[:, None] * reach, np.sin(angles)[:, None] * reach
        line, step = view.locate(x, y)
        step = np.rint(step)
        distance = np.hypot(x - view.foot[0], y - view.foot[1])
        # Nothing is said beyond the camera's sure range, so that +inf means the same on every ray.
        valid = (line >= 0) & (step >= 0) & (distance <= sure) & (step < view.shape[1])
        valid[valid] = view.shows(line[valid], step[valid].astype(np.int32))
        if not valid.any():
            raise ParameterError("no ray of the scan meets ground that the camera sees",
                                 f"the increment ({increment:g} rad) is too large")
        seen = valid.any(axis=1)
        first = np.where(seen, valid.argmax(axis=1), 0)
        reached = seen & ~self._cut_off(view, x, y, reach, first, seen)
        some = np.flatnonzero(reached if reached.any() else seen)
        rays = slice(some[0], some[-1] + 1)
        self.angle_min, self.angle_max = float(angles[some[0]]), float(angles[some[-1]])
        last = valid.shape[1] - 1 - valid[:, ::-1].argmax(axis=1)
        sample = np.arange(valid.shape[1])
        gap = (~valid & (sample > first[:, None]) & (sample < last[:, None])) | (seen & ~reached)[:, None]
        self._line = np.where(gap, _GAP, np.where(valid, line, -1))[rays].astype(np.int32)
        self._step = np.where(valid, step, 0)[rays].astype(np.int32)
        self._reach = (reach - resolution / 2).astype(np.float32)  # an edge lies before the first point behind it
        ends, whole = self._reach[last[some]], distance[some, last[some]] > sure - 2 * resolution
        self.range_max = float(ends[whole].min() if whole.any() else ends.max())
        self.range_min = float(self._reach[first[some]].min())

    @staticmethod
    def _cut_off(view: GroundView, x: np.ndarray, y: np.ndarray, reach: np.ndarray, first: np.ndarray,
                 seen: np.ndarray) -> np.ndarray:
        """Rays (bool) of which more is hidden than the camera's dead zone before their first sample.

        Beside the image, or behind a far part of the ego mask, anything could stand.
        """
        few = slice(None, None, max(1, round(_LOOK_EVERY / (reach[1] - reach[0]))))
        place = view.place(x[:, few], y[:, few])
        before = np.arange(len(reach))[few] < first[:, None]
        beside = ((place == BESIDE) & before).any(axis=1)
        begin = np.where(((place == IN_IMAGE) & before).any(axis=1), reach[few][(place == IN_IMAGE).argmax(axis=1)],
                         reach[first])
        most = seen & ~beside if (seen & ~beside).any() else seen
        return beside | (reach[first] > _LATE * np.maximum(begin, np.median(reach[first[most]])))

    def ranges(self, sight: Sight) -> np.ndarray:
        """(rays,) float32 metres to the end of free space, as REP-117 has it: +inf free up to range_max, NaN not known.

        Free space ends at the first contact with an obstacle, at pavement (as configured), or where road stops being
        called drivable in front of one of these. Where nothing or unknown follows such road, the range is NaN; so it is
        where a part of the ray beyond the dead zone is not seen: outside the image, or behind the ego mask.
        """
        return _ranges(sight.state, sight.end, self._line, self._step, self._reach, self._pavement_ends,
                       np.float32(self.range_max))


@njit(cache=True, nogil=True)
def _ranges(state, end, line, step, reach, pavement_ends, range_max):
    rays, points = line.shape
    last_step = state.shape[1] - 1
    out = np.full(rays, np.nan, np.float32)
    for a in range(rays):
        free_end = np.float32(-1.0)  # where road stops being called drivable
        farthest = np.float32(-1.0)
        for j in range(points):
            i = line[a, j]
            if i == _GAP:
                farthest = np.float32(-1.0)
                break
            if i < 0:
                continue
            # Behind a contact everything stands for the contact.
            now = state[i, min(step[a, j], end[i], last_step)]
            if now == UNSEEN:
                continue
            if now == DISTRUSTED:
                farthest = np.float32(-1.0)
                break
            if now == UNSURE and free_end < 0:
                free_end = reach[j]
            if now == BLOCKED or (now == PAVEMENT and pavement_ends):
                out[a] = free_end if free_end >= 0 else reach[j]
                farthest = np.float32(-1.0)
                break
            farthest = reach[j]
        if out[a] > range_max or (np.isnan(out[a]) and free_end < 0 and farthest >= range_max):
            out[a] = np.inf
    return out
