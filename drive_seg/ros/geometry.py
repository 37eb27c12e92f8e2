"""The ground for the node: its camera and pose of now, and what can't be measured is said, not raised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from drive_seg.core.mounted import Mount
from drive_seg.errors import DriveSegError
from drive_seg.outputs.ground import GROUND_ERRORS, CameraState, GroundTables, PoseError
from drive_seg.outputs.messages import GroundMessages
from drive_seg.ros.messages import ROS
from drive_seg.ros.pose import PoseSource


class Geometry:
    """Finds the ground of one camera. `camera_info` is the newest that came, None before."""

    def __init__(self, mount: Mount, pose_source: PoseSource, ego: np.ndarray | None,
                 failed: Callable[[DriveSegError], None]) -> None:
        """ego: see GroundTables. failed: gets the reason for each frame that can't be measured."""
        self.camera_info: CameraInfo | None = None
        self._pose_source, self._failed = pose_source, failed
        self._tables = GroundTables(ROS, mount, ego, beside=True)

    def ground(self, header: Header, camera_size: tuple[int, int], size: tuple[int, int]) -> GroundMessages | None:
        """The ground for labels of `size`, of a camera image of camera_size, each (height, width); at once.

        None when it can't be had, or not yet; `failed` gets the reason.
        """
        try:
            try:
                state = CameraState(self.camera_info, header.frame_id, self._pose_source.pose(header))
            except PoseError as error:
                state = CameraState(self.camera_info, header.frame_id, None, error)
            return self._tables.find(state, camera_size, size)
        except GROUND_ERRORS as error:
            self._failed(error)
            return None

    def wait(self, seconds: float) -> None:
        """Until the tables that are being made are done."""
        self._tables.wait(seconds)

    def close(self) -> None:
        """Make no tables any more."""
        self._tables.close()
