"""The ground from above: an occupancy grid in base_link."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive_seg.core.ground import BLOCKED, FREE, PAVEMENT, GroundView, Sight
from drive_seg.errors import ParameterError

DRIVABLE, OCCUPIED, NOT_KNOWN = 0, 100, -1
"""Values of nav_msgs/OccupancyGrid."""


@dataclass(frozen=True)
class GridShape:
    """What the grid covers, in metres in base_link: x from `back` to `front`, y from `right` to `left`."""

    resolution: float = 0.1
    back: float = 0.0
    front: float = 40.0
    right: float = -15.0
    left: float = 15.0

    def __post_init__(self) -> None:
        if not self.resolution > 0 or self.cells[0] < 1 or self.cells[1] < 1:
            raise ParameterError(f"the grid is empty: {self}; front must exceed back, left exceed right, by at least"
                                 " one resolution")
        if self.cells[0] * self.cells[1] > 4_000_000:
            raise ParameterError(f"the grid has {self.cells[0]} x {self.cells[1]} cells",
                                 "use a coarser grid_resolution")

    @property
    def cells(self) -> tuple[int, int]:
        """(cells along y, cells along x): the shape of its array, rows from right to left."""
        return round((self.left - self.right) / self.resolution), round((self.front - self.back) / self.resolution)


class Grid:
    """Turns what is seen into cells. Holds the look-up tables for one view and one shape."""

    def __init__(self, view: GroundView, shape: GridShape, *, pavement_is_obstacle: bool = True) -> None:
        """pavement_is_obstacle: pavement cells are 100, else 0."""
        self.shape = shape
        self._pavement = np.int8(OCCUPIED if pavement_is_obstacle else DRIVABLE)
        rows, columns = shape.cells
        x = shape.back + (np.arange(columns) + 0.5) * shape.resolution
        y = shape.right + (np.arange(rows) + 0.5) * shape.resolution
        line, step = view.locate(x[None, :], y[:, None])
        line = np.ascontiguousarray(np.broadcast_to(line, (rows, columns)))
        radius = np.hypot(x[None, :] - view.foot[0], y[:, None] - view.foot[1])
        bearing = np.arctan2(y[:, None] - view.foot[1], x[None, :] - view.foot[0])
        half = shape.resolution / 2
        near, far = (view.locate(view.foot[0] + np.maximum(radius + side, 0) * np.cos(bearing),
                                 view.foot[1] + np.maximum(radius + side, 0) * np.sin(bearing))[1]
                     for side in (-half, half))
        limit = np.where(line >= 0, view.limit[line], 0)
        step = np.rint(step)
        seen = (line >= 0) & (step >= 0) & (step < limit)
        self._cell = np.flatnonzero(seen).astype(np.int32)  # only cells that the camera can measure are ever touched
        self._line, self._step = line[seen], step[seen].astype(np.int32)
        self._near = np.floor(near[seen] + 0.5).astype(np.int32)
        self._far = np.ceil(far[seen] - 0.5).astype(np.int32)
        # The cell of every sample, for contacts that lie between cell centres.
        sample_x = view.foot[0] + np.cos(view.bearings)[:, None] * view.ranges
        sample_y = view.foot[1] + np.sin(view.bearings)[:, None] * view.ranges
        column = np.floor((sample_x - shape.back) / shape.resolution)
        row = np.floor((sample_y - shape.right) / shape.resolution)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        self._cell_of_sample = np.where(inside, row * columns + column, -1).astype(np.int32)

    def fill(self, sight: Sight) -> np.ndarray:
        """(cells along y, cells along x) int8, as nav_msgs/OccupancyGrid has them: 0 drivable, 100 obstacle (and
        pavement, as configured), -1 unseen, hidden, unsure or unknown.
        """
        out = np.full(self.shape.cells, NOT_KNOWN, np.int8)
        _fill(out.reshape(-1), sight.state, sight.end, self._cell, self._line, self._step, self._near, self._far,
              self._cell_of_sample, self._pavement)
        return out


@njit(cache=True, nogil=True)
def _fill(out, state, end, cell, line, step, near, far, cell_of_sample, pavement):
    steps = state.shape[1]
    for n in range(cell.shape[0]):
        i, k = line[n], step[n]
        last = end[i]
        if k < last:
            seen = state[i, k]
            if seen == FREE:
                out[cell[n]] = DRIVABLE
            elif seen == PAVEMENT:
                out[cell[n]] = pavement
        if near[n] <= last <= far[n] and last < steps and state[i, last] == BLOCKED:
            out[cell[n]] = OCCUPIED
    for i in range(end.shape[0]):
        if end[i] < steps and state[i, end[i]] == BLOCKED and cell_of_sample[i, end[i]] >= 0:
            out[cell_of_sample[i, end[i]]] = OCCUPIED
