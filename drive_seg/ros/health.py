"""Publishes what the monitor says: /diagnostics every second and on a change, ~/health latched on a change."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Header, String

from drive_seg.core.health.monitor import Monitor
from drive_seg.outputs.health import ARRAY, CHECK_S, DIAGNOSTICS, HEALTH, Changes, diagnostics, health_text
from drive_seg.ros.label_info import LATCHED
from drive_seg.ros.messages import ROS


class HealthPublisher:
    """Asks the monitor ten times a second."""

    def __init__(self, node: Node, monitor: Monitor) -> None:
        self._node, self._monitor = node, monitor
        self._diagnostics = node.create_publisher(ROS.kind(ARRAY), DIAGNOSTICS, 10)
        self._health = node.create_publisher(String, f"~/{HEALTH}", LATCHED)
        self._timer = node.create_timer(CHECK_S, self.update)
        self._changes = Changes()
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
            self._diagnostics.publish(diagnostics(ROS, header, statuses, self._node.get_name()))
        if due.health is not None:
            state, reasons = due.health
            self.tell(state.value, reasons)
            log = self._node.get_logger()
            if reasons:
                log.warning(f"{state.value}: {'; '.join(reasons)}")
            else:
                log.info(state.value)

    def tell(self, state: str, reasons: tuple[str, ...] = ()) -> None:
        """Publish a state on ~/health as JSON."""
        stamp = self._node.get_clock().now().nanoseconds / 1e9
        self._health.publish(String(data=health_text(state, reasons, stamp)))

    def close(self, state: str) -> None:
        """Tell a last state and stop; the publishers are given back."""
        self._node.destroy_timer(self._timer)
        if self._node.context.ok():
            self.tell(state)
        self._node.destroy_publisher(self._health)
        self._node.destroy_publisher(self._diagnostics)
