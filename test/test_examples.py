"""The scripts of examples/, run as a user would."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import write_bag

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs an example in this process; what it printed."""
    def start(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name), *map(str, arguments)])
        runpy.run_path(sys.argv[0], run_name="__main__")
        return capsys.readouterr().out

    return start


def test_every_example_is_run_here():
    assert {path.name for path in EXAMPLES.iterdir()} == {"image.py", "video.py", "bag.py", "subscriber.py",
                                                            "two_cameras.py"}


def test_image(scene, tmp_path):
    cv2.imwrite(str(tmp_path / "road.png"), scene)
    done = subprocess.run([sys.executable, EXAMPLES / "image.py", tmp_path / "road.png", tmp_path / "out.png"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "<Segmentation 640x360, " in said and "of the image" in said
    assert cv2.imread(str(tmp_path / "out.png")).shape == scene.shape


def test_video(run, scene, tmp_path):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.roll(scene, i, axis=1))
    said = run("video.py", tmp_path, tmp_path / "out.mp4")
    assert said.count("<Segmentation 640x360, ") == 3
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_two_cameras(run, scene, tmp_path):
    for name in ("front", "left"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), scene)
    said = run("two_cameras.py", tmp_path / "front.png", tmp_path / "left.png", tmp_path / "ground.png")
    assert "of the grid is known" in said and "of 720 rays" in said
    assert cv2.imread(str(tmp_path / "ground.png")).shape == (200, 250, 3)


def test_bag(run, tmp_path):
    said = run("bag.py", write_bag(tmp_path / "drive", 3))
    assert said.count("% drivable") == 3


def test_subscriber(tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2: pip install 'drive-seg[ros]'")
    from drive_seg.play.graph import private_domain, wait_for_subscriber
    from drive_seg.ros import transport

    transport.apply()
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import Image

    assert len([line for line in (EXAMPLES / "subscriber.py").read_text().splitlines() if line]) <= 20
    with private_domain() as domain, subprocess.Popen(
            [sys.executable, EXAMPLES / "subscriber.py"], stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("drive_seg", context=context)
        try:
            publisher = node.create_publisher(Image, "~/drivable_area", qos_profile_sensor_data)
            wait_for_subscriber(node, ["~/drivable_area"], 60.0)
            mask = np.zeros((48, 64), np.uint8)
            mask[-12:-6] = 255
            message = Image(height=48, width=64, step=64, encoding="mono8", data=mask.tobytes())
            message.header.stamp.sec = 42
            publisher.publish(message)
            assert process.stdout.readline() == "42: 50% of what lies right ahead is drivable\n"
        finally:
            process.terminate()
            end = time.monotonic() + 10
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            process.kill()
            node.destroy_node()
            rclpy.try_shutdown(context=context)
