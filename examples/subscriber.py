"""Take the node's drivable area in a node of your own: python3 examples/subscriber.py"""

from contextlib import suppress

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image


def on_mask(message: Image) -> None:
    """A mask is mono8, 255 where the vehicle can drive; its header is the camera image's."""
    mask = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :message.width]
    ahead = mask[-message.height // 4:, message.width // 3: -message.width // 3]
    print(f"{message.header.stamp.sec}: {(ahead != 0).mean():.0%} of what lies right ahead is drivable", flush=True)


rclpy.init()
node = rclpy.create_node("my_planner")
node.create_subscription(Image, "/drive_seg/drivable_area", on_mask, qos_profile_sensor_data)
with suppress(KeyboardInterrupt, ExternalShutdownException):
    rclpy.spin(node)
