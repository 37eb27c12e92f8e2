"""The camera's model: which ray of light each pixel sees.

Frames follow REP-103: the optical frame has z forward, x right, y down. Pixel centres are at whole numbers. Lens models
and their parameter order are OpenCV's, under the names of sensor_msgs/CameraInfo: `plumb_bob` (k1 k2 p1 p2 k3),
`rational_polynomial` (k1 k2 p1 p2 k3 k4 k5 k6) and `equidistant` (k1 k2 k3 k4, a fisheye).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.errors import DriveSegError

MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
"""Lens models and how many parameters D may have."""

_SAME_AS = {"": "plumb_bob", "fisheye": "equidistant", "kannala_brandt": "equidistant", "radtan": "plumb_bob"}
"""Names that drivers have for MODELS."""
_LEAST_FOCAL, _MOST_FOCAL = 0.02, 1000.0  # of the image's width and height: no lens is wider or longer
_MOST_ASPECT = 4.0  # between fx and fy: binning along one axis, twice

_MAX_REPROJECTION = 0.1  # pixels between a pixel and its ray's projection, above which the lens model is not invertible


class CameraError(DriveSegError, ValueError):
    """A camera model that can't be used; the message says what is wrong and the fix."""


@dataclass(frozen=True)
class Camera:
    """A calibrated camera.

    size: (height, width) of its images in pixels. K: (3, 3) intrinsics. D: lens parameters, all zero for a rectified
    image. model: a name of MODELS. rectification: (3, 3) rotation from the optical frame to the frame of the rays; the
    identity unless the images are rectified.
    """

    size: tuple[int, int]
    K: np.ndarray
    D: np.ndarray
    model: str = "plumb_bob"
    rectification: np.ndarray | None = None

    def __post_init__(self) -> None:
        K, D = np.array(self.K, np.float64), np.array(self.D, np.float64).reshape(-1)
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "D", D)
        height, width = self.size
        if height <= 0 or width <= 0:
            raise CameraError(f"the camera's images are {width}x{height}", "width and height must be positive")
        if K.shape != (3, 3) or not np.isfinite(K).all() or not (K[0, 0] > 0 and K[1, 1] > 0):
            raise CameraError("the camera is not calibrated (K is zero or not finite)",
                              "calibrate it, e.g. with ROS's camera_calibration, and let its driver publish the result")
        wide, high = K[0, 0] / width, K[1, 1] / height
        if (not all(_LEAST_FOCAL <= share <= _MOST_FOCAL for share in (wide, high))
                or not 1 / _MOST_ASPECT <= K[0, 0] / K[1, 1] <= _MOST_ASPECT):
            raise CameraError(f"no camera has focal lengths of {K[0, 0]:g} and {K[1, 1]:g} pixels (K) at"
                              f" {width}x{height}", "calibrate it again; fx and fy are nearly the same")
        if self.model not in MODELS:
            raise CameraError(f"distortion model {self.model!r} is not supported", f"use one of {', '.join(MODELS)}")
        if D.size and (D.size not in MODELS[self.model] or not np.isfinite(D).all()):
            raise CameraError(f"{self.model} takes {' or '.join(map(str, MODELS[self.model]))} finite parameters, D has"
                              f" {D.size}: {D.tolist()}")
        if self.rectification is not None:
            object.__setattr__(self, "rectification", np.array(self.rectification, np.float64).reshape(3, 3))

    @classmethod
    def from_info(cls, *, height: int, width: int, k: Sequence[float], d: Sequence[float] = (),
                  distortion_model: str = "", r: Sequence[float] | None = None, p: Sequence[float] | None = None,
                  binning: tuple[int, int] = (1, 1), roi: tuple[int, int, int, int] = (0, 0, 0, 0),
                  rectified: bool = False) -> Camera:
        """The model of the images that come with a sensor_msgs/CameraInfo.

        height, width: of the full sensor, as CameraInfo gives them. k, d, r, p: its matrices, row by row. binning:
        (x, y), where 0 means 1. roi: (x_offset, y_offset, height, width) in full-resolution pixels, all zero for the
        whole sensor. rectified: the images are rectified already (image_rect), so that P describes them. Raises
        CameraError.
        """
        if height == 0 and width == 0:
            raise CameraError("the camera is not calibrated (CameraInfo is of 0x0 pixels)",
                              "calibrate it, e.g. with ROS's camera_calibration, and let its driver publish the result")
        if len(k) != 9 or (rectified and (p is None or len(p) != 12)):
            raise CameraError("CameraInfo must give K with 9 numbers, and P with 12 where the images are rectified")
        if rectified:
            K = np.array(p, np.float64).reshape(3, 4)[:, :3]
            D, model = np.zeros(0), "plumb_bob"
            R = None if r is None or not np.any(r) else np.array(r, np.float64).reshape(3, 3)
        else:
            K, R = np.array(k, np.float64).reshape(3, 3), None
            model, D = _lens(distortion_model, np.array(d, np.float64).reshape(-1))
        left, top, rows, columns = roi
        rows, columns = rows or height, columns or width
        if top + rows > height or left + columns > width:
            raise CameraError(f"CameraInfo's region of interest ({columns}x{rows} at {left}, {top}) leaves its sensor"
                              f" ({width}x{height})")
        K = K.copy()
        K[0, 2] -= left
        K[1, 2] -= top
        cropped = cls((rows, columns), K, D, model, R)
        bin_x, bin_y = (max(1, int(b)) for b in binning)
        return cropped.scaled((rows // bin_y, columns // bin_x)) if (bin_x, bin_y) != (1, 1) else cropped

    def scaled(self, size: tuple[int, int]) -> Camera:
        """The same view as images of another size = (height, width)."""
        if size == self.size:
            return self
        sy, sx = size[0] / self.size[0], size[1] / self.size[1]
        K = self.K.copy()
        K[0, :2] *= sx
        K[1, 1] *= sy
        K[0, 2] = (K[0, 2] + 0.5) * sx - 0.5  # pixel centres are at whole numbers, edges half a pixel out
        K[1, 2] = (K[1, 2] + 0.5) * sy - 0.5
        return Camera(size, K, self.D, self.model, self.rectification)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) in the optical frame -> pixels (N, 2) as (u, v); NaN for what the lens can't see."""
        points = np.asarray(points, np.float64).reshape(-1, 3)
        if self.rectification is not None:
            points = points @ self.rectification.T
        out = np.full((len(points), 2), np.nan)
        axis = np.hypot(points[:, 0], points[:, 1])
        if self.model == "equidistant":
            angle = np.arctan2(axis, points[:, 2])
            seen = angle < self._widest()
            direction = points[seen, :2] / np.maximum(axis[seen], 1e-12)[:, None]
            plane = direction * _fisheye_radius(angle[seen], self.D)[:, None]
        else:
            seen = (points[:, 2] > 0) & (axis < self._widest() * points[:, 2])
            plane = _distort(points[seen, :2] / points[seen, 2:], self.D)
        out[seen, 0] = self.K[0, 0] * plane[:, 0] + self.K[0, 1] * plane[:, 1] + self.K[0, 2]
        out[seen, 1] = self.K[1, 1] * plane[:, 1] + self.K[1, 2]
        return out

    def rays(self, pixels: np.ndarray | None = None) -> np.ndarray:
        """Unit rays in the optical frame of pixels (N, 2) as (u, v); NaN where no ray belongs to a pixel.

        Without pixels: of every pixel, (height, width, 3), interpolated between every eighth (off by a few
        hundredths of a pixel).
        """
        if pixels is None:
            u, left, right = _nodes(self.size[1])
            v, upper, lower = _nodes(self.size[0])
            coarse = self.rays(np.stack(np.meshgrid(u, v), -1).reshape(-1, 2)).reshape(len(v), len(u), 3)
            tall = coarse[upper[0]] * upper[1][:, None, None] + coarse[lower[0]] * lower[1][:, None, None]
            return tall[:, left[0]] * left[1][:, None] + tall[:, right[0]] * right[1][:, None]
        pixels = np.asarray(pixels, np.float64).reshape(-1, 2)
        y = (pixels[:, 1] - self.K[1, 2]) / self.K[1, 1]
        x = (pixels[:, 0] - self.K[0, 2] - self.K[0, 1] * y) / self.K[0, 0]
        if self.model == "equidistant":
            radius = np.hypot(x, y)
            angle = self._fisheye_angle(radius)
            side = np.sin(angle) / np.maximum(radius, 1e-12)
            rays = np.stack([x * side, y * side, np.cos(angle)], 1)
        elif self.D.any():
            flat = _undistort(pixels, self.K, self.D)
            rays = np.concatenate([flat, np.ones((len(flat), 1))], 1)
        else:
            rays = np.stack([x, y, np.ones_like(x)], 1)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        if self.rectification is not None:
            rays = rays @ self.rectification
        if self.D.any():  # the iteration has no notion of a pixel that the lens model never reaches
            with np.errstate(invalid="ignore"):
                rays[~(np.abs(self.project(rays) - pixels).max(axis=1) < _MAX_REPROJECTION)] = np.nan
        return rays

    def _widest(self) -> float:
        """Where the lens model turns back on itself: tan of the angle off axis, for a fisheye the angle itself."""
        if self.model == "equidistant":
            sample = np.linspace(0, np.pi, 2000)
            radius = _fisheye_radius(sample, self.D)
        else:
            sample = np.concatenate([np.linspace(0, 3, 3000), np.geomspace(3, 100, 1000)[1:]])
            radius = _distort(np.stack([sample, np.zeros_like(sample)], 1), _radial(self.D))[:, 0]
        rising = np.diff(radius) > 0
        return float(sample[-1] if rising.all() else sample[np.argmin(rising)])

    def _fisheye_angle(self, radius: np.ndarray) -> np.ndarray:
        """Inverse of _fisheye_radius by Newton's method."""
        angle = np.minimum(radius, self._widest())
        for _ in range(30):
            a2 = angle * angle
            k1, k2, k3, k4 = self.D if self.D.size else np.zeros(4)
            slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
            angle = angle - (_fisheye_radius(angle, self.D) - radius) / np.where(np.abs(slope) < 1e-6, 1e-6, slope)
        return angle


def _lens(name: str, D: np.ndarray) -> tuple[str, np.ndarray]:
    """The lens model of MODELS and its parameters, from what drivers write into CameraInfo.

    Zeros at the end of D say nothing, and D of zeros alone is a lens without distortion under whatever name, except
    `equidistant`. The eight to fourteen parameters that some write under `plumb_bob` are those of OpenCV, in its order.
    Raises CameraError.
    """
    if not np.isfinite(D).all():
        raise CameraError(f"CameraInfo has lens parameters that are not finite: D is {D.tolist()}",
                          "calibrate the camera again")
    if not D.any() and name != "equidistant":
        return "plumb_bob", np.zeros(0)
    model = _SAME_AS.get(name, name)
    if model not in MODELS or 0 < D.size < min(MODELS[model]):
        return model, D  # Camera says what is wrong
    count = int(np.flatnonzero(D)[-1]) + 1 if D.any() else 0
    if model == "plumb_bob" and count > max(MODELS[model]):
        model = "rational_polynomial"
    if count > max(MODELS[model]):
        raise CameraError(f"lens model {name!r} with {count} parameters other than zero is not supported",
                          f"calibrate it as one of {', '.join(MODELS)}")
    size = next(size for size in MODELS[model] if size >= count)
    return model, np.concatenate([D, np.zeros(size)])[:size]


def _undistort(pixels: np.ndarray, K: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) -> points (N, 2) of the plane one in front of the lens, by OpenCV of any version.

    Raises CameraError.
    """
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
    try:
        if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4, whose undistortPoints takes no criteria
            return cv2.undistortPointsIter(pixels[:, None, :], K, D, None, None, criteria)[:, 0]
        return cv2.undistortPoints(pixels[:, None, :], K, D, criteria=criteria)[:, 0]
    except cv2.error as error:
        raise CameraError(f"OpenCV {cv2.__version__} refuses this camera ({' '.join(str(error).split())})",
                          "check K and D of its CameraInfo, or install another OpenCV, e.g. pip install"
                          " 'opencv-python-headless>=4.8,<6'") from error


def _nodes(pixels: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Every eighth pixel and the last; and for each pixel its two neighbours among them with their weights."""
    nodes = np.unique(np.concatenate([np.arange(0, pixels, 8), [pixels - 1]])).astype(np.float64)
    place = np.arange(pixels)
    after = np.clip(np.searchsorted(nodes, place, "right"), 1, max(1, len(nodes) - 1))
    after = np.minimum(after, len(nodes) - 1)
    before = np.maximum(after - 1, 0)
    share = (place - nodes[before]) / np.maximum(nodes[after] - nodes[before], 1)
    return nodes, (before, 1 - share), (after, share)


def _fisheye_radius(angle: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Kannala and Brandt, PAMI 2006, as OpenCV's fisheye module has it."""
    k1, k2, k3, k4 = D if D.size else np.zeros(4)
    a2 = angle * angle
    return angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))


def _distort(plane: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Brown and Conrady's model with OpenCV's rational radial part. plane: (N, 2) as x/z, y/z."""
    k1, k2, p1, p2, k3, k4, k5, k6 = np.concatenate([D, np.zeros(8 - D.size)])
    x, y = plane[:, 0], plane[:, 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack([x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                     y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], 1)


def _radial(D: np.ndarray) -> np.ndarray:
    """D without its tangential part."""
    out = D.copy()
    out[2:4] = 0
    return out
