"""Publishes what the monitor says: /diagnostics every second and on a change, ~/health latched on a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header, String

from drive_seg.core.health.status import Status
from drive_seg.outputs.health import ARRAY, CHECK_S, DIAGNOSTICS, HEALTH, Changes, diagnostics, health_text
from drive_seg.ros.label_info import LATCHED
from drive_seg.ros.log import Throttle
from drive_seg.ros.messages import ROS

INACTIVE = "INACTIVE"
"""The state on ~/health while the node is not active."""


class Watched(Protocol):
    """What says how it is: a camera's monitor, or that of all cameras together."""

    def statuses(self, now: float) -> list[Status]:
        """One status a check. now: seconds of the node's clock."""


class HealthTopic:
    """~/health of a node, for as long as the node exists: who comes late gets the last state."""

    def __init__(self, node: Node, prefix: str = "") -> None:
        """prefix: of one of several cameras, `front/`."""
        self._node = node
        self._publisher = node.create_publisher(String, f"~/{prefix}{HEALTH}", LATCHED)
        self.report(INACTIVE)

    def report(self, state: str, reasons: Sequence[str] = ()) -> None:
        """Publish a state as JSON, unless the process is ending."""
        if self._node.context.ok():
            stamp = self._node.get_clock().now().nanoseconds / 1e9
            self._publisher.publish(String(data=health_text(state, reasons, stamp)))


class HealthPublisher:
    """Asks the monitor ten times a second, and once a second where ROS time stands still."""

    def __init__(self, node: Node, monitor: Watched, topic: HealthTopic, camera: str = "",
                 account: Callable[[], dict[str, str]] | None = None) -> None:
        """camera: its name, where it is one of several. account: where its frames went, for /diagnostics."""
        self._node, self._monitor, self._topic, self._account = node, monitor, topic, account
        self._camera = camera
        self._name = node.get_fully_qualified_name().removeprefix("/") + (f"/{camera}" if camera else "")
        self._diagnostics: Publisher = node.create_publisher(ROS.kind(ARRAY), DIAGNOSTICS, 10)
        self._timers = [node.create_timer(CHECK_S, self.update),
                        node.create_timer(1.0, self.update, clock=Clock(clock_type=ClockType.STEADY_TIME))]
        self._changes = Changes()
        self._throttle = Throttle()
        self.update()

    def update(self) -> None:
        """Publish what is due."""
        if not self._node.context.ok():  # the process is ending
            return
        clock = self._node.get_clock().now()
        now = clock.nanoseconds / 1e9
        statuses = self._monitor.statuses(now)
        due = self._changes.look(statuses, now)
        if due.diagnostics:
            header = Header(stamp=clock.to_msg())
            if self._account is not None:
                statuses = [*statuses, Status("frames", values=self._account())]
            self._diagnostics.publish(diagnostics(ROS, header, statuses, self._name))
        if due.health is not None:
            state, reasons = due.health
            self._topic.report(state.value, reasons)
            self._log(state.value, reasons)

    def _log(self, state: str, reasons: Sequence[str]) -> None:
        checks = [reason.partition(":")[0] for reason in reasons]
        whose = f"{self._camera}: " if self._camera else ""
        line = self._throttle.line(" ".join([state, *checks]),
                                   f"{whose}{state}: {'; '.join(reasons)}" if reasons else f"{whose}{state}")
        if line is None:
            return
        if reasons:
            self._node.get_logger().warning(line)
        else:
            self._node.get_logger().info(line)

    def close(self) -> None:
        """Stop, and report that nothing is watched any more."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._topic.report(INACTIVE)
        self._node.destroy_publisher(self._diagnostics)
