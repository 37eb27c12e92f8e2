"""Where on the ground each pixel looks, and how far each line of sight stays on open ground.

Frames follow REP-103 and REP-105: base_link has x forward, y left, z up; the ground is the plane z = ground_z in it.

Everything metric here is answered through one table per camera model and pose (GroundView): lines of sight, fanned out
around the point of the ground below the camera, each sampled outwards about twice a pixel. An obstacle hides the ground
behind it along exactly such a line, also where the camera is rolled or the lens bends the image's columns; for a level
camera without distortion and pitch the lines are the image's columns. A frame's labels are walked once (GroundView.see)
and grid, scan and points are looked up in the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

from drive_seg.core.camera import Camera, CameraError
from drive_seg.core.classes import UNKNOWN, Group
from drive_seg.errors import DriveSegError

UNSEEN, UNSURE, FREE, PAVEMENT, BLOCKED, DISTRUSTED = range(6)
"""State of a sample of ground. UNSEEN: outside the image, hidden, or the vehicle itself. UNSURE: road that is not
called drivable. FREE: drivable. PAVEMENT: pavement. BLOCKED: first contact with what is not ground. DISTRUSTED: first
contact with pixels that are unknown."""

IN_IMAGE, NEARER, BESIDE = range(3)
"""Place of a point of the ground. NEARER: below the image or behind the image plane, in the camera's dead zone."""

MAX_PIXEL_LENGTH, MAX_RANGE = 0.5, 60.0
"""By default, in metres: see GroundView."""

_MOST_SAMPLES = 16
"""A pixel. A camera that looks ahead has about one, one that looks straight down nine."""

_OPTICAL_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # optical frame -> x forward, z up


class GroundError(DriveSegError, ValueError):
    """A camera pose from which no ground can be measured; the message says why and the fix."""


@dataclass(frozen=True)
class CameraPose:
    """The camera in base_link: p_base = rotation @ p_optical + translation, in metres."""

    rotation: np.ndarray
    translation: np.ndarray

    @classmethod
    def mounted(cls, height: float, pitch: float = 0.0, roll: float = 0.0, yaw: float = 0.0, x: float = 0.0,
                y: float = 0.0) -> CameraPose:
        """A camera at (x, y, height) metres that looks forward, turned by yaw, then pitch, then roll in radians.

        The turns are about base_link's z, y and x (REP-103): positive pitch looks down, positive roll lowers the
        right side, positive yaw looks left.
        """
        cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
        turn_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        turn_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        turn_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        return cls(turn_z @ turn_y @ turn_x @ _OPTICAL_AXES, np.array([x, y, height], np.float64))

    @classmethod
    def from_quaternion(cls, translation: tuple[float, float, float],
                        quaternion: tuple[float, float, float, float]) -> CameraPose:
        """From a transform base_link <- optical frame. quaternion: (x, y, z, w), any length but zero."""
        x, y, z, w = np.asarray(quaternion, np.float64)
        norm = x * x + y * y + z * z + w * w
        if not np.isfinite(norm) or norm < 1e-12:
            raise GroundError(f"the camera's transform has no rotation: quaternion {quaternion}")
        s = 2.0 / norm
        rotation = np.array([
            [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
            [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
            [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)]])
        return cls(rotation, np.asarray(translation, np.float64))

    def close_to(self, other: CameraPose, metres: float = 1e-3, radians: float = 1e-4) -> bool:
        """Whether two poses are the same for all purposes here."""
        return bool(np.abs(self.translation - other.translation).max() < metres
                    and np.abs(self.rotation - other.rotation).max() < radians)


@dataclass(frozen=True)
class Sight:
    """What one frame shows along each line of sight.

    state: (lines, steps) uint8 of the states above; from the first contact on UNSEEN. end: (lines,) int32, step of the
    first contact, or of the first step behind the measurable range.
    """

    state: np.ndarray
    end: np.ndarray


class GroundView:
    """The ground as one camera sees it from one pose: built once, used for every frame.

    ranges: (steps,) metres from the point below the camera. bearings: (lines,) radians in base_link around it. limit:
    (lines,) first step of each line whose pixel is longer than allowed, or that is out of range.
    """

    def __init__(self, camera: Camera, pose: CameraPose, *, ground_z: float = 0.0,
                 max_pixel_length: float = MAX_PIXEL_LENGTH, max_range: float = MAX_RANGE,
                 ego: np.ndarray | None = None) -> None:
        """max_pixel_length: metres of ground that one pixel may cover along the line of sight; what lies beyond is not
        measured. max_range: metres beyond which nothing is measured. ego: (height, width) bool, the vehicle itself.

        Raises GroundError when the camera sees no measurable ground, CameraError for one that can't be.
        """
        self.camera, self.pose, self.ground_z = camera, pose, ground_z
        self.height = float(pose.translation[2] - ground_z)
        self.max_pixel_length, self.max_range = max_pixel_length, max_range
        if not np.isfinite(pose.rotation).all() or not np.isfinite(pose.translation).all():
            raise GroundError("the camera's pose has numbers that are not finite",
                              "check the transform or the camera_* parameters")
        if self.height <= 0:
            raise GroundError(f"the camera is {self.height:.2f} m above the ground",
                              "its height must be positive (is the transform the optical frame's, and is base_link's"
                              " ground at ground_z?)")
        self.foot = pose.translation[:2]
        x, y = self._border_ground()
        if not x.size:
            look = np.degrees(np.arcsin(np.clip(-pose.rotation[2, 2], -1, 1)))
            raise GroundError(f"the camera sees no ground within {max_range:g} m",
                              f"it is {self.height:.2f} m up and looks {abs(look):.0f} degrees"
                              f" {'down' if look >= 0 else 'up'}; check height, pitch and roll, and that the pose is"
                              " the optical frame's (z forward, y down)")
        self._lay_out(x, y, 1.0 / max(camera.K[0, 0], camera.K[1, 1]))
        self._sample(ego)
        if not (self.limit > 0).any() or not (self._pixel >= 0).any():
            raise GroundError(f"every pixel of the camera covers more than {max_pixel_length:g} m of ground",
                              "raise max_pixel_length, mount the camera higher or pitch it down")

    def _border_ground(self) -> tuple[np.ndarray, np.ndarray]:
        """Ground points, relative to the foot, of a coarse set of pixels that includes the image's border."""
        height, width = self.camera.size
        v = np.unique(np.concatenate([np.arange(0, height, 8), [height - 1]])).astype(np.float64)
        u = np.unique(np.concatenate([np.arange(0, width, 8), [width - 1]])).astype(np.float64)
        x, y = self.ground_points(np.stack(np.meshgrid(u, v), -1).reshape(-1, 2))
        x, y = x - self.foot[0], y - self.foot[1]
        with np.errstate(invalid="ignore"):
            near = np.hypot(x, y) <= self.max_range
        return x[near], y[near]

    def _lay_out(self, x: np.ndarray, y: np.ndarray, pixel: float) -> None:
        """Spread the lines and their steps. pixel: radians that the finest pixel sees."""
        ahead = np.arctan2(self.pose.rotation[1, 2], self.pose.rotation[0, 2])
        turn = np.arctan2(y, x) - ahead
        turn = (turn + np.pi) % (2 * np.pi) - np.pi
        self._first_bearing, self._bearing_step = ahead + turn.min(), 2 * pixel
        lines = int(np.ceil((turn.max() - turn.min()) / self._bearing_step)) + 1
        self.bearings = self._first_bearing + self._bearing_step * np.arange(lines)
        # Even steps of the angle below the horizon, from the steepest line of sight to max_range. Half a pixel each: a
        # whole one would double the error with which an edge between two pixels is found.
        step = pixel / 2
        self._steepest, self._depression_step = float(np.arctan2(self.height, np.hypot(x, y).min())), step
        flattest = np.arctan2(self.height, self.max_range)
        steps = max(2, int(np.floor((self._steepest - flattest) / step)) + 1)
        self.ranges = self.height / np.tan(self._steepest - step * np.arange(steps))
        height, width = self.camera.size
        if lines * steps > _MOST_SAMPLES * height * width + 1_000_000:
            raise CameraError(f"no camera sees the ground as this CameraInfo says: {width}x{height} pixels would show"
                              f" {lines} x {steps} points of it", "check K and D; calibrate the camera again")
        self.shape = (lines, steps)

    def _sample(self, ego: np.ndarray | None) -> None:
        """Which pixel shows each sample, and where each line stops being measurable."""
        lines, steps = self.shape
        height, width = self.camera.size
        points = np.empty((lines, steps, 3))
        points[..., 0] = self.foot[0] + np.cos(self.bearings)[:, None] * self.ranges
        points[..., 1] = self.foot[1] + np.sin(self.bearings)[:, None] * self.ranges
        points[..., 2] = self.ground_z
        optical = (points.reshape(-1, 3) - self.pose.translation) @ self.pose.rotation
        pixels = self.camera.project(optical).reshape(lines, steps, 2)
        with np.errstate(invalid="ignore"):
            inside = ((pixels > -0.5) & (pixels < (width - 0.5, height - 0.5))).all(axis=2)
        column, row = (np.where(inside, np.rint(pixels[..., i]), 0).astype(np.int32) for i in (0, 1))
        if ego is not None:
            if ego.shape != (height, width):
                raise GroundError(f"the ego mask is {ego.shape}, the camera's images {(height, width)}")
            inside &= ~np.asarray(ego, np.bool_)[row, column]
        self._pixel = np.where(inside, row * width + column, -1).astype(np.int32)
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = np.linalg.norm(np.diff(pixels, axis=1), axis=2)
            length = np.diff(self.ranges) / moved
            too_long = length > self.max_pixel_length
        far = np.where(np.any(too_long, axis=1), np.argmax(too_long, axis=1), steps)
        seen = np.any(inside, axis=1)
        last = np.where(seen, steps - np.flip(inside, 1).argmax(axis=1), 0)  # one behind the last sample in the image
        self.limit = np.minimum(far, last).astype(np.int32)
        self._cut_by_image = last < far  # there the image ends, not the eyesight

    def ground_points(self, pixels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """x and y in base_link, metres, of the ground that pixels (N, 2) see; NaN at and above the horizon.

        Without pixels: of every pixel, each (height, width).
        """
        rays = self.camera.rays(pixels) @ self.pose.rotation.T
        down = -rays[..., 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = np.where(down > 1e-9, self.height / down, np.nan)
        return self.pose.translation[0] + distance * rays[..., 0], self.pose.translation[1] + distance * rays[..., 1]

    def locate(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Line (int32, -1 where none) and step (float, may lie outside) of ground points x, y in base_link."""
        x, y = np.asarray(x) - self.foot[0], np.asarray(y) - self.foot[1]
        lines = self.shape[0]
        with np.errstate(invalid="ignore"):
            turn = (np.arctan2(y, x) - self._first_bearing + self._bearing_step / 2) % (2 * np.pi)
            step = (self._steepest - np.arctan2(self.height, np.hypot(x, y))) / self._depression_step
            line = np.where(turn < lines * self._bearing_step, turn / self._bearing_step, -1)
        return np.where(np.isfinite(line), line, -1).astype(np.int32), step

    def shows(self, line: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Whether a pixel shows these measurable samples (bool). line, step: int, inside the table."""
        return (self._pixel[line, step] >= 0) & (step < self.limit[line])

    @property
    def fan(self) -> np.ndarray:
        """(6,) float64 that `locate` computes with: x and y of the foot in metres, bearing of the first line and step
        between lines in radians, steepest angle below the horizon and step between samples in radians."""
        return np.array([*self.foot, self._first_bearing, self._bearing_step, self._steepest, self._depression_step])

    @cached_property
    def shown(self) -> np.ndarray:
        """(lines, steps) bool, samples that a pixel shows and that are measurable."""
        return (self._pixel >= 0) & (np.arange(self.shape[1]) < self.limit[:, None])

    def columns(self, line: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Column of the pixel that shows these samples, -1 where none does. line, step: int, inside the table."""
        pixel = self._pixel[line, step]
        return np.where(pixel >= 0, pixel % self.camera.size[1], -1)

    def place(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Where ground points x, y in base_link lie for the camera, with or without ego mask: uint8, of their shape.

        IN_IMAGE, NEARER, or BESIDE: beyond the image's sides or top.
        """
        ground = np.stack([x, y, np.full_like(x, self.ground_z)], -1).reshape(-1, 3)
        optical = (ground - self.pose.translation) @ self.pose.rotation
        u, v = self.camera.project(optical).T
        height, width = self.camera.size
        right, down, ahead = optical.T
        with np.errstate(invalid="ignore"):
            nearer = np.where(np.isnan(v), (ahead <= 0) | (down > np.abs(right)), v >= height - 0.5)
            inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5)
        return np.where(nearer, NEARER, np.where(inside, IN_IMAGE, BESIDE)).astype(np.uint8).reshape(np.shape(x))

    @cached_property
    def sure_range(self) -> float:
        """Metres in front of the camera that every line of sight measures, unless the image's side cuts it off."""
        whole = self.limit[~self._cut_by_image & (self.limit > 0)]
        limit = whole if whole.size else self.limit[self.limit > 0]
        return float(self.ranges[limit.min() - 1])

    @cached_property
    def scale(self) -> np.ndarray:
        """(height,) float32, pixels across that a metre on the ground has in each row, straight ahead; 0 where the row
        sees no ground there."""
        height, width = self.camera.size
        rows = np.arange(height, dtype=np.float64)
        x, y = self.ground_points(np.stack([np.full(height, (width - 1) / 2), rows], 1))
        ahead = np.arctan2(self.pose.rotation[1, 2], self.pose.rotation[0, 2])
        aside = 0.25 * np.array([-np.sin(ahead), np.cos(ahead), 0.0])
        ground = np.stack([x, y, np.full(height, self.ground_z)], 1)
        left, right = (self.camera.project((ground + side - self.pose.translation) @ self.pose.rotation)
                       for side in (aside, -aside))
        return np.nan_to_num(np.linalg.norm(left - right, axis=1) / 0.5).astype(np.float32)

    def see(self, labels: np.ndarray, drivable: np.ndarray) -> Sight:
        """Walk every line of sight outwards to its first contact with what is not ground.

        labels: (height, width) uint8 planner labels. drivable: the same shape, non-zero = drivable.
        """
        if labels.shape != self.camera.size or drivable.shape != self.camera.size:
            raise GroundError(f"the labels are {labels.shape}, the camera's images {self.camera.size}")
        return Sight(*_walk(np.ascontiguousarray(labels).reshape(-1), np.ascontiguousarray(drivable).reshape(-1),
                            self._pixel, self.limit))


@njit(cache=True, nogil=True)
def _walk(labels, drivable, pixel, limit):
    lines, steps = pixel.shape
    state = np.zeros((lines, steps), np.uint8)
    end = limit.copy()
    for i in range(lines):
        for k in range(limit[i]):
            at = pixel[i, k]
            if at < 0:
                continue
            label = labels[at]
            if label == Group.ROAD:
                state[i, k] = FREE if drivable[at] != 0 else UNSURE
            elif label == Group.PAVEMENT:
                state[i, k] = PAVEMENT
            else:
                state[i, k] = DISTRUSTED if label == UNKNOWN else BLOCKED
                end[i] = k
                break
    return state, end
