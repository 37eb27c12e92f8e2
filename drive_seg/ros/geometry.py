"""Ground geometry for the node: the camera's tables, built anew only when camera or pose change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from drive_seg.core.camera import CameraError
from drive_seg.core.ground import CameraPose, GroundError
from drive_seg.core.mounted import Mount, MountedCamera
from drive_seg.outputs.messages import GroundMessages
from drive_seg.ros.messages import ROS
from drive_seg.ros.pose import PoseError, PoseSource


class Geometry:
    """Keeps what is looked up for the newest camera model and pose."""

    def __init__(self, settings: SimpleNamespace, pose_source: PoseSource, ego: np.ndarray | None,
                 complain: Callable[[str, str], None]) -> None:
        """ego: (h, w) of any size, non-zero where the vehicle itself is seen. complain(kind, text)."""
        self._mount = Mount(**{f.name: getattr(settings, f.name) for f in fields(Mount)})
        self._pose_source, self._complain = pose_source, complain
        self._ego = ego
        self._key: tuple | None = None
        self._pose: CameraPose | None = None
        self._ground: GroundMessages | None = None

    def ground(self, header: Header, info: CameraInfo | None, camera_size: tuple[int, int],
               size: tuple[int, int]) -> GroundMessages | None:
        """The ground for labels of `size`, of a camera image of camera_size, each (height, width).

        None when it can't be had; the reason is complained.
        """
        try:
            if info is None:
                raise CameraError("no CameraInfo has come: remap `camera_info` to the camera's, and calibrate it")
            pose = self._pose_source.pose(header)
            key = (tuple(info.k), tuple(info.d), tuple(info.r), tuple(info.p), info.distortion_model, info.height,
                   info.width, info.binning_x, info.binning_y, info.roi.x_offset, info.roi.y_offset, info.roi.height,
                   info.roi.width, camera_size, size)
            if key != self._key or not pose.close_to(self._pose):
                self._key = None
                camera = MountedCamera(self._mount, pose, info, camera_size, size, self._ego)
                self._ground, self._pose, self._key = GroundMessages(ROS, camera), pose, key
            return self._ground
        except (CameraError, GroundError, PoseError, ValueError) as error:
            self._complain("geometry", str(error))
            return None
