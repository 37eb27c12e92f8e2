"""build.launch.py: every argument of it is an option of `drive-seg build`."""

import argparse
import ast
from pathlib import Path

import pytest

from drive_seg.cli import build

LAUNCH_FILE = Path(__file__).parents[2] / "launch/build.launch.py"


def test_its_arguments_are_options_of_the_command():
    tree = ast.parse(LAUNCH_FILE.read_text())
    arguments = next(ast.literal_eval(node.value) for node in tree.body
                     if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS")
    parser = argparse.ArgumentParser()
    build.add_arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    assert arguments and {option for option, _ in arguments.values()} <= options


def test_it_runs_the_command():
    pytest.importorskip("launch_ros", reason="launch is not installed (a ROS 2 machine has it)")
    from launch import LaunchContext
    from launch.launch_description_sources import load_python_launch_file_as_module

    module = load_python_launch_file_as_module(str(LAUNCH_FILE))
    context = LaunchContext()
    context.launch_configurations.update({"network": "a.onnx", "size": "", "plan_folder": "/plans"})
    command = ["".join(part.perform(context) for part in word) for word in module.build(context)[0].cmd]
    assert command[1:] == ["-m", "drive_seg.cli.main", "build", "--network", "a.onnx", "--plans", "/plans"]
