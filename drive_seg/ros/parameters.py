"""The settings as the node's parameters: declared with descriptors, read, and checked when they change."""

from __future__ import annotations

from collections.abc import Sequence

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from drive_seg.errors import ParameterError
from drive_seg.settings import TABLE, Setting, Settings, unknown

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
    """Declare every parameter, and warn of given names that are not parameters.

    Raises ParameterError for a value, given at the start, that can't be one.
    """
    given = node._parameter_overrides  # rclpy shows it to nobody
    for setting in TABLE.values():
        try:
            node.declare_parameter(setting.name, setting.default, descriptor(setting))
        except (InvalidParameterTypeException, InvalidParameterValueException):
            setting.check(given[setting.name].value)  # says what rclpy says in prose only
            raise
    for name in given:
        if name not in TABLE and name.partition(".")[0] not in _OF_ROS:
            node.get_logger().warning(f"{unknown(name)}; it is left out")


def read(node: Node) -> Settings:
    """The parameters' present values. Raises ParameterError with the reason for one that can't be used."""
    settings = Settings.from_values({name: node.get_parameter(name).value for name in TABLE})
    settings.check_files()
    return settings


def check(changes: Sequence[Parameter], settings: Settings | None) -> tuple[SetParametersResult, Settings | None]:
    """Answer a request to change parameters, before they change.

    settings: those that the node was configured with, None while it is not. Returns the answer and the settings with
    the changes, where there are any.
    """
    values = {change.name: change.value for change in changes if change.name in TABLE}
    try:
        if settings is not None:
            settings = settings.changed(values)
        else:
            for name, value in values.items():
                TABLE[name].check(value)
                TABLE[name].check_file(value)
    except ParameterError as error:
        return SetParametersResult(successful=False, reason=str(error)), None
    return SetParametersResult(successful=True), settings
