"""The outputs as topics of the node: classes of messages and quality of service.

An output is computed only while somebody subscribes to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

from drive_seg.outputs import table
from drive_seg.ros.messages import ROS

IMAGE_QOS = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
"""Reliable, so that it serves reliable and best-effort subscribers; only the newest is kept."""


@dataclass(frozen=True, eq=False)
class Output(table.Output):
    """One topic of the node."""

    qos: QoSProfile = field(default_factory=lambda: IMAGE_QOS)

    @property
    def topic(self) -> str:
        """Below the node's name."""
        return self.topic_of("")

    def topic_of(self, prefix: str) -> str:
        """The same of one of several cameras. prefix: `front/`."""
        return f"~/{prefix}{self.name}"

    @property
    def type(self) -> type:
        """The class of its messages."""
        return ROS.kind(self.kind)


OUTPUTS: tuple[Output, ...] = tuple(
    Output(**{f.name: getattr(output, f.name) for f in fields(output)}) for output in table.OUTPUTS)
