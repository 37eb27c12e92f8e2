"""The launch file for live replay, by the real launch_ros where there is one."""

import subprocess
from pathlib import Path

import pytest
from bags import write_bag

LAUNCH_FILE = Path(__file__).parents[2] / "launch/replay.launch.py"


def test_compiles():
    compile(LAUNCH_FILE.read_text(), str(LAUNCH_FILE), "exec")


def load():
    """The launch file as a module."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed (a ROS 2 machine has it)")
    from launch.launch_description_sources import load_python_launch_file_as_module

    return load_python_launch_file_as_module(str(LAUNCH_FILE))


def test_every_parameter_that_it_sets_is_one():
    from drive_seg.ros.parameters import PARAMETERS

    text = LAUNCH_FILE.read_text()
    names = {spec.name for spec in PARAMETERS}
    assert {"network", "engine", "image_transport"} <= names
    assert all(f'"{name}"' in text for name in ("network", "engine", "image_transport"))


def test_a_bag_is_played_to_the_node(tmp_path, colour_network_path):
    load()
    pytest.importorskip("ros2launch", reason="ros2launch is not installed (a ROS 2 machine has it)")
    bag = write_bag(tmp_path / "drive", 10)
    done = subprocess.run(["ros2", "launch", str(LAUNCH_FILE), f"bag:={bag}", "player:=own",
                           f"network:={colour_network_path}", "engine:=openvino"],
                          capture_output=True, text=True, timeout=120, check=False)
    assert "late by" in done.stdout, done.stdout + done.stderr
