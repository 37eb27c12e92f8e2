"""The node's parameters: one table, from which they are declared, validated and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from drive_seg.core.drivable import DrivableRule
from drive_seg.core.grid import GridShape
from drive_seg.core.health.camera import CameraLimits
from drive_seg.core.mounted import Mount
from drive_seg.errors import ParameterError
from drive_seg.network import STRIDE
from drive_seg.runtimes import ENGINES, PRECISIONS


@dataclass(frozen=True)
class Spec:
    """One parameter. file: names one, or is empty. needed: may not be empty. live: may change while the node is
    configured; the others need `cleanup` first."""

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    file: bool = False
    needed: bool = False
    live: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(description=self.description)
        if self.choices:
            descriptor.additional_constraints = "one of " + ", ".join(self.choices)
        elif not self.live:
            descriptor.additional_constraints = "read when the node is configured"
        if self.low is not None and isinstance(self.default, float):
            limits = FloatingPointRange(from_value=float(self.low), to_value=float(self.high))
            descriptor.floating_point_range = [limits]
        elif self.low is not None:
            descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high))]
        return descriptor

    def fix(self, value: Any) -> str:
        """What a value of the wrong type, or out of range, should be."""
        if type(value) is type(self.default) and self.low is not None:
            return f"{self.name} must be from {self.low:g} to {self.high:g}, not {value!r}"
        if isinstance(self.default, float):
            example = float(value) if type(value) is int else self.default
            return f"{self.name} must be a number with a point, e.g. {example!r}, not {value!r}"
        kind = {bool: "true or false", int: "a whole number", str: f"text, e.g. \"'{value}'\""}[type(self.default)]
        return f"{self.name} must be {kind}, not {value!r}"

    def problem(self, value: Any) -> str | None:
        """Why a value can't be taken; None when it can. Types and ranges are checked by rclpy itself."""
        if self.choices and value not in self.choices:
            return f"{self.name} must be one of {', '.join(self.choices)}, not {value!r}"
        if self.needed and not value:
            return f"{self.name} must not be empty: give its name, e.g. {self.default}"
        if self.file and value:
            try:
                there = Path(value).expanduser().is_file()
            except (OSError, RuntimeError, ValueError) as error:  # a user that is not, a name that can't be one
                return f"{self.name}: {value!r} can't be a file: {error}"
            if not there:
                return f"{self.name}: there is no file {value}"
        return None


PARAMETERS: tuple[Spec, ...] = (
    Spec("autostart", True, "configure and activate by itself; false leaves the life cycle to a manager"),
    Spec("network", "", "an .onnx file with its .yaml beside it; empty takes the network that ships", file=True),
    Spec("engine", "auto", "runtime of the network", choices=("auto", *ENGINES)),
    Spec("precision", "auto", "of the network's arithmetic; auto is the engine's fastest that keeps the accuracy",
         choices=PRECISIONS),
    Spec("plan_folder", "", "folder for TensorRT's plans and kernels; empty takes ~/.cache/drive_seg"),
    Spec("input_height", 0, "height that the network sees in pixels, a multiple of 32; 0 takes its own", 0, 4096),
    Spec("input_width", 0, "width that the network sees in pixels, a multiple of 32; 0 takes its own", 0, 4096),
    Spec("image_transport", "raw", "`compressed` subscribes to image/compressed", choices=("raw", "compressed")),
    Spec("output_size", "camera", "size of the published images: the camera's, or the network's (cheaper)",
         choices=("camera", "network"), live=True),
    Spec("min_confidence", DrivableRule.min_confidence, "least probability of road for a drivable pixel", 0.0, 1.0,
         live=True),
    Spec("strictness", 1.0, "how readily a pixel is called unknown: 1 as fitted, more is stricter, 0 trusts everything",
         0.0, 10.0),
    Spec("start_width", DrivableRule.start_width,
         "share of the image width, centred, in which the road in front of the vehicle begins", 0.0, 1.0, live=True),
    Spec("start_height", DrivableRule.start_height,
         "share of the image height, from the bottom, in which the road in front of the vehicle begins",
         0.0, 1.0, live=True),
    Spec("temporal_filter", False, "hold back unsure label changes for one frame; road that ends never waits"),
    Spec("ego_mask", "", "image file, non-zero where the camera sees the vehicle itself; any size", file=True),
    Spec("camera_timeout", CameraLimits.timeout, "FAULT (the camera is STALE) when no image comes for so many seconds",
         0.1, 3600.0, live=True),
    Spec("frozen_timeout", CameraLimits.frozen,
         "FAULT when the same image comes for so many seconds; 0 allows still images", 0.0, 3600.0, live=True),
    Spec("latency_budget", 0.0, "milliseconds from receiving a frame to publishing its masks; missed for a second, a"
         " smaller input size is used; 0: none",
         0.0, 10000.0),
    Spec("fault_policy", "silent", "in a fault nothing is published, or everything as unknown",
         choices=("silent", "unknown"), live=True),
    Spec("base_frame", Mount.base_frame, "frame of grid, scan and points: x forward, y left, z up", needed=True),
    Spec("camera_height", 0.0, "metres of the camera above base_frame's origin; 0 takes the pose from TF", 0.0, 100.0),
    Spec("camera_pitch", Mount.camera_pitch, "radians that the camera looks down", -1.6, 1.6),
    Spec("camera_roll", Mount.camera_roll, "radians that the camera's right side is lower", -3.2, 3.2),
    Spec("camera_yaw", Mount.camera_yaw, "radians that the camera looks to the left", -3.2, 3.2),
    Spec("camera_x", Mount.camera_x, "metres of the camera in front of base_frame's origin", -100.0, 100.0),
    Spec("camera_y", Mount.camera_y, "metres of the camera to the left of base_frame's origin", -100.0, 100.0),
    Spec("camera_rectified", Mount.camera_rectified,
         "the images are rectified already: CameraInfo's P describes them, not K and D"),
    Spec("ground_z", Mount.ground_z, "metres of the ground above base_frame's origin", -100.0, 100.0),
    Spec("max_pixel_length", Mount.max_pixel_length,
         "metres of ground that one pixel may cover; beyond, nothing is measured", 0.01, 10.0),
    Spec("max_range", Mount.max_range, "metres from the camera beyond which nothing is measured", 1.0, 500.0),
    Spec("pavement_is_obstacle", Mount.pavement_is_obstacle,
         "pavement is occupied in the grid and ends the scan; false: it is free"),
    Spec("grid_resolution", Mount.grid_resolution, "metres of a cell of the grid", 0.01, 10.0),
    Spec("grid_front", Mount.grid_front, "metres that the grid reaches to the front", -500.0, 500.0),
    Spec("grid_back", Mount.grid_back, "x of the grid's rear edge in metres; negative lies behind base_frame's origin",
         -500.0, 500.0),
    Spec("grid_width", Mount.grid_width, "metres of the grid from right to left, centred", 0.1, 500.0),
    Spec("scan_increment", Mount.scan_increment, "radians between two rays of the scan", 0.0005, 0.5),
    Spec("overlay_quality", 80, "JPEG quality of overlay/compressed", 1, 100, live=True),
)

_BY_NAME = {spec.name: spec for spec in PARAMETERS}


def declare(node: Node) -> None:
    """Declare every parameter. Raises ParameterError for a value, given at the start, that can't be one."""
    for spec in PARAMETERS:
        try:
            node.declare_parameter(spec.name, spec.default, spec.descriptor())
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            given = node._parameter_overrides[spec.name].value  # rclpy tells it in prose only
            raise ParameterError(spec.fix(given)) from error


def read(node: Node) -> SimpleNamespace:
    """The parameters' present values by name. Raises ValueError with the reason for one that can't be used."""
    values = {spec.name: node.get_parameter(spec.name).value for spec in PARAMETERS}
    problem = first_problem(values)
    if problem:
        raise ParameterError(problem)
    return SimpleNamespace(**values)


def check(changes: Sequence[Parameter], settings: SimpleNamespace | None) -> SetParametersResult:
    """Answer a request to change parameters, before they change. settings: the values that the node was configured
    with, None while it is not."""
    for change in changes:
        spec = _BY_NAME.get(change.name)
        if spec is None:
            continue
        if settings is not None and not spec.live and change.value != getattr(settings, spec.name):
            return SetParametersResult(successful=False, reason=f"{spec.name} is read when the node is configured:"
                                       " deactivate and clean up the node, set it, then configure and activate")
        problem = spec.problem(change.value)
        if problem:
            return SetParametersResult(successful=False, reason=problem)
    return SetParametersResult(successful=True)


def first_problem(values: dict[str, Any]) -> str | None:
    """The first reason why a set of values can't be used; None when it can."""
    for name, value in values.items():
        problem = _BY_NAME[name].problem(value)
        if problem:
            return problem
    for name in ("input_height", "input_width"):
        if values[name] % STRIDE:
            return f"{name} must be a multiple of {STRIDE}, it is {values[name]}"
    if bool(values["input_height"]) != bool(values["input_width"]):
        return "input_height and input_width go together: set both, or neither"
    try:
        GridShape(values["grid_resolution"], values["grid_back"], values["grid_front"], -values["grid_width"] / 2,
                  values["grid_width"] / 2)
    except ValueError as error:
        return str(error)
    return None
