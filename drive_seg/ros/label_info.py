"""What the numbers in `~/labels` and `~/classes` mean, latched for whoever comes late."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Header, String

from drive_seg.core.classes import ClassTable
from drive_seg.outputs.label_info import LABEL_INFO, label_info
from drive_seg.outputs.label_table import LABEL_TABLE, label_table
from drive_seg.ros.messages import ROS

LATCHED = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=1, reliability=QoSReliabilityPolicy.RELIABLE,
                     durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
"""Reliable and transient local: what Nav2's semantic_segmentation_layer asks of its label info."""


def publish_label_info(node: Node, table: ClassTable) -> list:
    """Publish ~/label_table, and ~/label_info where vision_msgs is installed. Returns the publishers, to be kept."""
    plain = node.create_publisher(String, f"~/{LABEL_TABLE}", LATCHED)
    plain.publish(String(data=label_table(table)))
    try:
        info = label_info(ROS, Header(stamp=node.get_clock().now().to_msg()))
    except ImportError:
        node.get_logger().info("vision_msgs is not installed: ~/label_info is not published, ~/label_table is")
        return [plain]
    publisher = node.create_publisher(type(info), f"~/{LABEL_INFO}", LATCHED)
    publisher.publish(info)
    return [publisher, plain]
