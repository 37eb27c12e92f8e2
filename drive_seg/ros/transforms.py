"""TF, listened to while somebody asks it."""

from __future__ import annotations

import threading
import time
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.time import Time
from rclpy.timer import Timer
from std_msgs.msg import Header

from drive_seg.core.mounted import POSE_LAG, TIME_JUMP
from drive_seg.errors import DriveSegError

_IDLE = 10.0
"""Seconds without a question after which TF is listened to no more: where much moves it takes a share of a core."""

_SETTLING = 1.0
"""Seconds that the first transforms may take to arrive."""


class TransformError(DriveSegError, RuntimeError):
    """There is no such transform; the message says why."""


class Transforms:
    """Looks transforms up in tf2, of which a node hears from the first question until 10 to 20 s after the last."""

    def __init__(self, node: Node) -> None:
        """Raises ImportError where tf2_ros is not installed."""
        import tf2_ros

        self._tf2, self._node = tf2_ros, node
        self._buffer: Any = None
        self._listener: Any = None
        self._timer: Timer | None = None
        self._since = self._asked = 0.0
        self._lock = threading.Lock()

    def at(self, target: str, header: Header) -> TransformStamped:
        """target <- the header's frame, at its time; or the newest one where TF is a little behind: nothing waits.

        Raises TransformError.
        """
        with self._lock:
            buffer = self._listen()
        try:
            return self._look_up(buffer, target, header.frame_id, Time.from_msg(header.stamp))
        except self._tf2.TransformException as error:
            why = str(error).rstrip(" .")
            if time.monotonic() - self._since < _SETTLING:
                why += "; TF is only listened to since a moment ago"
            raise TransformError(why) from error

    def _look_up(self, buffer: Any, target: str, source: str, stamp: Time) -> TransformStamped:
        try:
            return buffer.lookup_transform(target, source, stamp)
        except self._tf2.ExtrapolationException:
            newest = buffer.lookup_transform(target, source, Time())
            if not 0 <= (stamp - Time.from_msg(newest.header.stamp)).nanoseconds <= POSE_LAG * 1e9:
                raise
            return newest

    def _listen(self) -> Any:
        self._asked = time.monotonic()
        if self._listener is None:
            self._buffer, self._since = self._tf2.Buffer(), self._asked
            self._listener = self._tf2.TransformListener(_ForgetfulBuffer(self._buffer), self._node)
            self._timer = self._node.create_timer(_IDLE, self._rest, clock=Clock(clock_type=ClockType.STEADY_TIME))
        return self._buffer

    def _rest(self) -> None:
        with self._lock:
            if time.monotonic() - self._asked >= _IDLE:
                self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._listener.unregister()
            self._listener = self._buffer = self._timer = None

    def close(self) -> None:
        """Listen no more."""
        with self._lock:
            self._stop()


class _ForgetfulBuffer:
    """What a TransformListener fills: tf2's buffer, emptied when time jumps back, as in a bag that loops.

    tf2 would refuse what is older than ten seconds and mix the rest with what it knew of the same time before; its own
    clearing needs use_sim_time and /clock. Static transforms stay.
    """

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self._stamps: dict[str, float] = {}

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Take a transform of /tf."""
        stamp = transform.header.stamp.sec + transform.header.stamp.nanosec / 1e9
        if stamp < self._stamps.get(transform.child_frame_id, stamp) - TIME_JUMP:
            self._buffer.clear()
            self._stamps.clear()  # or what comes next of another frame would clear it again
        self._stamps[transform.child_frame_id] = stamp
        self._buffer.set_transform(transform, authority)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Take a transform of /tf_static."""
        self._buffer.set_transform_static(transform, authority)
