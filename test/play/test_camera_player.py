"""The demo's camera: what it publishes of footage that is partly damaged."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from drive_seg.sources.frame_source import SourceError
from drive_seg.sources.open import open_source

messages = pytest.importorskip("builtin_interfaces.msg", reason="needs ROS")
pytest.importorskip("rclpy")


class FakeNode:
    """A node whose publishers keep what they get."""

    def __init__(self):
        self.sent = []

    def create_publisher(self, kind, topic, qos):
        return SimpleNamespace(publish=lambda message: self.sent.append((topic, message)))

    def get_clock(self):
        now = SimpleNamespace(nanoseconds=7, to_msg=messages.Time)
        return SimpleNamespace(now=lambda: now)


@pytest.fixture
def play(tmp_path):
    """Play a folder of images, damaged where False is given; returns what was published."""
    from drive_seg.play.camera_player import Player

    def run(*good, repeat=None):
        data = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
        for i, whole in enumerate(good):
            (tmp_path / f"{i}.jpg").write_bytes(data if whole else data[:-20])
        node = FakeNode()
        Player(node, open_source(tmp_path)).play(0, True, repeat)
        return [message for topic, message in node.sent if topic == "image"]

    return run


def test_a_damaged_image_costs_only_itself(play, capsys):
    assert len(play(True, False, True)) == 2
    said = capsys.readouterr()
    assert [json.loads(line)["name"] for line in said.out.splitlines()] == ["0", "2"]
    assert "warning: " in said.err and "1 of 3 frames are not images, frame 1: " in said.err


def test_frames_held_in_memory_are_published_over_and_over(play, capsys):
    assert len(play(True, False, True, repeat=5)) == 5
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == [f"{i:06d}" for i in range(5)]


def test_footage_without_any_image_is_an_error(play):
    with pytest.raises(SourceError, match="none of its 2 frames is an image, frame 0: .*cut short"):
        play(False, False)
