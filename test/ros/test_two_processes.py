"""The node in a process of its own, large images over DDS: nothing is lost on the way."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from camera_messages import image, pixels
from colours import paint_scene
from rclpy.qos import QoSHistoryPolicy, QoSProfile
from sensor_msgs.msg import Image

from drive_seg.core.classes import Group
from drive_seg.ros import transport


@pytest.fixture
def node_process(domain, colour_network_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "drive_seg.ros.main", "--ros-args", "-p", f"network:={colour_network_path}",
         "-p", "engine:=openvino", "-p", "frozen_timeout:=0.0"],
        env=transport.environment(os.environ), stderr=subprocess.PIPE, text=True)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_every_large_frame_arrives_and_is_answered(graph, node_process):
    camera = graph.publisher(Image, "image")
    keep_all = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=10)
    labels = graph.collect(Image, "/drive_seg/labels", keep_all)
    assert graph.spin_until(lambda: camera.get_subscription_count() == 1, 30)
    scene = paint_scene(720, 1280)
    # Each side finds the other in its own time, and what a publisher knows says nothing of the subscription: frames
    # count as sent from the first answer on.
    warm_up = image(scene, 1000)
    for _ in range(60):
        camera.publish(warm_up)
        if graph.spin_until(lambda: labels, 0.5):
            break
    assert labels, "no frame got an answer"
    sent = []

    def answers():
        return [m for m in labels if m.header != warm_up.header]  # those before may still be answered

    for number in range(30):
        message = image(scene, number)
        sent.append(message.header)
        camera.publish(message)
        assert graph.spin_until(lambda n=number: len(answers()) > n, 30), f"frame {number} got no answer"
    first, *_, last = own = answers()
    assert [m.header for m in own] == sent
    assert (pixels(last)[700, 640], pixels(last).shape) == (Group.ROAD, (720, 1280))
    assert np.array_equal(first.data, last.data)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_when_told_to(graph, node_process, stop):
    camera = graph.publisher(Image, "image")
    assert graph.spin_until(lambda: camera.get_subscription_count() == 1, 30)
    node_process.send_signal(stop)
    time.sleep(0.05)
    if node_process.poll() is None:
        node_process.send_signal(stop)  # launch sends SIGINT twice
    errors = node_process.communicate(timeout=20)[1]
    assert "Traceback" not in errors
    assert node_process.returncode == 0, errors
