"""Publishes what the monitor says: /diagnostics every second and on a change, ~/health latched on a change."""

from __future__ import annotations

import json

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_msgs.msg import String

from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.status import Status, summarise
from drive_seg.ros.label_info import LATCHED

_PERIOD = 1.0  # seconds between diagnostics without a change
_CHECK = 0.1  # seconds between looks for a change


class HealthPublisher:
    """Asks the monitor ten times a second."""

    def __init__(self, node: Node, monitor: Monitor) -> None:
        self._node, self._monitor = node, monitor
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._health = node.create_publisher(String, "~/health", LATCHED)
        self._timer = node.create_timer(_CHECK, self.update)
        self._levels: tuple | None = None
        self._state: tuple | None = None
        self._sent = 0.0
        self.update()

    def update(self) -> None:
        """Publish what is due."""
        if not self._node.context.ok():  # the process is ending
            return
        clock = self._node.get_clock().now()
        now = clock.nanoseconds / 1e9
        statuses = self._monitor.statuses(now)
        levels = tuple(s.level for s in statuses)
        if levels != self._levels or now - self._sent >= _PERIOD or now < self._sent:
            self._levels, self._sent = levels, now
            array = DiagnosticArray()
            array.header.stamp = clock.to_msg()
            array.status = [_to_message(s, self._node.get_name()) for s in statuses]
            self._diagnostics.publish(array)
        state, reasons = summarise(statuses)
        if (state, levels) != self._state:
            self._state = (state, levels)
            self.tell(state.value, reasons)
            log = self._node.get_logger()
            if reasons:
                log.warning(f"{state.value}: {'; '.join(reasons)}")
            else:
                log.info(state.value)

    def tell(self, state: str, reasons: tuple[str, ...] = ()) -> None:
        """Publish a state on ~/health as JSON."""
        stamp = self._node.get_clock().now().nanoseconds / 1e9
        self._health.publish(String(data=json.dumps({"state": state, "reasons": list(reasons), "stamp": stamp})))

    def close(self, state: str) -> None:
        """Tell a last state and stop; the publishers are given back."""
        self._node.destroy_timer(self._timer)
        if self._node.context.ok():
            self.tell(state)
        self._node.destroy_publisher(self._health)
        self._node.destroy_publisher(self._diagnostics)


def _to_message(status: Status, name: str) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=bytes([status.level]), name=f"{name}: {status.name}", message=status.message, hardware_id=name,
        values=[KeyValue(key=key, value=value) for key, value in status.values.items()])
