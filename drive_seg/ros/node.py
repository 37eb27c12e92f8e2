"""The managed (lifecycle) node: camera topics in, label images and drivable area out."""

from __future__ import annotations

import functools
import threading
import time
import traceback
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from drive_seg.pipeline import CANNOT_OPEN
from drive_seg.rig import Rig
from drive_seg.ros import parameters
from drive_seg.ros.active import Active
from drive_seg.ros.background import attempt, configure_in_background
from drive_seg.ros.configured import Configured, prefix
from drive_seg.ros.guarded import Guard
from drive_seg.ros.health import INACTIVE, HealthPublisher, HealthTopic
from drive_seg.settings import Settings

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
    """Configuring opens the engine and the publishers; activating opens the subscriptions and starts the workers.

    rig: the settings in force, from when configuring begins until clean-up. configured: what the node has in that
    state, None before. cameras: what each camera has while the node is active and the camera is not switched off, by
    name; one camera alone has the name "".
    """

    def __init__(self, **options) -> None:
        """options: what rclpy.node.Node takes besides its name. Raises ParameterError for a value that can't be one."""
        self._guard = Guard(self)  # before rclpy makes its own services
        super().__init__("drive_seg", **options)
        self.configuring: threading.Thread | None = None  # since somebody asked for it by the life cycle's service
        configure_in_background(self, functools.partial(setattr, self, "configuring"))
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.rig: Rig | None = None
        self.configured: Configured | None = None
        self.cameras: dict[str, Active] = {}
        self._listens = False
        self._listening = threading.RLock()  # the life cycle and the services that switch cameras run in two threads
        self._joint_health: HealthPublisher | None = None
        self._health_topic = HealthTopic(self)
        self._enable = self.create_service(SetBool, "~/enable", self._on_enable)
        self._names = tuple(self.get_parameter("cameras").value) or ("",)
        self._off: set[str] = set()
        self._health_topics = {name: HealthTopic(self, prefix(name)) if name else self._health_topic
                               for name in self._names}
        self._enables = [self.create_service(SetBool, f"~/{name}/enable",
                                             functools.partial(self._on_enable_camera, name))
                         for name in self._names if name]

    @property
    def settings(self) -> Settings | None:
        """The settings in force that all cameras share, None while there are none."""
        return None if self.rig is None else self.rig.common

    @property
    def several(self) -> bool:
        """Whether its cameras have names."""
        return self._names != ("",)

    @property
    def active(self) -> Active | None:
        """What the first camera has while it is active."""
        return self.cameras.get(self._names[0])

    def start_up(self) -> None:
        """Configure and activate, unless the parameter autostart says otherwise. Failing leaves it unconfigured."""
        if self.get_parameter("autostart").value and attempt(self, self.trigger_configure) == _OK \
                and self.context.ok():
            attempt(self, self.trigger_activate)

    def create_subscription(self, msg_type: Any, topic: str, callback: Any, *args: Any, **options: Any) -> Any:
        """As rclpy's; see Guard."""
        return super().create_subscription(msg_type, topic, self._guard.callback(callback), *args, **options)

    def create_timer(self, timer_period_sec: float, callback: Any, *args: Any, **options: Any) -> Any:
        """As rclpy's; see Guard."""
        return super().create_timer(timer_period_sec, self._guard.callback(callback), *args, **options)

    def create_service(self, srv_type: Any, srv_name: str, callback: Any, *args: Any, **options: Any) -> Any:
        """As rclpy's; see Guard."""
        return super().create_service(srv_type, srv_name, self._guard.service(callback), *args, **options)

    def now(self) -> float:
        """Seconds of the node's clock."""
        return self.get_clock().now().nanoseconds / 1e9

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open network, engine and publishers; on an error say it once and stay unconfigured."""
        start = time.monotonic()
        try:
            self.rig = parameters.read(self)
            self.configured = Configured(self, self.rig)
        except (*CANNOT_OPEN, FileNotFoundError, ValueError) as error:
            self.get_logger().error(f"can't be configured: {error}")
            self._health_topic.report(INACTIVE, [f"can't be configured: {error}"])
            self.close()
            return _FAILED
        self._use(self.rig)  # live ones may have changed meanwhile
        self._health_topic.report(INACTIVE)  # what was reported of an earlier attempt holds no more
        facts = self.configured.model.facts
        self.get_logger().info(f"network {facts['network']} ({facts['input']}) on {facts['engine']}"
                               f" {facts['precision']}, {facts['device']}; ready after"
                               f" {time.monotonic() - start:.1f} s")
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen to the cameras."""
        try:
            self._start_listening()
        except BaseException:
            self._stop_listening()
            raise
        topics = ", ".join(active.topic for active in list(self.cameras.values()))
        self.get_logger().info(f"active: waiting for images on {topics}")
        return super().on_activate(state)

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; takes nothing until activated again."""
        self._stop_listening()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back engine and publishers."""
        self.close()
        return super().on_cleanup(state)

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from any state."""
        self.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected error in a transition: back to unconfigured."""
        self.close()
        self._health_topic.report(INACTIVE, ["an unexpected error: see the node's log"])
        return _OK

    def close(self) -> None:
        """End threads and engine before the process ends; safe to call twice."""
        self._stop_listening()
        if self.configured is not None:
            self.configured.close()
        self.configured = self.rig = None

    def destroy_node(self) -> None:
        """As rclpy's, and the life cycle's services end too.

        rclpy leaves these to the garbage collector. Until it comes they are part of the graph, and with more of them
        than there are nodes no client finds the service of the next node of this name in this process.
        """
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def _start_listening(self) -> None:
        assert self.configured is not None  # the life cycle configures first
        with self._listening:
            self._listens, joint = True, self.configured.joint
            if joint is not None:
                for name in self._names:  # switched perhaps before there was this joint ground
                    joint.switch(name, name not in self._off)
                joint.start()
                self._joint_health = HealthPublisher(self, joint, self._health_topic)
            for name in self._names:
                if name not in self._off:
                    self._start_camera(name)

    def _start_camera(self, name: str) -> None:
        assert self.configured is not None
        self.cameras[name] = Active(self, self.configured.cameras[name], self._health_topics[name],
                                    self.configured.joint)

    def _stop_listening(self) -> None:
        with self._listening:
            self._listens = False
            for name in list(self.cameras):
                self.cameras.pop(name).close()
            if self._joint_health is not None:
                self._joint_health.close()
                self._joint_health = None

    def _use(self, rig: Rig) -> None:
        assert self.configured is not None
        for name, settings in rig.cameras.items():
            self.configured.cameras[name].use(settings)

    def _on_enable_camera(self, name: str, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Listen to one of several cameras, or not; also while the node is inactive, for when it is active again."""
        with self._listening:
            before = name not in self._off
            (self._off.discard if request.data else self._off.add)(name)
            if self.configured is not None and self.configured.joint is not None:
                self.configured.joint.switch(name, request.data)
            if self._listens and request.data and name not in self.cameras:
                self._start_camera(name)
            elif not request.data and name in self.cameras:
                self.cameras.pop(name).close()
        word = "active" if request.data else "inactive"
        response.success, response.message = True, word if before != request.data else f"{word} already"
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Activate or deactivate; while inactive the node listens to no image."""
        if self.configured is None:
            response.success, response.message = False, "the node is not configured"
        elif request.data == self._listens:
            response.success, response.message = True, "active already" if request.data else "inactive already"
        else:
            trigger = self.trigger_activate if request.data else self.trigger_deactivate
            response.success = attempt(self, trigger) == _OK
            response.message = ("active" if request.data else "inactive") if response.success else "see the node's log"
        return response

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        # There are settings from when configuring begins, which can take minutes.
        result, rig = parameters.check(self, changes, self.rig)
        if rig is not None:
            self.rig = rig
            if self.configured is not None:
                self._use(rig)
        return result
