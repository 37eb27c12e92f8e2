"""Do cameras agree where they overlap? A camera whose pose is off shows the same kerb somewhere else.

Contacts, where free ground ends, are compared between the cameras' grids: how far, across its edge, does a contact lie
from the nearest of another camera? From all of them follow by least squares the three angles by which a camera would
have to be turned to agree with its neighbours: one step of the point-to-line method (Chen and Medioni, Image and Vision
Computing, 1992).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from drive_seg.core.grid import DRIVABLE, NOT_KNOWN, OCCUPIED, GridShape
from drive_seg.core.ground import CameraPose
from drive_seg.core.health.status import Level, Status

_REACH = 0.8
"""Metres beyond which two contacts are not the same thing."""
_ERROR = 0.1
"""Metres by which a contact may be off though its pose is right: pixels, cells, and the network."""
_LARGEST = np.radians(5)  # an angle of which a pose is expected to be off at most
_OFF = np.radians(1.0)  # from which on a pose is reported
_ENOUGH = 25.0  # contacts, below which nothing is said
_FADES = 0.98  # a grid: at ten a second, half in 3.5 s
_BETTER = 0.3  # share of the squared distances that the turn must explain


@dataclass
class _Sums:
    """Normal equations of a camera's three angles: turned about base_link's x, y and z. left: of what is explained."""

    matrix: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    right: np.ndarray = field(default_factory=lambda: np.zeros(3))
    squares: float = 0.0
    count: float = 0.0
    others: dict[str, float] = field(default_factory=dict)

    def fade(self) -> None:
        self.matrix *= _FADES
        self.right *= _FADES
        self.squares *= _FADES
        self.count *= _FADES
        self.others = {name: count * _FADES for name, count in self.others.items()}

    @property
    def turn(self) -> np.ndarray:
        """(3,) radians."""
        return np.linalg.solve(self.matrix + np.eye(3) * (_ERROR / _LARGEST) ** 2, self.right)

    @property
    def explained(self) -> float:
        """Squared metres that the turn takes away."""
        return float(self.turn @ self.right)


@dataclass(frozen=True)
class _Contacts:
    """What one grid has. x, y, nx, ny: (n,) metres of its edges and their normals. known: bool, where something is
    known. nearest: (rows, columns, 2) float32 metres of the nearest occupied cell; distance: to it."""

    cells: np.ndarray
    x: np.ndarray
    y: np.ndarray
    nx: np.ndarray
    ny: np.ndarray
    known: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray


class OverlapHealth:
    """Watches how the cameras of a vehicle agree. Times are not needed: what is remembered fades with each grid."""

    def __init__(self, shape: GridShape) -> None:
        """shape: of the grids."""
        self._shape = shape
        self._sums: dict[str, _Sums] = {}

    def observe(self, grids: Mapping[str, np.ndarray], poses: Mapping[str, CameraPose], ground_z: float = 0.0) -> None:
        """The cameras' grids of one time, (cells along y, along x) int8 each, by name, and their poses."""
        contacts = {name: found for name, grid in grids.items() if (found := self._contacts(grid)) is not None}
        for name in contacts:
            self._sums.setdefault(name, _Sums()).fade()
        for one, other in itertools.permutations(contacts, 2):
            self._add(one, other, contacts[one], contacts[other], poses[one], ground_z)

    def _contacts(self, grid: np.ndarray) -> _Contacts | None:
        free, taken = (grid == DRIVABLE).astype(np.uint8), grid == OCCUPIED
        if not taken.any():
            return None
        edge = taken & (cv2.dilate(free, np.ones((3, 3), np.uint8)) != 0)
        size, back, right = self._shape.resolution, self._shape.back, self._shape.right
        slope = cv2.GaussianBlur(free.astype(np.float32), (0, 0), 1.5)
        nx, ny = cv2.Sobel(slope, cv2.CV_32F, 1, 0), cv2.Sobel(slope, cv2.CV_32F, 0, 1)
        rows, columns = np.nonzero(edge)
        length = np.maximum(np.hypot(nx, ny)[edge], 1e-9)
        distance, labels = cv2.distanceTransformWithLabels((~taken).astype(np.uint8), cv2.DIST_L2, 5,
                                                           labelType=cv2.DIST_LABEL_PIXEL)
        places = np.zeros((int(labels.max()) + 1, 2), np.float32)
        where = np.nonzero(taken)
        places[labels[where], 0] = back + (where[1] + 0.5) * size
        places[labels[where], 1] = right + (where[0] + 0.5) * size
        known = cv2.dilate((grid != NOT_KNOWN).astype(np.uint8), np.ones((3, 3), np.uint8)) != 0
        return _Contacts(edge, back + (columns + 0.5) * size, right + (rows + 0.5) * size, nx[edge] / length,
                         ny[edge] / length, known, places[labels], distance * size)

    def _add(self, one: str, other: str, mine: _Contacts, theirs: _Contacts, pose: CameraPose, ground_z: float) -> None:
        """What turning `one` would do: its contacts to the other's nearest, and the other's to its nearest."""
        edge = mine.cells
        ok = theirs.known[edge] & (theirs.distance[edge] <= _REACH)
        near = theirs.nearest[edge][ok]
        x, y, nx, ny = mine.x[ok], mine.y[ok], mine.nx[ok], mine.ny[ok]
        self._solve(one, other, x, y, nx, ny, (near[:, 0] - x) * nx + (near[:, 1] - y) * ny, pose, ground_z)
        edge = theirs.cells
        ok = mine.known[edge] & (mine.distance[edge] <= _REACH)
        near = mine.nearest[edge][ok].astype(np.float64)
        nx, ny = theirs.nx[ok], theirs.ny[ok]
        gap = (theirs.x[ok] - near[:, 0]) * nx + (theirs.y[ok] - near[:, 1]) * ny
        self._solve(one, other, near[:, 0], near[:, 1], nx, ny, gap, pose, ground_z)

    def _solve(self, one: str, other: str, x: np.ndarray, y: np.ndarray, nx: np.ndarray, ny: np.ndarray,
               gap: np.ndarray, pose: CameraPose, ground_z: float) -> None:
        """gap: (n,) metres along the normal by which points x, y of camera `one` should move."""
        if not len(x):
            return
        # Turned by w, the ray d to a point becomes d + w x d, and meets the ground elsewhere.
        dx, dy = x - pose.translation[0], y - pose.translation[1]
        dz = ground_z - pose.translation[2]
        zero = np.zeros_like(dx)
        turned = np.stack([np.stack([zero, zero - dz, dy], 1), np.stack([zero + dz, zero, -dx], 1),
                           np.stack([-dy, dx, zero], 1)], 1)  # (n, axis, xyz)
        move_x = turned[..., 0] - dx[:, None] / dz * turned[..., 2]
        move_y = turned[..., 1] - dy[:, None] / dz * turned[..., 2]
        rows = move_x * nx[:, None] + move_y * ny[:, None]
        sums = self._sums[one]
        sums.matrix += rows.T @ rows
        sums.right += rows.T @ gap
        sums.squares += float(gap @ gap)
        sums.count += len(x)
        sums.others[other] = sums.others.get(other, 0.0) + len(x)

    def forget(self, camera: str) -> None:
        """Begin again with a camera, as when its pose changed."""
        self._sums.pop(camera, None)

    @property
    def turns(self) -> dict[str, np.ndarray]:
        """(3,) radians about base_link's x, y and z by which each camera would have to be turned to agree with the
        others; of those with contacts enough to tell."""
        return {name: sums.turn for name, sums in self._sums.items() if sums.count >= _ENOUGH}

    def status(self) -> Status:
        """WARN where a camera would have to be turned: the one whose turn explains most."""
        turns = self.turns
        values = {name: f"off by {np.degrees(np.linalg.norm(turn)):.1f} degrees" for name, turn in turns.items()}
        off = [name for name, turn in turns.items() if np.linalg.norm(turn) >= _OFF
               and self._sums[name].explained >= _BETTER * self._sums[name].squares]
        if not off:
            return Status("overlap", values=values)
        name = max(off, key=lambda n: self._sums[n].explained)
        angle = np.degrees(np.linalg.norm(turns[name]))
        others = sorted(self._sums[name].others, key=lambda n: -self._sums[name].others[n])[:2]
        reason = (f"{name} and {' and '.join(others)} show the same ground at different places: the pose of {name} is"
                  f" off by about {angle:.1f} degrees")
        return Status("overlap", Level.WARN, reason, f"check the pose of {name} (pitch, yaw, roll, height) and its"
                      " calibration", values)
