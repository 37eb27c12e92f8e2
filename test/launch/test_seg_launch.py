"""The launch file, by the real launch_ros where there is one: PyPI has none, ROS distributions do."""

import runpy
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from drive_seg.play.graph import private_domain
from drive_seg.settings import TABLE

LAUNCH_FILE = Path(__file__).parents[2] / "launch/seg.launch.py"


def test_compiles():
    compile(LAUNCH_FILE.read_text(), str(LAUNCH_FILE), "exec")


def load():
    """The launch file as a module."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed (a ROS 2 machine has it)")
    from launch.launch_description_sources import load_python_launch_file_as_module

    return load_python_launch_file_as_module(str(LAUNCH_FILE))


def test_every_argument_that_becomes_a_parameter_is_one():
    kinds = {setting.name: setting.kind for setting in TABLE.values()} | {"use_sim_time": bool}
    module = load()
    assert set(module.PARAMETERS) <= set(module.ARGUMENTS)
    assert {name: kinds[name] for name in module.PARAMETERS} == module.PARAMETERS


def test_a_parameter_file_that_is_not_there_is_an_error(tmp_path):
    module = load()
    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations.update({name: default for name, (default, _) in module.ARGUMENTS.items()})
    (action,) = module.start_node(context)
    assert action.node_executable == "segmentation_node"
    context.launch_configurations["params_file"] = str(tmp_path / "nothing.yaml")
    with pytest.raises(FileNotFoundError, match="nothing.yaml"):
        module.start_node(context)


def test_cameras_are_named_in_one_argument(monkeypatch):
    """With stand-ins for the few parts of launch that the file takes, as PyPI has no launch_ros."""
    names = {"launch": ("LaunchDescription",), "launch.actions": ("DeclareLaunchArgument", "OpaqueFunction"),
             "launch.substitutions": (), "launch_ros": (), "launch_ros.actions": (),
             "launch_ros.parameter_descriptions": ("ParameterValue",)}
    for name, parts in names.items():
        module = types.ModuleType(name)
        vars(module).update(dict.fromkeys(parts, lambda *arguments, **options: arguments))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = lambda name: types.SimpleNamespace(
        perform=lambda context: context[name])
    sys.modules["launch_ros.actions"].Node = lambda **options: options
    launch = runpy.run_path(str(LAUNCH_FILE))
    defaults = {name: default for name, (default, _) in launch["ARGUMENTS"].items()}

    def start(**given):
        return launch["start_node"]({**defaults, **given})[0]

    node = start(cameras="front, left,right,", image_prefix="/sensors/")
    assert node["parameters"][-1] == {"cameras": ["front", "left", "right"]}
    assert ("left/image/compressed", "/sensors/left/image/compressed") in node["remappings"]
    assert start(cameras="front")["remappings"] == [] and ("image", "image") in start()["remappings"]
    with pytest.raises(ValueError, match="cameras:=front,left,right"):
        start(image_prefix="/sensors")


@pytest.fixture
def launched(colour_network_path, tmp_path):
    """`ros2 launch` of the file, with arguments and a parameter file; ends as by Ctrl-C."""
    pytest.importorskip("ros2launch", reason="ros2launch is not installed (a ROS 2 machine has it)")
    from ament_index_python import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix("drive_seg")
    except (PackageNotFoundError, OSError):
        pytest.skip("drive_seg is not in AMENT_PREFIX_PATH: source the workspace, or add the virtual environment")
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    min_confidence: 0.5\n    engine: nonsense\n")
    with private_domain():
        process = subprocess.Popen(
            ["ros2", "launch", "drive_seg", "seg.launch.py", "namespace:=front", "image:=/camera/image_raw",
             "camera_info:=/camera/camera_info", "image_transport:=compressed", f"network:={colour_network_path}",
             "engine:=openvino", f"params_file:={parameters}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(20)


def test_starts_the_node_with_what_was_asked(launched):
    end = time.monotonic() + 60
    lines = []
    while "active: waiting for images" not in (lines[-1:] or [""])[0]:
        assert time.monotonic() < end and launched.poll() is None, "".join(lines)
        lines.append(launched.stdout.readline())
    assert "/camera/image_raw/compressed" in lines[-1]
    assert any("colours" in line and "openvino" in line for line in lines), "the arguments win over the parameter file"

    launched.send_signal(signal.SIGINT)
    rest = launched.stdout.read()
    assert launched.wait(20) == 0, rest
    assert "finished cleanly" in rest and "Traceback" not in rest, rest
