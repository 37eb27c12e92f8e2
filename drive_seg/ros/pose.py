"""Where the camera is: from TF, or from parameters."""

from __future__ import annotations

from contextlib import suppress

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from std_msgs.msg import Header

from drive_seg.core.ground import CameraPose
from drive_seg.outputs.ground import PoseError
from drive_seg.ros.transforms import TransformError, Transforms
from drive_seg.settings import Settings


def camera_pose(stamped: TransformStamped) -> CameraPose:
    """A transform of TF as a pose."""
    t, q = stamped.transform.translation, stamped.transform.rotation
    return CameraPose.from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


class PoseSource:
    """Gives base_frame <- camera: from the camera_* parameters where camera_height is set, else from TF."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self._base = settings.base_frame
        self._fixed = self._transforms = None
        if settings.camera_height > 0:
            self._fixed = settings.mount.pose
            return
        with suppress(ImportError):  # said when it is needed
            self._transforms = Transforms(node)

    def pose(self, header: Header) -> CameraPose:
        """The camera's pose at the image's time. Raises PoseError."""
        if self._fixed is not None:
            return self._fixed
        try:
            if self._transforms is None:
                raise TransformError("tf2_ros is not installed")
            return camera_pose(self._transforms.at(self._base, header))
        except TransformError as error:
            raise PoseError(f"the camera's pose is not known ({error})",
                            f"set camera_height (and camera_pitch, ...), or publish the transform {self._base} <-"
                            f" {header.frame_id!r}") from error

    def close(self) -> None:
        """Stop listening to TF."""
        if self._transforms is not None:
            self._transforms.close()
