"""Where the camera is: from TF, or from parameters."""

from __future__ import annotations

from types import SimpleNamespace

from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from drive_seg.core.ground import CameraPose


class PoseError(RuntimeError):
    """The camera's pose is not known; the message names the fix."""


class PoseSource:
    """Gives base_frame <- camera: from the camera_* parameters where camera_height is set, else from TF."""

    def __init__(self, node: Node, settings: SimpleNamespace) -> None:
        self._base = settings.base_frame
        self._fixed = None
        self._buffer = self._listener = None
        self._why_not = ""
        if settings.camera_height > 0:
            self._fixed = CameraPose.mounted(settings.camera_height, settings.camera_pitch, settings.camera_roll,
                                             settings.camera_yaw, settings.camera_x, settings.camera_y)
            return
        try:
            from tf2_ros import Buffer, TransformListener
        except ImportError:
            self._why_not = "tf2_ros is not installed"
            return
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def pose(self, header: Header) -> CameraPose:
        """The camera's pose at the image's time. Raises PoseError."""
        if self._fixed is not None:
            return self._fixed
        fix = f"set camera_height (and camera_pitch, ...), or publish the transform {self._base} <- {header.frame_id!r}"
        if self._buffer is None:
            raise PoseError(f"the camera's pose is not known ({self._why_not}): {fix}")
        from tf2_ros import TransformException

        stamp = Time.from_msg(header.stamp)
        try:
            transform = self._buffer.lookup_transform(self._base, header.frame_id, stamp).transform
        except TransformException as error:
            raise PoseError(f"the camera's pose is not known ({error}): {fix}") from error
        t, q = transform.translation, transform.rotation
        return CameraPose.from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))

    def close(self) -> None:
        """Stop listening to TF."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = self._buffer = None
