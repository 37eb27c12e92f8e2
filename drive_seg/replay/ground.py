"""The ground from above in a replay: the camera of a bag on its mount, and the grid that the node publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from drive_seg.core.camera import Camera, CameraError
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundError, GroundView
from drive_seg.core.segmentation import Segmentation


@dataclass(frozen=True)
class Mount:
    """Where the camera sits and what the grid covers: the node's parameters of these names, in metres and radians."""

    camera_height: float
    camera_pitch: float = 0.0
    camera_roll: float = 0.0
    camera_yaw: float = 0.0
    camera_x: float = 0.0
    camera_y: float = 0.0
    camera_rectified: bool = False
    base_frame: str = "base_link"
    ground_z: float = 0.0
    max_pixel_length: float = 0.5
    max_range: float = 60.0
    pavement_is_obstacle: bool = True
    grid_resolution: float = 0.1
    grid_front: float = 40.0
    grid_back: float = 0.0
    grid_width: float = 30.0


class BirdsEye:
    """Makes the occupancy grid of each frame."""

    def __init__(self, mount: Mount, info: Any | None, ego: np.ndarray | None = None) -> None:
        """info: the camera's CameraInfo, as rosbags reads it. ego: see Segmenter. Raises CameraError, GroundError or
        ValueError, with the fix."""
        if info is None:
            raise CameraError("the bag has no CameraInfo for this camera, so nothing can be measured: leave out the"
                              " camera's height")
        self.mount = mount
        self.shape = GridShape(mount.grid_resolution, mount.grid_back, mount.grid_front, -mount.grid_width / 2,
                               mount.grid_width / 2)
        k, d, r, p = (getattr(info, name, None) if hasattr(info, name) else getattr(info, name.upper())
                      for name in ("k", "d", "r", "p"))  # ROS 1 writes them large
        roi = (info.roi.x_offset, info.roi.y_offset, info.roi.height, info.roi.width)
        self._camera = Camera.from_info(
            height=info.height, width=info.width, k=k, d=d, distortion_model=info.distortion_model, r=r, p=p,
            binning=(info.binning_x, info.binning_y), roi=roi, rectified=mount.camera_rectified)
        self._pose = CameraPose.mounted(mount.camera_height, mount.camera_pitch, mount.camera_roll, mount.camera_yaw,
                                        mount.camera_x, mount.camera_y)
        scaled = None
        if ego is not None:
            height, width = self._camera.size
            scaled = cv2.resize((np.asarray(ego) != 0).astype(np.uint8), (width, height),
                                interpolation=cv2.INTER_NEAREST_EXACT).astype(np.bool_)
        self._view = GroundView(self._camera, self._pose, ground_z=mount.ground_z,
                                max_pixel_length=mount.max_pixel_length, max_range=mount.max_range, ego=scaled)
        self._grid = Grid(self._view, self.shape, pavement_is_obstacle=mount.pavement_is_obstacle)

    def grid(self, segmentation: Segmentation) -> np.ndarray:
        """(cells along y, cells along x) int8, as in nav_msgs/OccupancyGrid. Raises CameraError for images of a size
        that CameraInfo does not describe."""
        if segmentation.labels.shape != self._camera.size:
            height, width = segmentation.labels.shape
            raise CameraError(f"CameraInfo describes {self._camera.size[1]}x{self._camera.size[0]} images, these are"
                              f" {width}x{height}: it is another camera's, or the images were resized without it")
        return self._grid.fill(self._view.see(segmentation.labels, segmentation.drivable))


GEOMETRY_ERRORS = (CameraError, GroundError)
