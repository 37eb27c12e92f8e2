"""The launch file for live replay, by the real launch_ros where there is one."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from bags import write_bag

from drive_seg.play.graph import private_domain

LAUNCH_FILE = Path(__file__).parents[2] / "launch/replay.launch.py"


def test_compiles():
    compile(LAUNCH_FILE.read_text(), str(LAUNCH_FILE), "exec")


def load():
    """The launch file as a module."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed (a ROS 2 machine has it)")
    from launch.launch_description_sources import load_python_launch_file_as_module

    return load_python_launch_file_as_module(str(LAUNCH_FILE))


def test_every_parameter_that_it_sets_is_one():
    from drive_seg.settings import TABLE

    text = LAUNCH_FILE.read_text()
    names = set(TABLE)
    assert {"network", "engine", "image_transport"} <= names
    assert all(f'"{name}"' in text for name in ("network", "engine", "image_transport"))


LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [word.split(":=", 1) for word in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(LaunchDescription([
    IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)]))
sys.exit(service.run())
"""


def interrupt(process):
    """Ctrl-C in a terminal: launch and all that it started get it."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.fixture
def launch(colour_network_path):
    """Launches the file with the package's own player, as `ros2 launch` does; ends as by Ctrl-C."""
    load()
    from ament_index_python import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix("drive_seg")
    except (PackageNotFoundError, OSError):
        pytest.skip("drive_seg is not in AMENT_PREFIX_PATH: source the workspace, or add the virtual environment")
    processes = []
    with private_domain():
        def start(*arguments):
            process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(LAUNCH_FILE), "player:=own", f"network:={colour_network_path}",
                 "engine:=openvino", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                start_new_session=True)
            processes.append(process)
            return process

        yield start
        for process in processes:
            if process.poll() is None:
                interrupt(process)
                process.communicate(timeout=40)


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "jpeg"])
def test_a_bag_is_played_to_the_node(launch, tmp_path, compressed):
    out, _ = launch(f"bag:={write_bag(tmp_path / 'drive', 10, compressed=compressed)}", "rate:=0.5").communicate(
        timeout=120)
    assert "20 messages, late by" in out, out
    assert "active: waiting for images on /camera/image_raw" + "/compressed" * compressed in out
    assert "FAULT" not in out and out.count("process has finished cleanly") == 2, out


def test_a_loop_makes_time_jump_back(launch, tmp_path):
    noise = np.random.default_rng(0)  # else it is blurred, and a second warning tells nothing new
    bag = write_bag(tmp_path / "drive", 20, paint=lambda i: noise.integers(0, 255, (120, 200, 3), np.uint8))
    process = launch(f"bag:={bag}", "rate:=2", "loop:=true")
    in_time = threading.Timer(60, interrupt, [process])
    in_time.start()
    lines = []
    while sum("time jumped back" in line for line in lines) < 2:
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    in_time.cancel()
    interrupt(process)
    rest, _ = process.communicate(timeout=40)
    assert rest.count("process has finished cleanly") == 2, rest


@pytest.mark.parametrize(("argument", "message"), [("bag:=/nothing", "there is no bag at /nothing"),
                                                   ("topic:=/nope", "has no topic /nope; images are on /camera/")])
def test_what_can_t_be_played_is_reported(launch, tmp_path, argument, message):
    out, _ = launch(f"bag:={write_bag(tmp_path / 'drive', 2)}", argument).communicate(timeout=60)
    assert message in out, out
