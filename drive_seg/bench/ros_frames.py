"""The two ends of the node for a way of segmenting: images as they come from DDS, masks as they go to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
import rclpy
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from drive_seg.play.graph import wait_for_subscriber
from drive_seg.ros.images import to_image
from drive_seg.ros.outputs import IMAGE_QOS


class RosFrames:
    """Camera images in wire form, and publishers with a subscriber each. Use as a context manager."""

    def __init__(self, frames: Sequence[np.ndarray], domain: int) -> None:
        """frames: (H, W, 3) uint8 BGR."""
        self._wire = [serialize_message(to_image(frame, Header(frame_id="camera"), "bgr8")) for frame in frames]
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        self._publishers: dict[str, Publisher] = {}
        self._subscribed: set[str] = set()
        self.node = rclpy.create_node("drive_seg", context=self._context)

    def receive(self, number: int) -> tuple[Image, float]:
        """Deserialise a frame as rclpy does when one arrives: (message, milliseconds)."""
        start = time.perf_counter()
        message = deserialize_message(self._wire[number % len(self._wire)], Image)
        return message, (time.perf_counter() - start) * 1e3

    def now(self) -> float:
        """Seconds of the node's clock."""
        return self.node.get_clock().now().nanoseconds / 1e9

    def subscribe(self, topic: str, kind: type, qos: QoSProfile | int) -> None:
        """Be its one subscriber."""
        if topic not in self._subscribed:
            self._subscribed.add(topic)
            self.node.create_subscription(kind, topic, lambda message: None, qos)

    def publisher(self, topic: str, kind: type = Image, qos: QoSProfile = IMAGE_QOS) -> Publisher:
        """The publisher of a topic, subscribed to once, so that publishing does all of its work."""
        if topic in self._publishers:
            return self._publishers[topic]
        publisher = self._publishers[topic] = self.node.create_publisher(kind, topic, qos)
        self.subscribe(topic, kind, qos)
        wait_for_subscriber(self.node, [topic], 5.0, grace=0.1)
        return publisher

    def __enter__(self) -> RosFrames:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)
