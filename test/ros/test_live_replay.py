"""A bag played live: recorded bytes and quality of service, the bag's time, and the masks of the offline replay."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import psutil
import pytest
from bags import CAMERA_QOS, DELAY_NS, TF_QOS, TYPES, stamp, street, transform, write_bag, write_ros1_bag
from camera_messages import pixels
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from replays import Replay
from rosbags.rosbag2 import StoragePlugin, Writer
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2

from drive_seg.play import bag_player_main
from drive_seg.replay.resultbag import OUTPUTS
from drive_seg.ros import outputs, transport

KEEP_ALL = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=200)
KEEP_ALL_BEST_EFFORT = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=200,
                                  reliability=QoSReliabilityPolicy.BEST_EFFORT)


def play(*arguments, **popen):
    command = [sys.executable, "-m", "drive_seg.play.bag_player_main", *map(str, arguments)]
    return subprocess.Popen(command, env=transport.environment(os.environ), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **popen)


@pytest.fixture
def refused(domain, capsys):
    """What a player says that can play nothing; it runs in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments):
        assert bag_player_main.main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


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


def test_who_comes_late_gets_all_static_transforms(graph, tmp_path):
    """Each was recorded from a publisher of its own, of depth 1. tf2_msgs need not be installed: one transform stands
    for a message with one."""
    kind, bag = "geometry_msgs/msg/TransformStamped", tmp_path / "drive"
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        fixed = writer.add_connection("/tf_static", kind, typestore=TYPES, offered_qos_profiles=[TF_QOS["/tf_static"]])
        moving = writer.add_connection("/tf", kind, typestore=TYPES, offered_qos_profiles=[TF_QOS["/tf"]])
        for number, child in enumerate(["camera_front", "lidar"] + ["wheel"] * 100):
            (message,) = transform("base_link", child, (0, 0, 1), (0, 0, 0, 1)).transforms
            writer.write(fixed if number < 2 else moving, stamp(number), TYPES.serialize_cdr(message, kind))
    wheel = graph.collect(TransformStamped, "/tf")
    player = play(bag)
    assert graph.spin_until(lambda: len(wheel) > 2, 30)
    late = graph.collect(TransformStamped, "/tf_static", QoSProfile(
        depth=100, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL))
    graph.spin_until(lambda: len(late) == 2, 5)
    player.terminate()
    player.wait(20)
    assert [message.child_frame_id for message in late] == ["camera_front", "lidar"]


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
def test_what_can_t_be_played_is_reported(refused, tmp_path, make, arguments, message):
    assert message in refused(make(tmp_path), *arguments)


@contextmanager
def live_node(network, *parameters, compressed=False):
    """The node's process, on the bag's camera."""
    words = [word for p in ("use_sim_time:=true", "engine:=openvino", f"network:={network}",
                            f"image_transport:={'compressed' if compressed else 'raw'}", *parameters)
             for word in ("-p", p)]
    suffix = "/compressed" if compressed else ""
    node = subprocess.Popen([sys.executable, "-m", "drive_seg.ros.main", "--ros-args", *words, "-r",
                             f"image{suffix}:=/camera/image_raw{suffix}", "-r", "camera_info:=/camera/camera_info"],
                            env=transport.environment(os.environ))
    try:
        yield node
    finally:
        node.terminate()
        assert node.wait(60) == 0


def as_array(message):
    """What a ResultReader gives for a message."""
    if isinstance(message, OccupancyGrid):
        return np.asarray(message.data, np.int8).reshape(message.info.height, message.info.width)
    if isinstance(message, LaserScan):
        return np.asarray(message.ranges, np.float32)
    if isinstance(message, PointCloud2):
        return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, 3)
    return pixels(message)


def play_to(graph, bag, image, topics, rate):
    """What comes on the node's topics while a bag is played to it: messages by name."""
    live = {name: graph.collect(kind, f"/drive_seg/{name}", KEEP_ALL) for name, kind in topics.items()}
    assert graph.spin_until(lambda: graph.client.count_subscribers(image) == 1, 60), "the node listens"
    assert graph.spin_until(lambda: graph.client.count_publishers("/drive_seg/labels") == 1)
    graph.spin_for(1.0)  # the node must find the subscriptions to its outputs
    player = play(bag, "--rate", rate)
    graph.spin_until(lambda: player.poll() is not None, 60)
    graph.spin_for(1.0)
    player.communicate()
    return live


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "jpeg"])
def test_live_masks_are_the_offline_masks(graph, colour_network_path, tmp_path, compressed):
    """And so is all else that the node says of a frame."""
    bag = write_bag(tmp_path / "street", 15, compressed=compressed, qos=(CAMERA_QOS,))
    replay = Replay(colour_network_path, tmp_path / "out")
    assert replay(bag, "--outputs", "all", "--camera-height", "1.2", "--camera-pitch", "0.1") == 0
    offline = {m.stamp_ns: m.images for m in replay.masks(outputs=OUTPUTS)}
    topics = {output.name: output.type for output in outputs.OUTPUTS if output.name != "overlay/compressed"}
    with live_node(colour_network_path, "camera_height:=1.2", "camera_pitch:=0.1", compressed=compressed):
        image = "/camera/image_raw" + ("/compressed" if compressed else "")
        for _ in range(3):  # on a busy machine the ground's tables may come after the last frame
            live = play_to(graph, bag, image, topics, 0.5)
            if min(map(len, live.values())) >= 3:
                break
    for name, messages in live.items():
        assert len(messages) >= 3, f"{name}: too few frames to say anything"
        for message in messages:
            expected = offline[ns(message.header.stamp)][name]
            assert np.array_equal(as_array(message), expected, equal_nan=expected.dtype.kind == "f"), name


@pytest.mark.parametrize("policy", ["silent", "unknown"])
def test_a_camera_fault_is_live_what_it_is_offline(graph, colour_network_path, tmp_path, policy):
    """Frames that the node withholds the replay withholds. Within a quarter of a second of the fault's beginning and
    end, dropped frames can shift it."""
    bag = write_bag(tmp_path / "street", 60, qos=(CAMERA_QOS,),
                    paint=lambda i: street(i) if not 15 <= i < 40 else np.zeros((120, 200, 3), np.uint8))
    replay = Replay(colour_network_path, tmp_path / "out")
    assert replay(bag, "--fault-policy", policy) == 0
    frames = replay.frames()
    withheld = {f["stamp_ns"] for f in frames if f["withheld"]}
    near = {f["stamp_ns"] for f in frames
            if any(abs(f["stamp_ns"] - edge) < 0.35e9 for edge in (min(withheld), max(withheld)))}
    offline = {m.stamp_ns: m.images for m in replay.masks()}
    names = ("labels", "drivable_area")
    with live_node(colour_network_path, f"fault_policy:={policy}"):
        live = play_to(graph, bag, "/camera/image_raw", dict.fromkeys(names, Image), 1)
    for name in names:
        masks = {ns(m.header.stamp): pixels(m) for m in live[name] if ns(m.header.stamp) not in near}
        assert masks.keys() <= offline.keys()
        assert min(masks) < min(withheld) and max(masks) > max(withheld), "on both sides of the fault"
        assert bool(masks.keys() & withheld) is (policy == "unknown")
        assert all(np.array_equal(mask, offline[stamp_ns][name]) for stamp_ns, mask in masks.items()), name


ROS2 = '''#!{python}
"""Stands for the `ros2` of a ROS installation, which no wheel brings: takes the words that every `ros2 bag play` since
Humble takes, and plays with the package's own player."""
import argparse, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("bag_path")
parser.add_argument("-r", "--rate", type=float, default=1.0)
parser.add_argument("--topics", nargs="+", default=[])
parser.add_argument("-l", "--loop", action="store_true")
parser.add_argument("--clock", type=float, nargs="?", const=40, default=0)
parser.add_argument("-d", "--delay", type=float, default=0.0)
parser.add_argument("--disable-keyboard-controls", action="store_true")
parser.add_argument("-m", "--remap", nargs="+", default=[])
assert sys.argv[1:3] == ["bag", "play"], sys.argv
options = parser.parse_args(sys.argv[3:])
if "{broken}":
    sys.exit("[ERROR] [rosbag2]: no storage could be initialized")
from pathlib import Path
import rclpy
from drive_seg.sources.bag import Bag
from drive_seg.play.bag_player import BagPlayer
rclpy.init(args=["--ros-args"] + [word for rule in options.remap for word in ("-r", rule)])
player = BagPlayer(rclpy.create_node("rosbag2_player"), Bag(Path(options.bag_path)), options.topics, options.rate)
time.sleep(options.delay)
player.play(loop=options.loop)
'''


@pytest.fixture
def ros2_bag(tmp_path, monkeypatch):
    """Lays a stand-in for ros2bag where it would be; called with True, one that fails."""
    def lay(broken=False):
        marker = tmp_path / "ros/share/ament_index/resource_index/packages/ros2bag"
        script = tmp_path / "ros/bin/ros2"
        for path in (marker, script):
            path.parent.mkdir(parents=True)
        marker.touch()
        script.write_text(ROS2.format(python=sys.executable, broken="broken" if broken else ""))
        script.chmod(0o755)
        monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "ros"))
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")

    return lay


def reported(text):
    """The frames and the last line of what a player says with --report."""
    *frames, end = map(json.loads, text.splitlines())
    return frames, end


def test_ros2_bag_play_is_taken_where_it_is_installed_and_watched(graph, tmp_path, ros2_bag):
    ros2_bag()
    bag = write_bag(tmp_path / "drive", 20)
    images = graph.collect(Image, "/camera/image_raw", KEEP_ALL_BEST_EFFORT)
    player = play(bag, "--report", "/camera/image_raw", "--rate", "2", "--duration", "1.5")
    out, errors = player.communicate(timeout=40)
    frames, end = reported(out)
    assert player.returncode == 0, errors
    assert [frame["name"] for frame in frames] == [f"{i:06d}" for i in range(15)], "1.5 s at 10 Hz"
    assert [frame["stamp_ns"] for frame in frames] == [stamp(i) for i in range(15)]
    took = (frames[-1]["sent_ns"] - frames[0]["sent_ns"]) / 1e9
    assert 0.6 < took < 5, "1.4 s at twice the rate"
    assert end["player"] == "ros2 bag play" and set(end["late_ms"]) == {"p50", "p95", "max"}
    graph.spin_until(lambda: len(images) >= 15, 5)
    assert [ns(m.header.stamp) for m in images[:15]] == [stamp(i) for i in range(15)]


def test_its_loop_ends_when_told_to(graph, tmp_path, ros2_bag):
    ros2_bag()
    images = graph.collect(Image, "/camera/image_raw", KEEP_ALL_BEST_EFFORT)
    player = play(write_bag(tmp_path / "drive", 5), "--loop", start_new_session=True)
    assert graph.spin_until(lambda: len(images) >= 12, 30)
    os.killpg(player.pid, signal.SIGINT)
    out, errors = player.communicate(timeout=20)
    assert (player.returncode, "Traceback" in errors) == (0, False), errors


def test_what_ros2_bag_play_says_when_it_fails_is_reported(refused, graph, tmp_path, ros2_bag):
    ros2_bag(broken=True)
    graph.collect(Image, "/camera/image_raw", KEEP_ALL_BEST_EFFORT)
    errors = refused(write_bag(tmp_path / "drive", 3))
    assert "no storage could be initialized" in errors and "--player own" in errors


def test_without_it_asking_for_it_names_the_fix(refused, tmp_path):
    errors = refused(write_bag(tmp_path / "drive", 3), "--player", "ros2bag")
    assert "ros2bag" in errors and "--player own" in errors


@pytest.mark.parametrize("theirs", [False, True], ids=["own", "ros2bag"])
def test_topics_can_be_remapped_and_a_duration_needs_no_report(graph, tmp_path, ros2_bag, theirs):
    if theirs:
        ros2_bag()
    images = graph.collect(Image, "/elsewhere", KEEP_ALL_BEST_EFFORT)
    player = play(write_bag(tmp_path / "drive", 30), "--duration", "0.5", "--ros-args", "-r",
                  "/camera/image_raw:=/elsewhere")
    assert graph.spin_until(lambda: len(images) >= 5, 30)
    _, errors = player.communicate(timeout=20)
    assert player.returncode == 0, errors
    graph.spin_for(0.3)
    assert len(images) < 20, "0.5 s at 10 Hz, and what came until ros2 bag play had ended"


def test_ended_by_sigterm_it_leaves_no_ros2_bag_play_behind(graph, tmp_path, ros2_bag):
    ros2_bag()
    images = graph.collect(Image, "/camera/image_raw", KEEP_ALL_BEST_EFFORT)
    player = play(write_bag(tmp_path / "drive", 5), "--loop")
    assert graph.spin_until(lambda: len(images) >= 3, 30)
    children = psutil.Process(player.pid).children()
    player.terminate()
    player.communicate(timeout=20)
    assert player.returncode == 128 + signal.SIGTERM
    psutil.wait_procs(children, 5)
    assert children and not any(child.is_running() for child in children)
