"""The ground in a replay: the camera of a bag on its mount."""

from __future__ import annotations

from typing import Any

import numpy as np

from drive_seg.core.camera import CameraError
from drive_seg.core.ground import GroundError
from drive_seg.core.mounted import Mount, MountedCamera
from drive_seg.outputs.messages import GroundMessages
from drive_seg.replay.messages import BAG

GEOMETRY_ERRORS = (CameraError, GroundError)
"""What a mount that can't be is told with."""


class Ground:
    """Gives the ground for the labels of each frame."""

    def __init__(self, mount: Mount, info: Any | None, ego: np.ndarray | None = None) -> None:
        """info: the camera's CameraInfo, as rosbags reads it. ego: see Segmenter. Raises CameraError, with the fix."""
        if info is None:
            raise CameraError("the bag has no CameraInfo for this camera, so nothing can be measured: leave out the"
                              " camera's height")
        self._mount, self._info, self._ego = mount, info, ego
        self._key: tuple | None = None
        self._ground: GroundMessages | None = None

    def find(self, camera_size: tuple[int, int], size: tuple[int, int]) -> GroundMessages:
        """The ground for labels of `size`, of a camera image of camera_size, each (height, width). Raises CameraError,
        GroundError or ValueError, with the fix."""
        if self._key != (camera_size, size):
            camera = MountedCamera(self._mount, self._mount.pose, self._info, camera_size, size, self._ego)
            self._ground, self._key = GroundMessages(BAG, camera), (camera_size, size)
        return self._ground
