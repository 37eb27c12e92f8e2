"""A bag played live: recorded bytes and quality of service, the bag's time, and the masks of the offline replay."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from bags import CAMERA_QOS, DELAY_NS, stamp, street, write_bag, write_ros1_bag
from camera_messages import pixels
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy, qos_profile_sensor_data
from replays import Replay
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from drive_seg.ros import transport

KEEP_ALL = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=200)


def play(*arguments, **popen):
    command = [sys.executable, "-m", "drive_seg.replay.player", *map(str, arguments)]
    return subprocess.Popen(command, env=transport.environment(os.environ), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **popen)


def ns(time):
    return time.sec * 10**9 + time.nanosec


def test_the_recorded_messages_come_in_the_bag_s_time(graph, tmp_path):
    bag = write_bag(tmp_path / "drive", 10)
    images = graph.collect(Image, "/camera/image_raw", QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST, depth=50, reliability=QoSReliabilityPolicy.BEST_EFFORT))
    infos = graph.collect(CameraInfo, "/camera/camera_info")
    clock = graph.collect(Clock, "/clock", KEEP_ALL)
    player = play(bag)
    assert graph.spin_until(lambda: len(images) == 10, 30), len(images)
    assert [ns(m.header.stamp) for m in images] == [stamp(i) for i in range(10)]
    assert all(np.array_equal(np.asarray(m.data).reshape(120, 200, 3), street(i)) for i, m in enumerate(images))
    assert (images[0].header.frame_id, infos[0].k[0]) == ("camera_front", 150.0)
    (publisher,) = graph.client.get_publishers_info_by_topic("/camera/image_raw")
    assert publisher.qos_profile.reliability == QoSReliabilityPolicy.BEST_EFFORT, "as it was recorded"
    out, errors = player.communicate(timeout=30)
    assert (player.returncode, errors) == (0, "")
    assert "20 messages, late by" in out
    graph.spin_for(0.3)
    times = [ns(m.clock) for m in clock]
    assert times == sorted(times) and times[-1] == stamp(9) + DELAY_NS
    assert len(times) > 40, "it ticks between the messages too"


def test_a_loop_makes_time_jump_back(graph, tmp_path):
    bag = write_bag(tmp_path / "drive", 4)
    images = graph.collect(Image, "/camera/image_raw")
    clock = graph.collect(Clock, "/clock", KEEP_ALL)
    player = play(bag, "--loop", "--rate", 4)
    assert graph.spin_until(lambda: len(images) >= 9, 30)
    player.terminate()
    player.wait(20)
    stamps = [ns(m.header.stamp) for m in images]
    assert any(b < a for a, b in pairwise(stamps))
    assert any(ns(b.clock) < ns(a.clock) for a, b in pairwise(clock))


@pytest.mark.parametrize(("make", "arguments", "message"), [
    (lambda p: write_bag(p / "drive", 2), ["--topics", "/nope"], "no topic /nope; it has /camera/"),
    (lambda p: write_bag(p / "drive", 2), ["--rate", "0"], "rate must be positive"),
    (lambda p: write_bag(p / "drive", 2), ["--wait", "0.2"], "nobody subscribed to /camera/image_raw"),
    (lambda p: write_ros1_bag(p / "drive.bag", 2), [], "ROS 1 bag: convert it"),
    (lambda p: p / "drive", [], "there is no bag at"),
], ids=["topic", "rate", "nobody", "ros1", "missing"])
def test_what_can_t_be_played_is_told(domain, tmp_path, make, arguments, message):
    out, errors = play(make(tmp_path), *arguments).communicate(timeout=60)
    assert message in errors and "Traceback" not in errors


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "jpeg"])
def test_live_masks_are_the_offline_masks(graph, colour_network_path, tmp_path, compressed):
    bag = write_bag(tmp_path / "street", 15, compressed=compressed, qos=(CAMERA_QOS,))
    replay = Replay(colour_network_path, tmp_path / "out")
    assert replay(bag) == 0
    offline = {m.stamp_ns: m.images for m in replay.masks()}
    image = "/camera/image_raw" + ("/compressed" if compressed else "")
    node = subprocess.Popen(
        [sys.executable, "-m", "drive_seg.ros.main", "--ros-args", "-p", f"network:={colour_network_path}",
         "-p", "engine:=openvino", "-p", "use_sim_time:=true", "-p",
         f"image_transport:={'compressed' if compressed else 'raw'}",
         "-r", f"image{'/compressed' if compressed else ''}:={image}", "-r", "camera_info:=/camera/camera_info"],
        env=transport.environment(os.environ))
    try:
        live = {name: graph.collect(Image, f"/drive_seg/{name}", KEEP_ALL)
                for name in ("labels", "drivable_area", "classes", "confidence")}
        kind = CompressedImage if compressed else Image
        seen = graph.collect(kind, image, qos_profile_sensor_data)
        assert graph.spin_until(lambda: graph.client.count_subscribers(image) == 2, 60), "the node listens"
        assert graph.spin_until(lambda: graph.client.count_publishers("/drive_seg/labels") == 1)
        graph.spin_for(1.0)  # the node must find the subscriptions to its outputs
        player = play(bag, "--rate", 0.5)
        graph.spin_until(lambda: player.poll() is not None, 60)
        graph.spin_for(1.0)
        player.communicate()
        assert seen
        for name, messages in live.items():
            assert len(messages) >= 3, f"{name}: too few frames to say anything"
            for message in messages:
                assert np.array_equal(pixels(message), offline[ns(message.header.stamp)][name]), name
    finally:
        node.terminate()
        node.wait(60)
