"""Where the camera is: from TF, or from parameters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from drive_seg.core.ground import CameraPose

_LATE = 0.2
"""Seconds that TF may lag behind an image: what moves is told at 10 to 50 Hz, so mostly after the image was taken."""

_JUMP = 1.0
"""Seconds that the stamps of a transform must go back for time to have jumped."""


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
        self._listener = TransformListener(_ForgetfulBuffer(self._buffer), node)

    def pose(self, header: Header) -> CameraPose:
        """The camera's pose at the image's time. Raises PoseError."""
        if self._fixed is not None:
            return self._fixed
        fix = f"set camera_height (and camera_pitch, ...), or publish the transform {self._base} <- {header.frame_id!r}"
        if self._buffer is None:
            raise PoseError(f"the camera's pose is not known ({self._why_not}): {fix}")
        from tf2_ros import TransformException

        try:
            transform = self._at(header).transform
        except TransformException as error:
            raise PoseError(f"the camera's pose is not known ({str(error).rstrip(' .')}): {fix}") from error
        t, q = transform.translation, transform.rotation
        return CameraPose.from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))

    def _at(self, header: Header) -> TransformStamped:
        """The transform at the image's time; or the newest one, where TF is a little behind. Nothing waits for it."""
        from tf2_ros import ExtrapolationException

        stamp = Time.from_msg(header.stamp)
        try:
            return self._buffer.lookup_transform(self._base, header.frame_id, stamp)
        except ExtrapolationException:
            newest = self._buffer.lookup_transform(self._base, header.frame_id, Time())
            if not 0 <= (stamp - Time.from_msg(newest.header.stamp)).nanoseconds <= _LATE * 1e9:
                raise
            return newest

    def close(self) -> None:
        """Stop listening to TF."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = self._buffer = None


class _ForgetfulBuffer:
    """What a TransformListener fills: tf2's buffer, emptied when time jumps back, as in a bag that loops.

    tf2 would refuse what is older than ten seconds and mix the rest with what it knew of the same time before; its own
    clearing needs use_sim_time and /clock. Static transforms stay.
    """

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self._stamps: dict[str, float] = {}

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Of /tf."""
        stamp = transform.header.stamp.sec + transform.header.stamp.nanosec / 1e9
        if stamp < self._stamps.get(transform.child_frame_id, stamp) - _JUMP:
            self._buffer.clear()
        self._stamps[transform.child_frame_id] = stamp
        self._buffer.set_transform(transform, authority)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Of /tf_static."""
        self._buffer.set_transform_static(transform, authority)
