"""Replay a bag live: the segmentation node on a bag's camera, in the bag's time.

    ros2 launch drive_seg replay.launch.py bag:=/data/drive rate:=0.5

The bag is played by `ros2 bag play` where ros2bag is installed, else by the package's own bag_player; player:= chooses.
For every frame, without drops and faster than real time, use `drive-seg replay` instead.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from drive_seg.sources.bag import COMPRESSED, Bag, info_topic

ARGUMENTS = {
    "bag": ("", "the bag: a rosbag2 folder, .mcap or .db3 file"),
    "topic": ("", "image topic of the bag; by default its only camera"),
    "rate": ("1.0", "2.0 plays twice as fast"),
    "loop": ("false", "true: start over at the end, time jumps back"),
    "player": ("auto", "ros2bag, own, or auto: ros2bag where it is installed"),
    "network": ("", "an .onnx file with its .yaml beside it; by default the one that ships"),
    "engine": ("", "auto, or a runtime by name"),
    "params_file": ("", "YAML file with the node's parameters"),
}
"""Launch arguments: (default, description)."""

WAIT_S = 1800
"""How long the player waits for the node, which may first have to build its engine."""


def start(context):
    """Node and player, once the arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if given["params_file"] and not Path(given["params_file"]).is_file():  # launch_ros would only warn
        raise FileNotFoundError(f"params_file: there is no file {given['params_file']}")
    with Bag(given["bag"]) as bag:  # its errors name what is wrong with bag:= or topic:=
        topic = bag.image_topic(given["topic"] or None)
    info = info_topic(topic.name)
    parameters = [given["params_file"]] if given["params_file"] else []
    chosen = {name: given[name] for name in ("network", "engine") if given[name]}
    transport = "compressed" if topic.type == COMPRESSED else "raw"
    parameters.append({"use_sim_time": True, "image_transport": transport, **chosen})
    node = Node(package="drive_seg", executable="segmentation_node", name="drive_seg", output="screen",
                parameters=parameters, remappings=[("image/compressed" if transport == "compressed" else "image",
                                                    topic.name), ("camera_info", info)])
    there = [t.name for t in bag.topics if t.name in (topic.name, info, "/tf", "/tf_static")]
    loop = ["--loop"] if given["loop"].lower() in ("true", "1") else []
    player = Node(package="drive_seg", executable="bag_player", output="screen",
                  arguments=[given["bag"], "--player", given["player"], "--rate", given["rate"], *loop,
                             "--wait", str(WAIT_S), "--topics", *there])
    ends = [RegisterEventHandler(OnProcessExit(target_action=one, on_exit=[EmitEvent(event=Shutdown())]))
            for one in (node, player)]
    return [node, player, *ends]


def generate_launch_description():
    """What `ros2 launch` asks for."""
    arguments = [DeclareLaunchArgument(name, default_value=default, description=description)
                 for name, (default, description) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
