"""What an executor looks at once a second: it takes nothing in between, and warnings come all the same."""

import time

import pytest
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

from drive_seg.ros.throttled_callbacks import ThrottledCallbacks


def test_it_opens_once_a_second_for_all_of_them(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    group, opened = ThrottledCallbacks(), []
    for step in range(300):
        now[0] = 100 + step / 100
        if group.can_execute("first"):
            assert group.can_execute("second"), "all that are looked at in one go"
            opened.append(now[0])
    starts = [at for before, at in zip([0, *opened], opened, strict=False) if at - before > 0.5]
    assert starts == pytest.approx([100.0, 101.0, 102.0]) and len(opened) <= 18


def test_an_executor_is_spared_the_outputs_events_and_a_subscription_that_does_not_fit_is_reported(
        graph, colour_network_path, capfd):
    node = graph.segmentation(network=str(colour_network_path), engine="openvino")
    events = [event for publisher in node.configured.publishers.values() for event in publisher.event_handlers]
    assert len(events) >= len(node.configured.publishers)
    assert graph.spin_until(lambda: not any(graph.executor.can_execute(event) for event in events))
    graph.client.create_subscription(Image, "/drive_seg/labels", print,
                                     QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL))
    said = []

    def reported():
        said.append(capfd.readouterr().err)
        return "'~/labels', requesting incompatible QoS" in "".join(said)
    assert graph.spin_until(reported)
