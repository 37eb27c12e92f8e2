"""The ground around the vehicle, from several cameras: one grid and one scan of 360 degrees.

Where cameras overlap the less free wins, so the nearer contact does, and what one of them does not know never overrides
what another sees. A camera that is missing leaves the ground that only it sees unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit

from drive_seg.core.grid import NOT_KNOWN, OCCUPIED, Grid, GridShape
from drive_seg.core.ground import (
    BLOCKED,
    DISTRUSTED,
    FREE,
    PAVEMENT,
    UNSEEN,
    CameraPose,
    GroundError,
    GroundView,
    Sight,
)
from drive_seg.errors import ParameterError

_FINE, _COARSE = 0.05, 0.01
"""Metres between the points of a ray, and the share of their distance where that is more."""
_THICK = 0.3
"""Metres behind its contact that an obstacle is taken to fill. What lies farther behind is only hidden, and another
camera that sees it is believed."""
_LATE = 1.5
"""Where a line of sight begins so many times farther out than most do, more is hidden than a camera's dead zone."""
_BODY = 0.3
"""Metres around the rectangle that the cameras span, as seen from above, that belong to the vehicle."""

_NO_MOTION = 1e-4
"""Metres and radians."""

_NOTHING, _DEAD, _DARK, _FREE, _UNSURE, _PAVED, _CONTACT = range(7)
"""What cameras together say of a point, the strongest last. _DEAD: in a dead zone. _DARK: an obstacle hides it, or what
is unknown."""


@dataclass(frozen=True)
class Motion:
    """How the vehicle moved on the plane between two times, as the pose of the earlier in the later: later = turn by
    yaw (radians, to the left) of the earlier, plus (x, y) metres."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0

    @classmethod
    def between(cls, before: CameraPose, after: CameraPose) -> Motion:
        """From two poses of base_link in a fixed frame, e.g. odom."""
        rotation = after.rotation.T @ before.rotation
        x, y, _ = after.rotation.T @ (before.translation - after.translation)
        motion = cls(float(x), float(y), float(np.arctan2(rotation[1, 0], rotation[0, 0])))
        return motion if max(abs(motion.x), abs(motion.y), abs(motion.yaw)) > _NO_MOTION else cls()

    def forward(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of the earlier vehicle in the later one."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return c * x - s * y + self.x, s * x + c * y + self.y

    def back(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of the later vehicle in the earlier one."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        x, y = x - self.x, y - self.y
        return c * x + s * y, c * y - s * x


STILL = Motion()
"""No motion."""


@dataclass(frozen=True)
class Look:
    """What one camera's frame shows: see Around.look. grid: (cells along y, along x) int8, of the shape that all share,
    around where the vehicle was then. motion: of the vehicle since."""

    sight: Sight
    grid: np.ndarray
    motion: Motion = STILL


class Around:
    """Joins what cameras see. Holds the tables for their views; build it again when one of them changes.

    angle_min, increment: radians in base_link, counter-clockwise, `rays` of them all the way round. range_max: metres
    to which every camera can measure. What is free beyond it reads the same as what is free up to it.
    """

    def __init__(self, views: Mapping[str, GroundView], grids: Mapping[str, Grid], *,
                 increment: float = np.radians(0.5), pavement_is_obstacle: bool = True) -> None:
        """views, grids: of each camera, by its name; the grids all of one shape. increment: radians between rays,
        rounded so that a circle has a whole number of them.

        Raises GroundError where there are no views, ParameterError for an increment that can't be.
        """
        if not views:
            raise GroundError("no camera sees the ground yet")
        if not 0 < increment <= np.pi:
            raise ParameterError(f"a scan needs an increment in 0..pi, not {increment}")
        self.views, self._grids = dict(views), dict(grids)
        self.shape: GridShape = next(iter(grids.values())).shape
        self.rays = max(2, round(2 * np.pi / increment))
        self.increment, self.angle_min = 2 * np.pi / self.rays, -np.pi
        self._pavement_ends = pavement_is_obstacle
        angles = self.angle_min + self.increment * np.arange(self.rays)
        self._cos, self._sin = np.cos(angles), np.sin(angles)
        self._reach = _steps_out(max(view.sure_range + float(np.linalg.norm(view.foot)) for view in views.values()))
        self._tables = {name: _Table(view) for name, view in views.items()}
        x, y = self._cos[:, None] * self._reach, self._sin[:, None] * self._reach
        self._body = _inside(x, y, np.array([view.foot for view in views.values()]))
        self.range_min, self.range_max = self._limits(x, y)

    def _limits(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """The nearest distance at which a ray is seen, and the one up to which all are that no image's side cuts."""
        seen = np.zeros(x.shape, np.bool_)
        whole = np.zeros(x.shape, np.bool_)
        for view in self.views.values():
            line, step = view.locate(x, y)
            step = np.rint(step)
            distance = np.hypot(x - view.foot[0], y - view.foot[1])
            valid = (line >= 0) & (step >= 0) & (distance <= view.sure_range) & (step < view.shape[1])
            valid[valid] = view.shows(line[valid], step[valid].astype(np.int32))
            seen |= valid
            whole |= valid & (distance > view.sure_range - 2 * np.maximum(_FINE, _COARSE * self._reach))
        some = seen.any(axis=1)
        if not some.any():
            raise GroundError("no ray of the scan meets ground that a camera sees", "check the cameras' poses")
        last = len(self._reach) - 1 - seen[:, ::-1].argmax(axis=1)
        ends = self._reach[last]
        uncut = some & whole[np.arange(self.rays), last]
        return (float(self._reach[seen.argmax(axis=1)[some]].min()),
                float(ends[uncut].min() if uncut.any() else ends[some].max()))

    def look(self, name: str, sight: Sight, motion: Motion = STILL) -> Look:
        """What a camera's frame shows. motion: of the vehicle since it was taken.

        A contact where a line of sight enters the image from its side is not believed: its foot may lie beside the
        image, nearer, and another camera may see free ground where only its upper part is in the way.
        """
        table = self._tables[name]
        line = np.arange(len(sight.end))
        last = np.minimum(sight.end, table.shown.shape[1] - 1)
        doubted = table.enters[line, last] & (sight.end == last)
        if doubted.any():
            state = sight.state.copy()
            state[line[doubted], last[doubted]] = DISTRUSTED
            sight = Sight(state, sight.end)
        return Look(sight, self._grids[name].fill(sight), motion)

    def grid(self, looks: Mapping[str, Look]) -> np.ndarray:
        """(cells along y, cells along x) int8 of the shape: 100 where any camera has it, else 0, else -1."""
        out = np.full(self.shape.cells, NOT_KNOWN, np.int8)
        for look in looks.values():
            np.maximum(out, moved(look.grid, self.shape, look.motion), out=out)
        return out

    def scan(self, looks: Mapping[str, Look]) -> tuple[np.ndarray, float]:
        """(rays,) float32 metres to the end of free space, as Scan.ranges has it: +inf free up to the second value,
        NaN not known. That is range_max, less what the vehicle moved since the oldest frame.

        A ray is known while every point of it is seen by a camera, or lies in the dead zone of one or below the
        vehicle.
        """
        far = self.range_max - max((np.hypot(look.motion.x, look.motion.y) for look in looks.values()), default=0.0)
        said = np.zeros((self.rays, len(self._reach)), np.uint8)
        said[self._body] = _DEAD
        for name, look in looks.items():
            table, motion = self._tables[name], look.motion
            _say(said, self._cos, self._sin, self._reach, table.fan, table.sector, table.shown, table.ranges,
                 table.begins, table.sure, look.sight.state, look.sight.end,
                 np.array([motion.x, motion.y, np.cos(motion.yaw), np.sin(motion.yaw)]), self._pavement_ends)
        reach = self._reach.astype(np.float32)
        edge = reach.copy()
        edge[1:] = (reach[1:] + reach[:-1]) / 2  # between the last point before it and the first behind it
        return _walk(said, reach, edge, self._pavement_ends, np.float32(far)), float(far)


class _Table:
    """What is asked of a view, point by point.

    sector: cosine and sine of the bearing in the middle of the lines, and the cosine of half their spread. begins:
    (lines,) int32, steps up to which a line is in the dead zone. enters: (lines, steps) bool, samples at which a line
    enters the image from its left or right side.
    """

    def __init__(self, view: GroundView) -> None:
        self.fan, self.shown, self.ranges, self.sure = view.fan, view.shown, view.ranges, view.sure_range
        middle, half = view.bearings[[0, -1]].mean(), np.ptp(view.bearings) / 2 + self.fan[3]
        self.sector = np.array([np.cos(middle), np.sin(middle), np.cos(min(half, np.pi))])
        some = self.shown.any(axis=1)
        first = np.where(some, self.shown.argmax(axis=1), 0)
        usual = np.median(view.ranges[first[some]])
        latest = np.searchsorted(view.ranges, _LATE * usual)
        self.begins = np.minimum(first, latest).astype(np.int32)
        self.enters = self.shown.copy()
        self.enters[:, 1:] &= ~self.shown[:, :-1]
        self.enters[:, 0] = False
        line, step = np.nonzero(self.enters)
        column = view.columns(line, step)
        self.enters[line, step] = (column <= 1) | (column >= view.camera.size[1] - 2)


def moved(grid: np.ndarray, shape: GridShape, motion: Motion) -> np.ndarray:
    """A grid, (cells along y, along x) int8, as it lies around the vehicle after a motion: within half a cell.

    What comes in from outside is -1. No contact is lost: an occupied cell occupies the cell that its centre comes to.
    """
    if motion == STILL:
        return grid
    rows, columns = shape.cells
    half, size = 0.5 * shape.resolution, shape.resolution
    x, y = np.meshgrid(shape.back + half + np.arange(columns) * size, shape.right + half + np.arange(rows) * size)

    def cell(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        column = np.floor((x - shape.back) / size).astype(np.int64)
        row = np.floor((y - shape.right) / size).astype(np.int64)
        return row, column, (row >= 0) & (row < rows) & (column >= 0) & (column < columns)

    row, column, inside = cell(*motion.back(x, y))
    out = np.full(shape.cells, NOT_KNOWN, np.int8)
    out[inside] = grid[row[inside], column[inside]]
    row, column, inside = cell(*motion.forward(x[grid == OCCUPIED], y[grid == OCCUPIED]))
    out[row[inside], column[inside]] = OCCUPIED
    return out


def _steps_out(far: float) -> np.ndarray:
    """Distances from base_link's origin at which rays are looked at, metres."""
    out, at = [], _FINE / 2
    while at < far:
        out.append(at)
        at += max(_FINE, _COARSE * at)
    return np.array(out)


def _inside(x: np.ndarray, y: np.ndarray, feet: np.ndarray) -> np.ndarray:
    """Which points lie below the vehicle: in the rectangle that the cameras' feet span, and a little around it."""
    low, high = feet.min(axis=0) - _BODY, feet.max(axis=0) + _BODY
    return (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])


@njit(cache=True, nogil=True)
def _say(said, cosine, sine, reach, fan, sector, shown, ranges, begins, sure, state, end, motion, pavement_ends):
    """Take what one camera says of each point, where it is stronger than what others said."""
    lines, steps = shown.shape
    height = ranges[0] * np.tan(fan[4])
    for a in range(said.shape[0]):
        for j in range(said.shape[1]):
            if said[a, j] == _CONTACT:
                break  # there the ray ends
            x, y = cosine[a] * reach[j] - motion[0], sine[a] * reach[j] - motion[1]
            dx = motion[2] * x + motion[3] * y - fan[0]
            dy = motion[2] * y - motion[3] * x - fan[1]
            distance = np.sqrt(dx * dx + dy * dy)
            if distance > sure or dx * sector[0] + dy * sector[1] < sector[2] * distance:
                continue
            turn = (np.arctan2(dy, dx) - fan[2] + fan[3] / 2) % (2 * np.pi)
            i = int(turn / fan[3])
            if i >= lines:
                continue
            k = int(np.rint((fan[4] - np.arctan2(height, distance)) / fan[5]))
            if k < begins[i]:
                said[a, j] = max(said[a, j], _DEAD)
                continue
            if k < 0 or k >= steps or not shown[i, k]:
                continue
            last = end[i]
            if k < last:
                now = state[i, k]
                if now == UNSEEN:
                    continue
                what = _FREE if now == FREE else (_PAVED if now == PAVEMENT else _UNSURE)
            elif last >= steps:
                continue
            else:
                kind = state[i, last]
                if kind == BLOCKED:
                    what = _CONTACT if distance - ranges[last] <= _THICK else _DARK
                elif kind == DISTRUSTED:
                    what = _DARK
                else:
                    continue
            if what == _PAVED and not pavement_ends:
                what = _FREE
            said[a, j] = max(said[a, j], what)


@njit(cache=True, nogil=True)
def _walk(said, reach, edge, pavement_ends, range_max):
    rays, points = said.shape
    out = np.full(rays, np.nan, np.float32)
    for a in range(rays):
        free_end = np.float32(-1.0)  # where road stops being called drivable
        farthest = np.float32(-1.0)
        for j in range(points):
            now = said[a, j]
            if now == _DEAD and farthest < 0:
                continue
            if now in (_NOTHING, _DARK, _DEAD):
                break
            if now == _UNSURE and free_end < 0:
                free_end = edge[j]
            if now == _CONTACT or (now == _PAVED and pavement_ends):
                out[a] = free_end if free_end >= 0 else edge[j]
                break
            farthest = reach[j]
        if out[a] > range_max or (np.isnan(out[a]) and free_end < 0 and farthest >= range_max):
            out[a] = np.inf
    return out
