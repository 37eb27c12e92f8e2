"""What the node has while it is active: one camera's subscriptions, the threads that work on its frames, its health."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from drive_seg.errors import DriveSegError
from drive_seg.ros.configured import ConfiguredCamera, prefix
from drive_seg.ros.geometry import Geometry
from drive_seg.ros.health import HealthPublisher, HealthTopic
from drive_seg.ros.joint import JointGround
from drive_seg.ros.log import Throttle
from drive_seg.ros.worker import Worker

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

if TYPE_CHECKING:
    from drive_seg.ros.node import SegmentationNode

CAMERA_QOS = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
"""SensorDataQoS with depth 1: the newest frame or none."""

_LATCHED_QOS = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=1, reliability=QoSReliabilityPolicy.RELIABLE,
                          durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class Active:
    """One camera, from activation to deactivation. Opened whole, or not at all; `close` may be called twice."""

    def __init__(self, node: SegmentationNode, configured: ConfiguredCamera, health_topic: HealthTopic,
                 joint: JointGround | None = None) -> None:
        """joint: what this camera and others make together."""
        self._node, self._pipeline = node, configured.pipeline
        self._name, self._prefix = configured.name, prefix(configured.name)
        self._throttle = Throttle()
        with ExitStack() as opened:
            self._health: HealthPublisher | None = None
            opened.callback(self._end_health)  # the last to end
            settings = self._pipeline.settings
            self.geometry = Geometry(settings.mount, configured.pose_source, self._pipeline.ego, self._no_ground)
            self.worker = Worker(self._pipeline, configured.publishers, self._complain, self.geometry, node.now,
                                 configured.turn, None if joint is None else joint.of(configured.name))
            self.worker.start()
            opened.callback(self.worker.stop)
            # Images are waited for from here on. 0: with use_sim_time, while there is no /clock.
            self._pipeline.start(node.now() or None)
            self.topic = self._subscribe(opened, settings.image_transport == "compressed").topic_name
            opened.callback(node.destroy_timer, node.create_timer(1.0, self._watch))
            self._health = HealthPublisher(node, self._pipeline.monitor, health_topic, self._name,
                                           lambda: self.worker.account)
            self._opened = opened.pop_all()

    def _subscribe(self, opened: ExitStack, compressed: bool) -> Subscription:
        node = self._node

        def subscribe(kind: type, topic: str, callback, qos: QoSProfile, **options) -> Subscription:
            subscription = node.create_subscription(kind, topic, callback, qos, **options)
            opened.callback(node.destroy_subscription, subscription)
            return subscription

        # Twice: a CameraInfo that was latched before the start comes to the second, and that alone takes no other.
        # Neither fits every publisher, of which rclpy would warn.
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
        for qos in (CAMERA_QOS, _LATCHED_QOS):
            subscribe(CameraInfo, f"{self._prefix}camera_info", self._on_camera_info, qos, event_callbacks=quiet)
        receive = self.worker.receive
        # Humble says nothing about a message, and the executor for several cameras raises where it should.
        if node.several or not hasattr(Subscription, "CallbackType"):
            receive = partial(receive, info={})
        if compressed:
            return subscribe(CompressedImage, compressed_topic(node, self._prefix), receive, CAMERA_QOS)
        return subscribe(Image, f"{self._prefix}image", receive, CAMERA_QOS)

    def close(self) -> None:
        """Stop listening, after the frame in work."""
        self._opened.close()

    def _end_health(self) -> None:
        if self._health is not None:
            self._health.close()

    def _on_camera_info(self, message: CameraInfo) -> None:
        self.geometry.camera_info = message

    def _watch(self) -> None:
        publishers = self._node.count_publishers(self.topic)
        if publishers > 1:
            self._warn("several", f"{publishers} nodes publish on {self.topic}: frames of several cameras mix; give"
                       " each camera its own topic and node")
        silent = self._pipeline.monitor.silence(self._node.now())
        if silent > self._pipeline.settings.camera_timeout:
            if publishers == 0:
                why = f"nobody publishes there: check the camera driver and the remapping of `{self._prefix}image`"
            else:
                why = "a publisher is there but nothing arrives: check that large images fit the transport" \
                    " (drive-seg doctor)"
            self._warn("silent", f"no image on {self.topic} for {silent:.0f} s; {why}")

    def _complain(self, kind: str, text: str) -> None:
        line = self._throttle.line(kind, self._whose(text))
        if line is None:
            return
        if kind == "bad_message":
            self._node.get_logger().warning(line)
        else:
            self._node.get_logger().error(line)

    def _warn(self, kind: str, text: str) -> None:
        line = self._throttle.line(kind, self._whose(text))
        if line is not None:
            self._node.get_logger().warning(line)

    def _whose(self, text: str) -> str:
        return f"{self._name}: {text}" if self._name else text

    def _no_ground(self, error: DriveSegError) -> None:
        self._warn("geometry", f"no grid, scan or points: {error}")
        reason = f"no grid, scan or points, {error.reason}"
        self._pipeline.monitor.failed("geometry", reason, error.fix, self._node.now())


def compressed_topic(node: SegmentationNode, prefix: str = "") -> str:
    """Where compressed images come: image/compressed as it is remapped, else beside what `image` is remapped to.

    prefix: of one of several cameras, `front/`.
    """
    image = f"{prefix}image"
    plain = node.resolve_topic_name(f"{image}/compressed", only_expand=True)
    remapped = node.resolve_topic_name(f"{image}/compressed")
    return remapped if remapped != plain else f"{node.resolve_topic_name(image)}/compressed"
