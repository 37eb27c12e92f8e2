"""Start the segmentation node on a camera.

    ros2 launch drive_seg seg.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
    ros2 launch drive_seg seg.launch.py cameras:=front,left,right params_file:=surround.yaml

An argument that is left empty leaves its parameter to `params_file`, and then to the node's default. The node sets up
memory and Fast DDS for large images by itself (drive_seg/ros/transport.py), so nothing is set here. As a managed node
it configures and activates itself, unless autostart:=false leaves that to a life-cycle manager.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    "image": ("image", "topic of the camera images, e.g. /camera/image_raw"),
    "camera_info": ("camera_info", "topic of the CameraInfo that belongs to them"),
    "cameras": ("", "names of several cameras, front,left,right: each then has its topics below its name, front/image"
                " and front/camera_info, which `image_prefix` leads"),
    "image_prefix": ("", "what leads the topics of several cameras, e.g. /sensors: /sensors/front/image"),
    "image_transport": ("", "`raw`, or `compressed` to subscribe to <image>/compressed"),
    "network": ("", "an .onnx file with its .yaml beside it; by default the one that ships"),
    "engine": ("", "auto, or a runtime by name (drive-seg doctor lists what this machine has)"),
    "params_file": ("", "YAML file with the node's parameters; share/drive_seg/config/drive_seg.yaml lists them all"),
    "namespace": ("", "namespace of the node, e.g. front_camera: one for each camera"),
    "name": ("drive_seg", "name of the node; its outputs are topics below it"),
    "autostart": ("", "true: the node configures and activates itself; false: a life-cycle manager does"),
    "use_sim_time": ("", "true: take the time from /clock (simulation, bag replay)"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "respawn": ("false", "true: start the node again when its process dies"),
}
"""Launch arguments: (default, description)."""

PARAMETERS = {"image_transport": str, "network": str, "engine": str, "autostart": bool, "use_sim_time": bool}
"""Arguments that become a parameter of the node, and its type."""


def start_node(context):
    """The node's action, once the arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if given["params_file"] and not Path(given["params_file"]).is_file():  # launch_ros would only warn
        raise FileNotFoundError(f"params_file: there is no file {given['params_file']}")
    parameters = [given["params_file"]] if given["params_file"] else []
    parameters.append({name: ParameterValue(given[name], value_type=kind)
                       for name, kind in PARAMETERS.items() if given[name]})
    cameras = [name for part in given["cameras"].split(",") if (name := part.strip())]
    if given["image_prefix"] and not cameras:
        raise ValueError("image_prefix leads the topics of several cameras: name them with cameras:=front,left,right")
    remappings = [  # a remapping is an exact name, so the compressed topic needs its own
        ("image", given["image"]),
        ("image/compressed", given["image"] + "/compressed"),
        ("camera_info", given["camera_info"]),
    ]
    if cameras:
        parameters.append({"cameras": cameras})
        prefix = given["image_prefix"].rstrip("/")
        remappings = [(f"{name}/{topic}", f"{prefix}/{name}/{topic}") for name in cameras if prefix
                      for topic in ("image", "image/compressed", "camera_info")]
    return [Node(
        package="drive_seg",
        executable="segmentation_node",
        namespace=given["namespace"],
        name=given["name"],
        parameters=parameters,
        remappings=remappings,
        ros_arguments=["--log-level", given["log_level"]],
        output="screen",
        emulate_tty=True,
        respawn=given["respawn"].lower() in ("true", "1"),
        respawn_delay=2.0,
    )]


def generate_launch_description():
    """What `ros2 launch` asks for."""
    arguments = [DeclareLaunchArgument(name, default_value=default, description=description)
                 for name, (default, description) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_node)])
