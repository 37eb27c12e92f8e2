"""Build the TensorRT plan of a network for this machine's GPU, and end.

    ros2 launch drive_seg build.launch.py

The node builds its plan by itself at its first start; this does it beforehand, e.g. when an image for robots is made.
"""

import sys

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

ARGUMENTS = {
    "network": ("--network", "an .onnx file with its .yaml beside it; by default the one that ships"),
    "size": ("--size", "network input size HEIGHTxWIDTH; by default the network's own"),
    "plan_folder": ("--plans", "where the plan goes: what the node's parameter plan_folder says"),
}
"""Launch arguments: (option of `drive-seg build`, description)."""


def build(context):
    """The command, once the arguments are known."""
    command = [sys.executable, "-m", "drive_seg.cli.main", "build"]
    for name, (option, _) in ARGUMENTS.items():
        value = LaunchConfiguration(name).perform(context)
        command += [option, value] if value else []
    return [ExecuteProcess(cmd=command, output="screen", emulate_tty=True)]


def generate_launch_description():
    """Arguments, and the command."""
    declared = [DeclareLaunchArgument(name, default_value="", description=description)
                for name, (_, description) in ARGUMENTS.items()]
    return LaunchDescription([*declared, OpaqueFunction(function=build)])
