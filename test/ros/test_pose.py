"""The camera's pose from TF. tf2_ros is in no wheel, so its interface is played: what it is asked, and what becomes of
its answers."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from camera_messages import header

from drive_seg.ros.pose import PoseError, PoseSource

SETTINGS = SimpleNamespace(base_frame="base_link", camera_height=0.0)


@pytest.fixture
def tf(monkeypatch):
    """`asked` collects the look-ups; set `answer` to a transform or an exception."""
    module = ModuleType("tf2_ros")
    module.asked, module.answer = [], None

    class Buffer:
        def lookup_transform(self, target, source, time):
            module.asked.append((target, source, time.nanoseconds))
            if isinstance(module.answer, Exception):
                raise module.answer
            return SimpleNamespace(transform=module.answer)

    module.TransformException, module.Buffer = type("TransformException", (Exception,), {}), Buffer
    module.TransformListener = lambda buffer, node: SimpleNamespace(unregister=lambda: None)
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    return module


def vector(**values):
    return SimpleNamespace(**values)


def test_the_pose_is_looked_up_at_the_image_s_stamp(tf):
    # The optical frame (z forward, x right, y down) looking along base_link's x.
    tf.answer = SimpleNamespace(translation=vector(x=1.0, y=0.2, z=1.5), rotation=vector(x=-0.5, y=0.5, z=-0.5, w=0.5))
    stamp = header(7)
    pose = PoseSource(None, SETTINGS).pose(stamp)
    assert tf.asked == [("base_link", "camera_front", stamp.stamp.sec * 10**9 + stamp.stamp.nanosec)]
    assert pose.translation == pytest.approx([1.0, 0.2, 1.5])
    assert pose.rotation @ [0, 0, 1] == pytest.approx(np.array([1, 0, 0]))


def test_a_transform_that_is_not_there_is_said_with_the_fix(tf):
    tf.answer = tf.TransformException("base_link does not exist")
    with pytest.raises(PoseError, match="base_link does not exist.*set camera_height.*base_link <- 'camera_front'"):
        PoseSource(None, SETTINGS).pose(header())


def test_without_tf2_the_parameters_are_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(PoseError, match="tf2_ros is not installed.*set camera_height"):
        PoseSource(None, SETTINGS).pose(header())
