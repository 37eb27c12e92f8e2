"""The managed (lifecycle) node: camera topics in, label images and drivable area out."""

from __future__ import annotations

import functools
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool

from drive_seg.core.drivable import DrivableRule
from drive_seg.core.engine import Engine, EngineError
from drive_seg.core.health.camera import CameraLimits
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.network import Typical
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import SelfTestError, check_answer
from drive_seg.core.temporal import TemporalFilter
from drive_seg.errors import DriveSegError
from drive_seg.image_file import read_ego_mask
from drive_seg.network import Network, NetworkError
from drive_seg.outputs.warm import warm_up
from drive_seg.resources import default_network
from drive_seg.ros import parameters
from drive_seg.ros.background import attempt, configure_in_background
from drive_seg.ros.geometry import Geometry
from drive_seg.ros.health import INACTIVE, HealthPublisher, HealthTopic
from drive_seg.ros.label_info import publish_label_info
from drive_seg.ros.outputs import OUTPUTS
from drive_seg.ros.pose import PoseSource
from drive_seg.ros.worker import Worker
from drive_seg.runtimes import open_engine

CAMERA_QOS = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
"""SensorDataQoS with depth 1: the newest frame or none."""

_OK, _FAILED = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def _logged(transition):
    """Log what a transition raises: rclpy swallows it and only goes to on_error."""

    @functools.wraps(transition)
    def wrapped(self, state):
        try:
            return transition(self, state)
        except Exception:
            if not self.context.ok():  # a signal ended ROS in the middle of it: nothing is left to do
                return _FAILED
            self.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            raise

    return wrapped


class SegmentationNode(LifecycleNode):
    """Configuring opens the engine and the publishers; activating opens the subscriptions and starts the worker."""

    def __init__(self, **options) -> None:
        """options: what rclpy.node.Node takes besides its name. Raises ParameterError for a value that can't be one."""
        super().__init__("drive_seg", **options)
        configure_in_background(self)
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.settings: SimpleNamespace | None = None
        self.segmenter: Segmenter | None = None
        self.worker: Worker | None = None
        self._result_publishers: dict = {}
        self._camera_subscriptions: list = []
        self._watch = None
        self._latched: list = []
        self._health_topic = HealthTopic(self)
        self._health: HealthPublisher | None = None
        self._pose_source: PoseSource | None = None
        self._engine_info: dict[str, str] = {}
        self._typical: Typical | None = None
        self._ego: np.ndarray | None = None
        self._engine: Engine | None = None
        self._spares: list[Engine] = []
        self._enable = self.create_service(SetBool, "~/enable", self._on_enable)

    def start_up(self) -> None:
        """Configure and activate, unless the parameter autostart says otherwise. Failing leaves it unconfigured."""
        if self.get_parameter("autostart").value and attempt(self, self.trigger_configure) == _OK:
            attempt(self, self.trigger_activate)

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open network, engine and publishers; on an error say it once and stay unconfigured."""
        start = time.monotonic()
        try:
            self.settings = parameters.read(self)
            network = Network.load(self.settings.network or default_network())
            network = network.with_strictness(self.settings.strictness)
            size = (self.settings.input_height, self.settings.input_width)
            self._engine = engine = self._open(self.settings.engine, network, size if all(size) else None)
            self._ego = read_ego_mask(self.settings.ego_mask)
            self.segmenter = Segmenter(engine, network.table, ego=self._ego, surface=network.surface)
            self._check(network, engine)
            self._spares = self._open_spares(network, engine)
            warm_up()
            self.segmenter.temporal = TemporalFilter() if self.settings.temporal_filter else None
            self.segmenter.rule = _rule(self.settings)  # last: live parameters may have changed meanwhile
        except (EngineError, NetworkError, SelfTestError, FileNotFoundError, ValueError) as error:
            self.get_logger().error(f"can't be configured: {error}")
            self._health_topic.report(INACTIVE, [f"can't be configured: {error}"])
            self._release()
            return _FAILED
        self._result_publishers = {
            output: self.create_lifecycle_publisher(output.type, output.topic, output.qos) for output in OUTPUTS}
        height, width = engine.input_size
        self._typical = network.typical
        self._engine_info = {"engine": engine.name, "precision": engine.precision, "device": engine.device,
                             "network": network.name, "input": f"{width}x{height}"}
        self._latched = publish_label_info(self, network.table)
        self._pose_source = PoseSource(self, self.settings)
        self._health_topic.report(INACTIVE)  # what was told of an earlier attempt holds no more
        self.get_logger().info(f"network {network.name} ({width}x{height}) on {engine.name} {engine.precision},"
                               f" {engine.device}; ready after {time.monotonic() - start:.1f} s")
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen to the camera."""
        monitor = Monitor(
            limits=CameraLimits(timeout=self.settings.camera_timeout, frozen=self.settings.frozen_timeout),
            budget=self.settings.latency_budget / 1e3 or None, typical=self._typical,
            ego=None if self._ego is None else self._ego != 0, engine=self._engine_info,
            now=self._now() or None)  # 0: with use_sim_time, while there is no /clock
        geometry = Geometry(self.settings, self._pose_source, self._ego, functools.partial(self._no_ground, monitor))
        self.worker = Worker(self.segmenter, self._result_publishers, self.settings, self._complain, monitor, geometry,
                             self._now, self._spares)
        self.worker.start()
        self._health = HealthPublisher(self, monitor, self._health_topic)
        compressed = self.settings.image_transport == "compressed"
        image = self.create_subscription(CompressedImage if compressed else Image,
                                         "image/compressed" if compressed else "image", self._on_image, CAMERA_QOS)
        info = self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, CAMERA_QOS)
        self._camera_subscriptions = [image, info]
        self._watch = self.create_timer(1.0, self._watch_camera)
        self.get_logger().info(f"active: waiting for images on {image.topic_name}")
        return super().on_activate(state)

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; costs nothing until activated again."""
        self._stop_listening()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back engine and publishers."""
        self._release()
        return super().on_cleanup(state)

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from any state."""
        self._stop_listening()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected error in a transition: back to unconfigured."""
        self._stop_listening()
        self._release()
        self._health_topic.report(INACTIVE, ["an unexpected error: see the node's log"])
        return _OK

    def close(self) -> None:
        """End threads and engine before the process ends; safe to call twice."""
        self._stop_listening()
        self._release()

    def destroy_node(self) -> None:
        """As rclpy's, and the life cycle's services end too.

        rclpy leaves these to the garbage collector. Until it comes they are part of the graph, and with more of them
        than there are nodes no client finds the service of the next node of this name in this process.
        """
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def _stop_listening(self) -> None:
        for subscription in self._camera_subscriptions:
            self.destroy_subscription(subscription)
        self._camera_subscriptions = []
        if self._watch is not None:
            self.destroy_timer(self._watch)
            self._watch = None
        if self.worker is not None:
            self.worker.stop()
            self.worker = None
            self.segmenter.engine = self._engine  # the network's full size again
        if self._health is not None:
            self._health.close()
            self._health = None

    def _release(self) -> None:
        for publisher in self._result_publishers.values():
            self.destroy_lifecycle_publisher(publisher)
        self._result_publishers = {}
        for publisher in self._latched:
            self.destroy_publisher(publisher)
        self._latched = []
        if self._pose_source is not None:
            self._pose_source.close()
            self._pose_source = None
        for engine in self._spares:
            engine.close()
        self._spares = []
        if self._engine is not None:
            self._engine.close()
        self.segmenter = self._engine = self.settings = None

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self.worker is not None:
            self.worker.receive(message)

    def _on_camera_info(self, message: CameraInfo) -> None:
        if self.worker is not None:
            self.worker.camera = message

    def _watch_camera(self) -> None:
        topic = self._camera_subscriptions[0].topic_name
        publishers = self.count_publishers(topic)
        if publishers > 1:
            self.get_logger().warning(f"{publishers} nodes publish on {topic}: frames of several cameras mix; give each"
                                      " camera its own topic and node", throttle_duration_sec=10.0)
        silent = self.worker.monitor.silence(self._now())
        if silent > self.settings.camera_timeout:
            if publishers == 0:
                why = "nobody publishes there: check the camera driver and the remapping of `image`"
            else:
                why = "a publisher is there but nothing arrives: check that large images fit the transport" \
                    " (drive-seg doctor)"
            self.get_logger().warning(f"no image on {topic} for {silent:.0f} s; {why}", throttle_duration_sec=10.0)

    def _complain(self, kind: str, text: str) -> None:
        # Each kind is throttled on its own: rclpy throttles by the place of the call.
        if kind == "bad_message":
            self.get_logger().warning(text, throttle_duration_sec=5.0)
        else:
            self.get_logger().error(text, throttle_duration_sec=5.0)

    def _no_ground(self, monitor: Monitor, kind: str, error: DriveSegError) -> None:
        self.get_logger().warning(f"no grid, scan or points: {error}", throttle_duration_sec=5.0)
        monitor.failed(kind, f"no grid, scan or points, {error.reason}", error.fix, self._now())

    def _open(self, name: str, network: Network, size: tuple[int, int] | None) -> Engine:
        return open_engine(name, network, input_size=size, precision=self.settings.precision,
                           plan_folder=Path(self.settings.plan_folder) if self.settings.plan_folder else None,
                           progress=lambda line: self.get_logger().info(line))

    def _open_spares(self, network: Network, engine: Engine) -> list[Engine]:
        """The same network at three quarters and half of its input size, where a latency budget asks for it."""
        spares: list[Engine] = []
        if not self.settings.latency_budget:
            return spares
        for share in (0.75, 0.5):
            size = tuple(max(32, round(side * share / 32) * 32) for side in engine.input_size)
            try:
                spares.append(self._open(engine.name, network, size))
                self._check(network, spares[-1])
            except SelfTestError as error:
                spares.pop().close()
                self.get_logger().warning(f"{size[1]}x{size[0]} is not prepared for the latency budget: {error}")
            except EngineError as error:
                self.get_logger().warning(f"no smaller input size is prepared for the latency budget: {error}")
                break
        return spares

    def _check(self, network: Network, engine: Engine) -> None:
        if network.self_test is not None:
            check_answer(Segmenter(engine, network.table), network.self_test)

    def _now(self) -> float:
        return self.get_clock().now().nanoseconds / 1e9

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Activate or deactivate; while inactive the node listens to no image."""
        active = self.worker is not None
        if self._pose_source is None:  # what configuring makes last
            response.success, response.message = False, "the node is not configured"
        elif request.data == active:
            response.success, response.message = True, "active already" if active else "inactive already"
        else:
            trigger = self.trigger_activate if request.data else self.trigger_deactivate
            response.success = attempt(self, trigger) == _OK
            response.message = ("active" if request.data else "inactive") if response.success else "see the node's log"
        return response

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        settings = self.settings  # from when configuring begins, which can take minutes
        result = parameters.check(changes, settings)
        if result.successful and settings is not None:
            for change in changes:
                setattr(settings, change.name, change.value)
            if self.segmenter is not None:
                self.segmenter.rule = _rule(settings)
            if self.worker is not None:
                self.worker.monitor.set_timeouts(camera=settings.camera_timeout, frozen=settings.frozen_timeout)
        return result


def _rule(settings: SimpleNamespace) -> DrivableRule:
    return DrivableRule(settings.min_confidence, settings.start_width, settings.start_height)
