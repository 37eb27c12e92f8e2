"""A camera on its vehicle: the view of the ground, and what is looked up in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from drive_seg.core.camera import Camera, CameraError
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import MAX_PIXEL_LENGTH, MAX_RANGE, CameraPose, GroundError, GroundView, Sight
from drive_seg.core.points import Points
from drive_seg.core.scan import Scan
from drive_seg.errors import reason_and_fix

POSE_LAG = 0.2
"""Seconds that a pose may be older than its image: what moves is reported at 10 to 50 Hz, mostly after the image was
taken."""

TIME_JUMP = 1.0
"""Seconds that the stamps of a transform must go back for time to have jumped."""


@dataclass(frozen=True)
class Mount:
    """Where the camera sits and what is reported about the ground: the node's parameters, in metres and radians."""

    camera_height: float
    camera_pitch: float = 0.0
    camera_roll: float = 0.0
    camera_yaw: float = 0.0
    camera_x: float = 0.0
    camera_y: float = 0.0
    camera_rectified: bool = False
    base_frame: str = "base_link"
    ground_z: float = 0.0
    max_pixel_length: float = MAX_PIXEL_LENGTH
    max_range: float = MAX_RANGE
    pavement_is_obstacle: bool = True
    grid_resolution: float = GridShape.resolution
    grid_front: float = GridShape.front
    grid_back: float = GridShape.back
    grid_width: float = GridShape.left - GridShape.right
    scan_increment: float = 0.00872665

    @property
    def pose(self) -> CameraPose:
        """The camera in base_frame."""
        return CameraPose.mounted(self.camera_height, self.camera_pitch, self.camera_roll, self.camera_yaw,
                                  self.camera_x, self.camera_y)

    @property
    def shape(self) -> GridShape:
        """What the grid covers."""
        half = self.grid_width / 2
        return GridShape(self.grid_resolution, self.grid_back, self.grid_front, -half, half)


class MountedCamera:
    """One camera at one pose. Each look-up table is made when it is first needed."""

    def __init__(self, mount: Mount, pose: CameraPose, info: Any, camera_size: tuple[int, int], size: tuple[int, int],
                 ego: np.ndarray | None = None) -> None:
        """info: a CameraInfo message. camera_size: of the camera's images, size: of the labels, each (height, width).
        ego: (h, w) of any size, non-zero where the vehicle itself is seen. Raises CameraError, GroundError or
        ValueError, with the fix.
        """
        self.mount = mount
        k, d, r, p = (_matrix(info, name) for name in "kdrp")
        camera = Camera.from_info(
            height=info.height, width=info.width, k=k, d=d, distortion_model=info.distortion_model, r=r, p=p,
            binning=(info.binning_x, info.binning_y), rectified=mount.camera_rectified,
            roi=(info.roi.x_offset, info.roi.y_offset, info.roi.height, info.roi.width))
        if camera.size != camera_size:
            raise CameraError(f"CameraInfo describes {camera.size[1]}x{camera.size[0]} images, these are"
                              f" {camera_size[1]}x{camera_size[0]}",
                              "it is another camera's, or the images were resized without it")
        scaled = None
        if ego is not None:
            scaled = cv2.resize((np.asarray(ego) != 0).astype(np.uint8), (size[1], size[0]),
                                interpolation=cv2.INTER_NEAREST_EXACT).astype(np.bool_)
        self.view = GroundView(camera.scaled(size), pose, ground_z=mount.ground_z,
                               max_pixel_length=mount.max_pixel_length, max_range=mount.max_range, ego=scaled)

    def see(self, labels: np.ndarray, drivable: np.ndarray) -> Sight:
        """What labels and drivable area, (height, width) uint8 each, show of the ground."""
        return self.view.see(labels, drivable)

    @cached_property
    def grid(self) -> Grid:
        """Fills the occupancy grid. Raises GroundError for one that can't be."""
        with _as_ground_error():
            return Grid(self.view, self.mount.shape, pavement_is_obstacle=self.mount.pavement_is_obstacle)

    @cached_property
    def scan(self) -> Scan:
        """Measures the rays of the scan. Raises GroundError for one that can't be."""
        with _as_ground_error():
            return Scan(self.view, increment=self.mount.scan_increment,
                        pavement_is_obstacle=self.mount.pavement_is_obstacle)

    def points(self, out: np.ndarray) -> Points:
        """Fills a point cloud into `out`, (height, width, 3) float32."""
        return Points(self.view, out)


def check_frames(info: Any, frame_id: str) -> None:
    """Raises CameraError where a CameraInfo message is of another frame than the images, which is another camera's."""
    if info.header.frame_id and frame_id and info.header.frame_id.lstrip("/") != frame_id.lstrip("/"):
        raise CameraError(f"CameraInfo is of frame '{info.header.frame_id}', the images are of '{frame_id}'",
                          "remap `camera_info` to this camera's, or let its driver put one frame_id into both")


def camera_key(info: Any, rectified: bool) -> tuple:
    """All of a CameraInfo message that counts, to tell whether it is still the same camera. rectified: see Mount."""
    # As bytes, for a NaN equals no other; R and P are nothing to images that are not rectified.
    matrices = (np.asarray(_matrix(info, name), np.float64).tobytes() for name in ("kdrp" if rectified else "kd"))
    roi = info.roi
    return (*matrices, info.distortion_model, info.height, info.width, info.binning_x, info.binning_y, roi.x_offset,
            roi.y_offset, roi.height, roi.width)


def _matrix(info: Any, name: str) -> Any:
    return getattr(info, name) if hasattr(info, name) else getattr(info, name.upper())  # ROS 1 writes them large


@contextmanager
def _as_ground_error() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise GroundError(*reason_and_fix(error)) from error
