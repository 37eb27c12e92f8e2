"""What ~/health says of a running node, and that it is what its masks do."""

import itertools
import json
import threading
import time

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from camera_messages import image, pixels
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool

from drive_seg.core.classes import Group
from drive_seg.core.decode import Decoded
from drive_seg.core.engine import EngineError
from drive_seg.ros.label_info import LATCHED


class Watched:
    """An active node with a camera that plays a real drive, and all that it says."""

    def __init__(self, graph, network, frames, **parameters):
        self.graph, self.frames = graph, itertools.cycle(frames)
        self.node = graph.segmentation(network=str(network), engine="openvino", **parameters)
        self.camera = graph.publisher(Image, "image")
        self.masks = graph.collect(Image, "/drive_seg/drivable_area")
        self.health = graph.collect(String, "/drive_seg/health", LATCHED)
        assert graph.connected(self.camera)
        assert graph.spin_until(lambda: self.health and graph.client.count_publishers("/drive_seg/drivable_area"))
        assert graph.spin_until(lambda: self.publisher("drivable_area").get_subscription_count())

    def publisher(self, output):
        return {o.topic: p for o, p in self.node.configured.publishers.items()}[f"~/{output}"]

    def play(self, seconds, period=0.05, **changes):
        """One image each period. changes: of the messages' fields."""
        for _ in range(round(seconds / period)):
            self.camera.publish(image(next(self.frames), **changes))
            self.graph.spin_for(period)

    @property
    def states(self):
        return [json.loads(m.data)["state"] for m in self.health]

    @property
    def reasons(self):
        """All that were ever reported, in one text."""
        return "; ".join(r for m in self.health for r in json.loads(m.data)["reasons"])


@pytest.fixture(scope="module")
def frames(drive):
    return [cv2.resize(frame, (640, 360), interpolation=cv2.INTER_AREA) for frame in drive]


@pytest.fixture
def watched(graph, colour_network_path, frames):
    """Starts a Watched node with the given parameters."""
    return lambda **parameters: Watched(graph, colour_network_path, frames, **parameters)


def test_an_engine_that_stalls_is_no_silent_camera(watched):
    node = watched(camera_timeout=0.3)
    node.play(0.3)
    go_on, engine = threading.Event(), node.node.configured.pipeline.segmenter.engine
    quick, engine.decode = engine.decode, lambda *a: (go_on.wait(10), quick(*a))[1]
    try:
        node.play(1.0)
        assert node.node.active.worker.mailbox.dropped > 5
    finally:
        go_on.set()
    assert "no image for" not in node.reasons, node.reasons


def test_latency_counts_the_wait_for_the_frame_before(graph, watched):
    """A frame that waits 0.5 s behind another one: its masks come that long after it was received."""
    node = watched()
    node.play(0.2)
    engine, mailbox = node.node.configured.pipeline.segmenter.engine, node.node.active.worker.mailbox
    begun, go_on, quick = threading.Event(), threading.Event(), engine.decode
    engine.decode = lambda *a: (begun.set(), go_on.wait(10), quick(*a))[2]
    try:
        seen, received = len(node.masks), mailbox.received
        node.play(0.05)
        assert graph.spin_until(begun.is_set)
        node.play(0.05)
        assert graph.spin_until(lambda: mailbox.received == received + 2)
        time.sleep(0.5)
    finally:
        go_on.set()
    assert graph.spin_until(lambda: len(node.masks) == seen + 2)
    graph.spin_for(0.1)
    now = node.node.get_clock().now().nanoseconds / 1e9
    latency = next(s for s in node.node.configured.pipeline.monitor.statuses(now) if s.name == "latency")
    assert float(latency.values["p99"].removesuffix(" ms")) > 450


def test_masks_between_failures_are_no_fault(watched):
    """The engine fails on every other frame, and one message in five has no bytes."""
    node = watched()
    node.play(0.3)
    engine = node.node.configured.pipeline.segmenter.engine
    quick, fails = engine.decode, itertools.cycle([True, False])

    def flaky(*arguments):
        if next(fails):
            raise EngineError("out of memory")
        return quick(*arguments)

    engine.decode = flaky
    seen = len(node.masks)
    for _ in range(8):
        node.play(0.2)
        node.play(0.05, data=b"")
    assert len(node.masks) > seen + 5
    assert "unusable" in node.reasons and "out of memory" in node.reasons
    assert "FAULT" not in node.states and node.states[-1] == "DEGRADED"
    fails = itertools.repeat(True)
    node.play(1.0)
    seen = len(node.masks)
    assert node.states[-1] == "FAULT"
    node.play(0.3)
    assert len(node.masks) == seen


def test_labels_from_before_a_pause_hold_nothing_back(graph, watched):
    """The temporal filter holds an unsure change back, but not against what was seen before a pause."""
    node = watched(temporal_filter=True, frozen_timeout=0.0)
    labels = graph.collect(Image, "/drive_seg/labels")
    assert graph.spin_until(lambda: node.publisher("labels").get_subscription_count())

    def shown(label):
        """The label that comes out where the network says this one, unsure."""
        node.node.configured.pipeline.segmenter.engine.decode = lambda frame, size, stages: Decoded(
            *(np.full(size, value, np.uint8) for value in (0, label, 100)))
        before = len(labels)
        node.camera.publish(image(next(node.frames)))
        assert graph.spin_until(lambda: len(labels) > before)
        return pixels(labels[-1])[0, 0]

    one, other = Group.PAVEMENT, Group.OBSTACLE
    assert [shown(label) for label in (one, other, one)] == [one, one, one], "held back"
    for active in (False, True):
        assert graph.call(SetBool, "/drive_seg/enable", SetBool.Request(data=active)).success
    assert graph.connected(node.camera)
    assert graph.spin_until(lambda: node.publisher("labels").get_subscription_count())
    assert [shown(label) for label in (other, one, other)] == [other, other, other]
    graph.spin_for(0.6)
    assert shown(one) == one


def test_how_long_no_image_may_come_can_change_while_it_runs(graph, watched):
    node = watched()
    for seconds, state in ((0.3, "FAULT"), (60.0, "DEGRADED")):  # no image yet
        request = SetParameters.Request(parameters=[Parameter("camera_timeout", value=seconds).to_parameter_msg()])
        assert graph.call(SetParameters, "/drive_seg/set_parameters", request).results[0].successful
        assert graph.spin_until(lambda state=state: node.states[-1] == state, 1.5), node.states
    assert "no image for" in node.reasons


def latest(graph):
    """What ~/health says to who comes only now: (state, reasons)."""
    came = graph.collect(String, "/drive_seg/health", LATCHED)
    assert graph.spin_until(lambda: came, 3.0), "nothing is latched"
    graph.spin_for(0.2)
    (message,) = came
    return tuple(json.loads(message.data)[key] for key in ("state", "reasons"))


def test_who_comes_late_learns_that_the_node_is_inactive(graph, colour_network_path):
    node = graph.segmentation(network=str(colour_network_path), engine="openvino", autostart=False)
    assert latest(graph) == ("INACTIVE", [])
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    state, (reason,) = latest(graph)
    assert state == "DEGRADED" and "no image yet" in reason
    assert graph.call(SetBool, "/drive_seg/enable", SetBool.Request(data=False)).success
    assert latest(graph) == ("INACTIVE", [])
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert latest(graph) == ("INACTIVE", [])


def test_who_comes_late_learns_why_the_node_could_not_be_configured(graph, colour_network_path, tmp_path):
    node = graph.segmentation(network=str(tmp_path / "gone.onnx"))
    state, (reason,) = latest(graph)
    assert state == "INACTIVE" and "can't be configured" in reason and "gone.onnx" in reason
    node.set_parameters([Parameter("network", value=str(colour_network_path))])
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert latest(graph) == ("INACTIVE", []), "no more"


def test_no_clock_is_no_healthy_camera(graph, watched):
    """With use_sim_time and no /clock, time stands still: not even a frozen, black camera could be reported."""
    node = watched(use_sim_time=True)
    arrays = graph.collect(DiagnosticArray, "/diagnostics")
    for number in range(40):
        node.camera.publish(image(np.zeros((360, 640, 3), np.uint8), number))
        graph.spin_for(0.05)
    assert graph.spin_until(lambda: node.states[-1] == "FAULT", 3)
    assert "the clock stands still" in node.reasons
    assert any("the clock stands still" in status.message for array in arrays for status in array.status)
    seen = len(node.masks)
    node.play(0.5)
    assert len(node.masks) == seen, "nothing that can't be judged goes out"


def test_several_cameras_have_diagnostics_of_their_own(graph, colour_network_path):
    arrays = graph.collect(DiagnosticArray, "/diagnostics")
    graph.segmentation(network=str(colour_network_path), engine="openvino", namespace="front")
    assert graph.spin_until(lambda: arrays)
    (array, *_) = arrays
    assert {status.name.partition(":")[0] for status in array.status} == {"front/drive_seg"}
    assert {status.hardware_id for status in array.status} == {"front/drive_seg"}


def test_health_goes_on_when_the_clock_is_set_back(graph, watched):
    """As by a bag in a loop with use_sim_time."""
    clock = graph.publisher(Clock, "/clock", 10)
    node = watched(use_sim_time=True, camera_timeout=0.5)
    assert graph.connected(clock)

    def play(start, seconds, camera=True):
        for i in range(round(seconds / 0.04)):
            now = Time(sec=start, nanosec=i % 25 * 40_000_000)
            now.sec += i // 25
            clock.publish(Clock(clock=now))
            if camera:
                message = image(next(node.frames))
                message.header.stamp = now
                node.camera.publish(message)
            graph.spin_for(0.04)

    play(1000, 3)
    assert node.states[-1] == "READY"
    play(1000, 2)
    assert "time jumped back by" in node.reasons and node.states[-1] == "READY"
    seen = len(node.masks)
    play(1002, 1)
    assert len(node.masks) > seen + 5 and "images a second" not in node.reasons
    play(1003, 1, camera=False)
    assert node.states[-1] == "FAULT" and "no image for" in node.reasons
