"""Ground geometry for the node: the camera's tables, built anew only when camera or pose change.

Building takes a second or more, so another thread does it: no frame waits, grid, scan and points begin when it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from types import SimpleNamespace

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from drive_seg.core.camera import CameraError
from drive_seg.core.ground import CameraPose, GroundError
from drive_seg.core.mounted import Mount, MountedCamera, camera_key, check_frames
from drive_seg.errors import DriveSegError, reason_and_fix
from drive_seg.outputs.messages import GroundMessages
from drive_seg.ros.messages import ROS
from drive_seg.ros.pose import PoseError, PoseSource


@dataclass(frozen=True)
class _Built:
    """What was made of a camera and its pose. key: all of CameraInfo that counts, and the sizes."""

    key: tuple
    pose: CameraPose
    ground: GroundMessages | None
    problem: tuple[str, str] | None = None
    """Reason and fix; not the error itself, which would hold on to its frames."""

    def fits(self, key: tuple, pose: CameraPose) -> bool:
        return key == self.key and pose.close_to(self.pose)


class Geometry:
    """Keeps what is looked up for the newest camera model and pose."""

    def __init__(self, settings: SimpleNamespace, pose_source: PoseSource, ego: np.ndarray | None,
                 complain: Callable[[str, DriveSegError], None]) -> None:
        """ego: (h, w) of any size, non-zero where the vehicle itself is seen. complain(kind, error)."""
        self._mount = Mount(**{f.name: getattr(settings, f.name) for f in fields(Mount)})
        self._pose_source, self._complain = pose_source, complain
        self._ego = ego
        self._builder = ThreadPoolExecutor(1, "ground")
        self._coming: Future[_Built] | None = None
        self._built: _Built | None = None

    def ground(self, header: Header, info: CameraInfo | None, camera_size: tuple[int, int],
               size: tuple[int, int]) -> GroundMessages | None:
        """The ground for labels of `size`, of a camera image of camera_size, each (height, width); at once.

        None when it can't be had, or not yet; the reason is complained.
        """
        try:
            if info is None:
                raise CameraError("no CameraInfo has come", "remap `camera_info` to the camera's, and calibrate it")
            check_frames(info, header.frame_id)
            pose = self._pose_source.pose(header)
        except (CameraError, GroundError, PoseError) as error:
            self._complain("geometry", error)
            return None
        key = (*camera_key(info, self._mount.camera_rectified), camera_size, size)
        if self._coming is not None and self._coming.done():
            done, self._coming = self._coming, None
            self._built = done.result()
        if self._built is not None and self._built.fits(key, pose):
            if self._built.problem:
                self._complain("geometry", GroundError(*self._built.problem))
            return self._built.ground
        if self._coming is None:
            self._coming = self._builder.submit(self._build, key, pose, info, camera_size, size)
        self._complain("geometry", GroundError(
            "its tables are being made for this camera and pose",
            "wait a few seconds; where the pose never rests, give the camera's as parameters"))
        return None

    def _build(self, key: tuple, pose: CameraPose, info: CameraInfo, camera_size: tuple[int, int],
               size: tuple[int, int]) -> _Built:
        try:
            ground = GroundMessages(ROS, MountedCamera(self._mount, pose, info, camera_size, size, self._ego))
            ground.prepare()
        except (DriveSegError, ValueError) as error:
            return _Built(key, pose, None, reason_and_fix(error))
        return _Built(key, pose, ground)

    def wait(self, seconds: float) -> None:
        """Until what is being built is done."""
        if self._coming is not None:
            self._coming.result(seconds)

    def close(self) -> None:
        """Build nothing any more."""
        self._builder.shutdown(wait=False, cancel_futures=True)
