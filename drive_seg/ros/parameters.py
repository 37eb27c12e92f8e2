"""The settings as the node's parameters: declared with descriptors, read, and checked when they change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from drive_seg.errors import ParameterError
from drive_seg.rig import OWN, Rig, look_up, split
from drive_seg.settings import TABLE, Setting

_OF_ROS = ("use_sim_time", "start_type_description_service", "qos_overrides")


def descriptor(setting: Setting) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    unit = f" In {setting.unit}." if setting.unit else ""
    described = ParameterDescriptor(description=setting.about + unit)
    if setting.choices:
        described.additional_constraints = "one of " + ", ".join(setting.choices)
    elif not setting.live:
        described.additional_constraints = "read when the node is configured"
    if setting.low is not None and setting.high is not None:
        if setting.kind is float:
            limits = FloatingPointRange(from_value=float(setting.low), to_value=float(setting.high))
            described.floating_point_range = [limits]
        else:
            described.integer_range = [IntegerRange(from_value=int(setting.low), to_value=int(setting.high))]
    return described


def declare(node: Node) -> None:
    """Declare every parameter, those of each camera after the common ones, and warn of names that nobody knows.

    A camera's own begin as the common ones. Raises ParameterError for a value, given at the start, that can't be one.
    """
    given = node._parameter_overrides  # rclpy shows it to nobody
    for setting in TABLE.values():
        _declare(node, setting, setting.name, list(setting.default) if setting.kind is tuple else setting.default)
    cameras = [camera for camera in node.get_parameter("cameras").value if camera]
    TABLE["cameras"].check(cameras)
    for camera in cameras:
        for name in OWN:
            _declare(node, TABLE[name], f"{camera}.{name}", node.get_parameter(name).value)
    for name in given:
        if name.partition(".")[0] not in _OF_ROS:
            try:
                look_up(name, cameras)
            except ParameterError as error:
                node.get_logger().warning(f"{error.reason}; it is left out")


def _declare(node: Node, setting: Setting, name: str, default: Any) -> None:
    given = node._parameter_overrides.get(name)
    empty = setting.kind is tuple and given is not None and not given.value  # to ROS 2 an empty list has no type
    try:
        node.declare_parameter(name, default, descriptor(setting), ignore_override=empty)
    except (InvalidParameterTypeException, InvalidParameterValueException):
        if given is not None:
            setting.check(given.value)  # says what rclpy says in prose only
        raise


def read(node: Node) -> Rig:
    """The parameters' present values. Raises ParameterError with the reason for one that can't be used."""
    values = {name: node.get_parameter(name).value for name in TABLE}
    own = [f"{camera}.{name}" for camera in values["cameras"] if camera for name in OWN]
    rig = Rig.from_values(values | {name: node.get_parameter(name).value for name in own})
    rig.check_files()
    return rig


def check(node: Node, changes: Sequence[Parameter], rig: Rig | None) -> tuple[SetParametersResult, Rig | None]:
    """Answer a request to change parameters, before they change.

    rig: what the node was configured with, None while it is not. Returns the answer, and the rig with the changes where
    there is one.
    """
    values = {change.name: change.value for change in changes if split(change.name)[1] in TABLE}
    cameras = [camera for camera in node.get_parameter("cameras").value if camera]
    try:
        if list(values.get("cameras", cameras) or [""]) != (cameras or [""]):
            raise ParameterError("cameras is read when the node starts", "start it again with other cameras")
        if rig is not None:
            rig = rig.changed(values)
        else:
            for name, value in values.items():
                setting = look_up(name, cameras)
                setting.check(value)
                setting.check_file(value)
                if cameras and setting.own and name in TABLE and value != node.get_parameter(name).value:
                    raise ParameterError(f"{name} is each camera's own",
                                         f"set {', '.join(f'{camera}.{name}' for camera in cameras)}")
    except ParameterError as error:
        return SetParametersResult(successful=False, reason=str(error)), None
    return SetParametersResult(successful=True), rig
