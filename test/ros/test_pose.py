"""The camera's pose from TF. tf2_ros is in no wheel, so its interface is played: what it is asked, and what becomes of
its answers. The last tests run on the real one, where it is installed."""

import sys
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import rclpy
from camera_messages import header
from geometry_msgs.msg import TransformStamped
from rclpy.time import Time

from drive_seg.ros.pose import PoseError, PoseSource

SETTINGS = SimpleNamespace(base_frame="base_link", camera_height=0.0)


@pytest.fixture
def tf(monkeypatch):
    """`asked` collects the look-ups; set `answer` to a transform or an exception, and `newest` for a look-up at time 0.
    `held` is what the buffer got of /tf since it was last cleared, `listeners` are those that still listen."""
    module = ModuleType("tf2_ros")
    module.asked, module.answer, module.newest, module.held, module.listeners = [], None, None, [], []
    module.TransformException = type("TransformException", (Exception,), {})
    module.ExtrapolationException = type("ExtrapolationException", (module.TransformException,), {})

    class Buffer:
        def lookup_transform(self, target, source, time):
            module.asked.append((target, source, time.nanoseconds))
            answer = module.answer if time.nanoseconds else module.newest
            if isinstance(answer, Exception):
                raise answer
            return answer

        def set_transform(self, transform, authority):
            module.held.append(transform)

        def clear(self):
            module.held.clear()

    class TransformListener:
        def __init__(self, buffer, node):
            module.tell = lambda transform: buffer.set_transform(transform, "test")
            module.listeners.append(self)

        def unregister(self):
            module.listeners.remove(self)

    module.Buffer, module.TransformListener = Buffer, TransformListener
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    return module


@pytest.fixture
def node():
    """`timers` are those that run."""
    node = SimpleNamespace(timers=[], destroy_timer=lambda timer: node.timers.remove(timer))
    node.create_timer = lambda period, callback, clock: node.timers.append(callback) or callback
    return node


def mounted(stamp=None, child="camera_front", height=1.5):
    """The optical frame (z forward, x right, y down) looking along base_link's x."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = "base_link"
    if stamp is not None:
        message.header.stamp = stamp
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = 1.0, 0.2, height
    q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
    return message


def at(seconds):
    return Time(nanoseconds=round(seconds * 1e9)).to_msg()


def test_the_pose_is_looked_up_at_the_image_s_stamp(tf, node):
    tf.answer = mounted()
    stamp = header(7)
    pose = PoseSource(node, SETTINGS).pose(stamp)
    assert tf.asked == [("base_link", "camera_front", stamp.stamp.sec * 10**9 + stamp.stamp.nanosec)]
    assert pose.translation == pytest.approx([1.0, 0.2, 1.5])
    assert pose.rotation @ [0, 0, 1] == pytest.approx(np.array([1, 0, 0]))


def test_a_transform_that_is_not_there_is_said_with_the_fix(tf, node):
    tf.answer = tf.TransformException("base_link does not exist")
    with pytest.raises(PoseError, match="base_link does not exist.*set camera_height.*base_link <- 'camera_front'"):
        PoseSource(node, SETTINGS).pose(header())


@pytest.mark.parametrize("late, known", [(0.05, True), (0.2, True), (0.3, False), (-0.05, False)])
def test_where_tf_is_a_little_behind_the_image_the_newest_pose_is_taken(tf, node, late, known):
    tf.answer, tf.newest = tf.ExtrapolationException("into the future"), mounted(at(100.0))
    image = header()
    image.stamp = at(100.0 + late)
    if known:
        assert PoseSource(node, SETTINGS).pose(image).translation == pytest.approx([1.0, 0.2, 1.5])
    else:
        with pytest.raises(PoseError, match="into the future"):
            PoseSource(node, SETTINGS).pose(image)


def test_a_jump_back_in_time_empties_the_buffer(tf, node):
    tf.answer = mounted()
    PoseSource(node, SETTINGS).pose(header())
    for seconds, child in ((100.0, "camera"), (100.5, "wheel"), (99.9, "camera"), (99.9, "wheel")):
        tf.tell(mounted(at(seconds), child))
    assert len(tf.held) == 4, "stamps of several publishers are a little out of order"
    tf.tell(mounted(at(90.0), "camera"))
    tf.tell(mounted(at(90.1), "camera"))
    assert [t.header.stamp.sec for t in tf.held] == [90, 90]
    tf.tell(mounted(at(89.5), "wheel"))
    assert len(tf.held) == 3, "each frame that jumps back would empty it again"


def test_tf_is_listened_to_while_somebody_asks(tf, node, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("drive_seg.ros.transforms.time.monotonic", lambda: now[0])
    tf.answer = mounted()
    source = PoseSource(node, SETTINGS)
    assert not tf.listeners and not node.timers, "nobody wants the ground"
    for _ in range(3):
        source.pose(header())
        now[0] += 9
        node.timers[0]()
    assert len(tf.listeners) == len(node.timers) == 1
    now[0] += 1
    node.timers[0]()
    assert not tf.listeners and not node.timers
    source.pose(header())
    assert len(tf.listeners) == len(node.timers) == 1
    source.close()
    assert not tf.listeners and not node.timers


def test_the_first_transforms_may_take_a_moment(tf, node, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("drive_seg.ros.transforms.time.monotonic", lambda: now[0])
    tf.answer = tf.TransformException("base_link does not exist. ")
    source = PoseSource(node, SETTINGS)
    with pytest.raises(PoseError, match=r"\(base_link does not exist; TF is only .* since a moment ago\): set"):
        source.pose(header())
    now[0] += 2
    with pytest.raises(PoseError, match=r"\(base_link does not exist\): set camera_height"):
        source.pose(header())


def test_without_tf2_the_parameters_are_asked_for(monkeypatch, node):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(PoseError, match="tf2_ros is not installed.*set camera_height"):
        PoseSource(node, SETTINGS).pose(header())


@pytest.fixture
def real(graph):
    """The real tf2 over DDS: its module, a source on a node of its own, and a broadcaster of moving transforms."""
    module = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed (it is not on PyPI)")
    source = PoseSource(graph.add(rclpy.create_node("listens", context=graph.context)), SETTINGS)
    broadcaster = module.TransformBroadcaster(graph.client)
    with pytest.raises(PoseError):
        source.pose(header())  # from here on it listens
    assert graph.connected(broadcaster.pub_tf)
    yield SimpleNamespace(module=module, source=source, send=broadcaster.sendTransform)
    source.close()


def known(graph, source, stamp, timeout=5.0):
    """The pose as soon as TF has it; None when it has none."""
    image, found = header(), []
    image.stamp = stamp

    def look():
        try:
            found.append(source.pose(image))
        except PoseError:
            return False
        return True

    return found[0] if graph.spin_until(look, timeout) else None


def test_real_static_transform(graph, real):
    real.module.StaticTransformBroadcaster(graph.client).sendTransform(mounted())
    pose = known(graph, real.source, at(time.time()))
    assert pose.translation == pytest.approx([1.0, 0.2, 1.5]) and pose.rotation @ [0, 0, 1] == pytest.approx([1, 0, 0])


def test_real_moving_transform_at_the_image_s_time_and_a_little_later(graph, real):
    for number in range(3):
        real.send(mounted(at(100 + number / 10), height=1.0 + number / 10))
    graph.spin_for(0.3)  # until all three are there
    assert known(graph, real.source, at(100.2)).translation[2] == pytest.approx(1.2)
    assert known(graph, real.source, at(100.15)).translation[2] == pytest.approx(1.15)
    assert known(graph, real.source, at(100.35)).translation[2] == pytest.approx(1.2)
    assert known(graph, real.source, at(100.45), 0.2) is known(graph, real.source, at(99.9), 0.2) is None


def test_real_transforms_after_a_jump_back(graph, real):
    for number in range(30):
        real.send(mounted(at(100 + number), height=1.0))
        graph.spin_for(0.01)
    assert known(graph, real.source, at(129)).translation[2] == pytest.approx(1.0)
    for number in range(3):
        real.send(mounted(at(100 + number), height=2.0))
    graph.spin_for(0.3)
    assert known(graph, real.source, at(101.5)).translation[2] == pytest.approx(2.0)


@pytest.mark.parametrize("frame", ["", "/camera_front", "nowhere"])
def test_real_frames_that_tf_does_not_know(graph, real, frame):
    with pytest.raises(PoseError, match=r"not known \(.*[^. ]\): set camera_height"):
        real.source.pose(header(frame_id=frame))
