"""`~/grid` and `~/scan` of all cameras together, and what is reported of their health as a whole."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecyclePublisher
from std_msgs.msg import Header

from drive_seg.core.around import Motion
from drive_seg.core.health.status import Health, Level, Status, summarise
from drive_seg.errors import DriveSegError, reason_and_fix
from drive_seg.outputs import joint
from drive_seg.outputs.messages import GRID, SCAN
from drive_seg.outputs.table import Result
from drive_seg.pipeline import Pipeline
from drive_seg.rig import Rig
from drive_seg.ros.log import Throttle
from drive_seg.ros.messages import ROS
from drive_seg.ros.outputs import IMAGE_QOS
from drive_seg.ros.pose import camera_pose
from drive_seg.ros.transforms import Transforms

if TYPE_CHECKING:
    from drive_seg.ros.node import SegmentationNode

_LEVELS = {Health.READY: Level.OK, Health.DEGRADED: Level.WARN, Health.FAULT: Level.ERROR}
_SILENT = 2.0  # seconds after the last round for which its statuses hold


class JointGround:
    """Joins what the cameras see of the ground, in a thread of its own, while somebody subscribes.

    Any thread may call.
    """

    def __init__(self, node: SegmentationNode, rig: Rig, pipelines: Mapping[str, Pipeline],
                 events: CallbackGroup | None = None) -> None:
        """pipelines: of the cameras, by name. events: the group of the publishers' events; the node's by default."""
        self._node, self._pipelines = node, dict(pipelines)
        self._base, self._odom = rig.common.base_frame, rig.common.odom_frame
        self._rounds = joint.Rounds(rig.cameras, rig.common.camera_tolerance)
        self._ground = joint.JointGround(ROS, rig.common.mount, self._motion)
        self._off: set[str] = set()
        self._lock = threading.Lock()
        self._waiting: joint.Round | None = None
        self._busy = False
        self._made_at = -float("inf")
        self._statuses: list[Status] = []
        self._throttle = Throttle()
        self._transforms: Transforms | None = None
        with ExitStack() as opened:
            self._publishers: dict[str, LifecyclePublisher] = {}
            for name, kind in ((joint.GRID_NAME, GRID), (joint.SCAN_NAME, SCAN)):
                publisher: LifecyclePublisher = node.create_lifecycle_publisher(ROS.kind(kind), f"~/{name}", IMAGE_QOS,
                                                                                     callback_group=events)
                opened.callback(node.destroy_lifecycle_publisher, publisher)
                self._publishers[name] = publisher
            if self._odom:
                try:
                    self._transforms = Transforms(node)
                    opened.callback(self._transforms.close)
                except ImportError:
                    node.get_logger().info("tf2_ros is not installed: what the vehicle moves between the cameras'"
                                           " pictures is not compensated")
            self._pool = ThreadPoolExecutor(1, "joint")
            opened.callback(self._pool.shutdown)
            self._opened = opened.pop_all()

    def of(self, camera: str) -> CameraOfJoint:
        """What a camera's worker gives its results to."""
        return CameraOfJoint(self, camera)

    def start(self) -> None:
        """The node is active again: begin as if no frame had come before."""
        with self._lock:
            self._rounds.start([camera for camera in self._pipelines if camera not in self._off])

    def switch(self, camera: str, on: bool) -> None:
        """A camera is switched on or off."""
        with self._lock:
            (self._off.discard if on else self._off.add)(camera)
            self._rounds.leave(camera)

    @property
    def wanted(self) -> bool:
        """Whether somebody subscribes to the joint grid or scan."""
        return any(publisher.get_subscription_count() > 0 for publisher in self._publishers.values())

    def add(self, camera: str, result: Result) -> None:
        """Take a camera's result. Does nothing where it can't be measured; the camera's health says why."""
        ground = result.ground
        if ground is None:
            return
        messages, sight = ground
        stamp = result.header.stamp
        seen = joint.Seen(camera, stamp.sec * 10**9 + stamp.nanosec, messages.camera, sight)
        with self._lock:
            if camera in self._off:
                return
            due = self._rounds.add(seen)
            if not due:
                return
            self._waiting = due[-1]  # the newest wins
            if self._busy:
                return
            self._busy = True
        self._pool.submit(self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                round_, self._waiting = self._waiting, None
                if round_ is None:
                    self._busy = False
                    return
            try:
                self._publish(round_)
            except Exception as error:  # the node must live on
                reason, fix = reason_and_fix(error)
                with self._lock:
                    self._statuses = [Status("joint ground", Level.WARN, f"no joint grid or scan: {reason}", fix)]
                    self._made_at = self._node.now()
                line = self._throttle.line("joint", f"no joint grid or scan: {error}")
                if line is not None:
                    self._node.get_logger().warning(line)

    def _publish(self, round_: joint.Round) -> None:
        wanted = [name for name, publisher in self._publishers.items() if publisher.get_subscription_count() > 0]
        header = Header()
        header.stamp.sec, header.stamp.nanosec = divmod(round_.stamp_ns, 10**9)
        for name, message in self._ground.make(round_, wanted, header).items():
            self._publishers[name].publish(message)
        statuses = self._ground.statuses()
        with self._lock:
            self._statuses, self._made_at = statuses, self._node.now()

    def _motion(self, before_ns: int, after_ns: int) -> Motion | None:
        """Where odometry lags a little behind the cameras, the motion over as long a time just before: at constant
        speed the same."""
        if self._transforms is None:
            return None
        later = max(before_ns, after_ns)
        try:
            newest = self._place(later).header.stamp
            lag = later - (newest.sec * 10**9 + newest.nanosec)
            return Motion.between(*(camera_pose(self._place(stamp_ns - lag)) for stamp_ns in (before_ns, after_ns)))
        except DriveSegError:
            return None

    def _place(self, stamp_ns: int) -> TransformStamped:
        """Of the vehicle in the frame in which it moves. Raises TransformError."""
        assert self._transforms is not None
        header = Header(frame_id=self._base)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        return self._transforms.at(self._odom, header)

    def statuses(self, now: float) -> list[Status]:
        """One status a camera, and those of the joint ground while it is made."""
        with self._lock:
            off = set(self._off)
            own = list(self._statuses) if 0 <= now - self._made_at <= _SILENT else [Status("joint ground"),
                                                                                    Status("overlap")]
        cameras = {}
        for name, pipeline in self._pipelines.items():
            if name in off:
                cameras[name] = Level.STALE, "it is switched off"
                continue
            state, reasons = summarise(pipeline.monitor.statuses(now))
            cameras[name] = _LEVELS[state], "; ".join(reasons)
        return joint.cameras_together(cameras) + own

    def close(self) -> None:
        """End the thread, and give back publishers and TF."""
        self._opened.close()


class CameraOfJoint:
    """One camera's way into the joint ground."""

    def __init__(self, ground: JointGround, camera: str) -> None:
        self._ground, self._camera = ground, camera

    @property
    def wanted(self) -> bool:
        """See JointGround."""
        return self._ground.wanted

    def add(self, result: Result) -> None:
        """See JointGround."""
        self._ground.add(self._camera, result)
