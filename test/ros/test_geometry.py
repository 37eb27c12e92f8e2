"""When the node makes its tables of the ground, and when it does not make them again."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from drive_seg.core.ground import CameraPose
from drive_seg.core.mounted import Mount
from drive_seg.ros.geometry import Geometry

SIZE = (120, 200)


@pytest.fixture
def said():
    return []


@pytest.fixture
def geometry(said):
    pose = SimpleNamespace(pose=lambda header: CameraPose.mounted(1.5))
    made = Geometry(Mount(1.5), pose, None, lambda error: said.append(str(error)))
    yield made
    made.close()


def info(**changes):
    message = CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model="plumb_bob", d=[0.0] * 5,
                         k=[150.0, 0.0, 99.5, 0.0, 150.0, 59.5, 0.0, 0.0, 1.0])
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def ask(geometry, message):
    geometry.camera_info = message
    ground = geometry.ground(Header(), SIZE, SIZE)
    geometry.wait(60)
    return ground


def test_nan_where_it_does_not_count_changes_nothing(geometry):
    message = info(r=[np.nan] * 9, p=[np.nan] * 12)
    assert ask(geometry, message) is None, "its tables are being made"
    made = ask(geometry, message)
    assert made is not None and ask(geometry, message) is made


def test_nan_where_it_counts_is_reported_once_the_camera_was_looked_at(geometry, said):
    message = info(d=[np.nan] * 5)
    for _ in range(3):
        assert ask(geometry, message) is None
    assert ["tables are being made" in text for text in said] == [True, False, False]
    assert said[1] == said[2] and "finite" in said[1], said


def test_a_camera_that_opencv_refuses_is_reported_and_not_raised(geometry, said, monkeypatch):
    def refuse(*_):
        raise cv2.error("OpenCV: Overload resolution failed")

    for name in ("undistortPoints", "undistortPointsIter"):  # OpenCV 5 and 4
        monkeypatch.setattr(cv2, name, refuse, raising=False)
    message = info(d=[-0.2, 0.05, 0.0, 0.0, 0.0])
    for _ in range(2):
        assert ask(geometry, message) is None
    assert "refuses this camera" in said[-1] and "opencv-python-headless" in said[-1], said
