"""The node's parameters: one table, from which they are declared, validated and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from drive_seg.core.drivable import DrivableRule
from drive_seg.runtimes import ENGINES

_RULE = DrivableRule()


@dataclass(frozen=True)
class Spec:
    """One parameter. live: may change while the node is configured; the others need `cleanup` first."""

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    file: bool = False
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

    def problem(self, value: Any) -> str | None:
        """Why a value can't be taken; None when it can. Types and ranges are checked by rclpy itself."""
        if self.choices and value not in self.choices:
            return f"{self.name} must be one of {', '.join(self.choices)}, not {value!r}"
        if self.file and value and not Path(value).expanduser().is_file():
            return f"{self.name}: there is no file {value}"
        return None


PARAMETERS: tuple[Spec, ...] = (
    Spec("autostart", True, "configure and activate by itself; false leaves the life cycle to a manager"),
    Spec("network", "", "an .onnx file with its .yaml beside it; empty takes the network that ships", file=True),
    Spec("engine", "auto", "runtime of the network", choices=("auto", *ENGINES)),
    Spec("input_height", 0, "height that the network sees in pixels, a multiple of 32; 0 takes its own", 0, 4096),
    Spec("input_width", 0, "width that the network sees in pixels, a multiple of 32; 0 takes its own", 0, 4096),
    Spec("image_transport", "raw", "`compressed` subscribes to image/compressed", choices=("raw", "compressed")),
    Spec("output_size", "camera", "size of the published images: the camera's, or the network's (cheaper)",
         choices=("camera", "network"), live=True),
    Spec("min_confidence", _RULE.min_confidence, "least probability of road for a drivable pixel", 0.0, 1.0, live=True),
    Spec("start_width", _RULE.start_width,
         "share of the image width, centred, in which the road in front of the vehicle begins", 0.0, 1.0, live=True),
    Spec("start_height", _RULE.start_height,
         "share of the image height, from the bottom, in which the road in front of the vehicle begins",
         0.0, 1.0, live=True),
    Spec("ego_mask", "", "image file, non-zero where the camera sees the vehicle itself; any size", file=True),
    Spec("camera_timeout", 2.0, "warn when no image comes for so many seconds", 0.1, 3600.0, live=True),
    Spec("overlay_quality", 80, "JPEG quality of overlay/compressed", 1, 100, live=True),
)

_BY_NAME = {spec.name: spec for spec in PARAMETERS}


def declare(node: Node) -> None:
    """Declare every parameter. A value outside its range in the YAML file ends the node with rclpy's reason."""
    for spec in PARAMETERS:
        node.declare_parameter(spec.name, spec.default, spec.descriptor())


def read(node: Node) -> SimpleNamespace:
    """The parameters' present values by name. Raises ValueError with the reason for one that can't be used."""
    values = {spec.name: node.get_parameter(spec.name).value for spec in PARAMETERS}
    problem = first_problem(values)
    if problem:
        raise ValueError(problem)
    return SimpleNamespace(**values)


def check(changes: Sequence[Parameter], configured: bool) -> SetParametersResult:
    """Answer a request to change parameters, before they change."""
    for change in changes:
        spec = _BY_NAME.get(change.name)
        if spec is None:
            continue
        if configured and not spec.live:
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
        if values[name] % 32:
            return f"{name} must be a multiple of 32, it is {values[name]}"
    if bool(values["input_height"]) != bool(values["input_width"]):
        return "input_height and input_width go together: set both, or neither"
    return None
