"""Every setting in one table: type, default, range, choices, unit, whether it may change in use, and what it is for.

The node's parameters, config/drive_seg.yaml, docs/parameters.md, the options of the commands and the checks of all of
them are made from this table. To add a setting, add a line to `Settings`. Needs no ROS.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, cast

from drive_seg.core.drivable import ASSUMED_HEIGHT, DrivableRule
from drive_seg.core.frame import MAX_IMAGE_PIXELS
from drive_seg.core.health.camera import CameraLimits
from drive_seg.core.mounted import Mount
from drive_seg.errors import ParameterError
from drive_seg.network import STRIDE
from drive_seg.runtimes import ENGINES, PRECISIONS

GROUPS = {
    "node": "The node itself",
    "cameras": "Several cameras in one node",
    "network": "The network and what runs it",
    "masks": "Labels and drivable area",
    "health": "When the results can be believed",
    "ground": "The camera on the vehicle, and grid, scan and points",
    "pictures": "Pictures for people",
}
"""The groups that settings belong to, in the order of the pages: a command takes the options of whole groups."""

_WORDS = {bool: "true or false", int: "a whole number", str: "text", tuple: "a list of names, e.g. [front, left]"}


@dataclass(frozen=True)
class Setting:
    """One line of the table.

    kind: bool, int, float, str or tuple (of names), that of `default`. about: one plain sentence. unit: of the value,
    "" where it has none. low, high: bounds that the value may reach. choices: the only texts it may be. live: it may
    change in use; the others are read when the node is configured. file: names a file, or is empty. needed: may not be
    empty. own: each of several cameras may have its own, see drive_seg/rig.py.
    """

    name: str
    group: str
    default: Any
    about: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    file: bool = False
    needed: bool = False
    own: bool = False

    @property
    def kind(self) -> type:
        """The type of its values."""
        return type(self.default)

    @property
    def allowed(self) -> str:
        """Its range or choices, for people: `0.1 to 3600 s`, `raw, compressed`; its unit where it has neither."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None or self.high is None:
            return self.unit
        return f"{_number(self.low)} to {_number(self.high)} {self.unit}".rstrip()

    def check(self, value: Any) -> None:
        """Raise ParameterError for a value of another type, out of range or not among the choices.

        The type must be the very one, as for ROS 2, where 2 is not a number with a point.
        """
        if self.kind is tuple and type(value) is list:
            value = tuple(value)
        if type(value) is not self.kind:
            raise ParameterError(f"{self.name} must be {self._expected(value)}, not {_short(value)}")
        if self.kind is tuple:
            _check_names(self.name, cast("tuple[object, ...]", value))
        if self.low is not None and self.high is not None and not self.low <= cast("float", value) <= self.high:
            raise ParameterError(f"{self.name} must be from {_number(self.low)} to {_number(self.high)}, not {value!r}")
        if self.choices and value not in self.choices:
            raise ParameterError(f"{self.name} must be one of {', '.join(self.choices)}, not {_short(value)}")
        if self.needed and not value:
            raise ParameterError(f"{self.name} must not be empty", f"give its name, e.g. {self.default}")

    def check_file(self, value: str) -> None:
        """Raise ParameterError where the value names a file that is not there."""
        if not self.file or not value:
            return
        try:
            there = Path(value).expanduser().is_file()
        except (OSError, RuntimeError, ValueError) as error:  # an unknown user, a name that no file can have
            raise ParameterError(f"{self.name}: {_short(value)} can't be a file: {error}") from error
        if not there:
            raise ParameterError(f"{self.name}: there is no file {value}")

    def _expected(self, value: Any) -> str:
        if self.kind is float:
            return f"a number with a point, e.g. {float(value) if type(value) is int else self.default!r}"
        if self.kind is str and isinstance(value, (bool, int, float)):
            return f"text, e.g. \"'{value}'\""
        return _WORDS[self.kind]


def _setting(group: str, default: Any, about: str, low: float | None = None, high: float | None = None,
             unit: str = "", **more: Any) -> Any:
    return field(default=default, metadata={"group": group, "about": about, "low": low, "high": high, "unit": unit,
                                            **more})


@dataclass(frozen=True)
class Settings:
    """All settings with values that can be used together. A change is `dataclasses.replace`.

    Raises ParameterError for values that can't be used; whether the files are there is `check_files`. As usual in
    Python a whole number stands for a number with a point, numpy's numbers for Python's, and a Path for its text.
    """

    autostart: bool = _setting(
        "node", True, "The node configures and activates itself; false leaves that to a life-cycle manager.")
    image_transport: str = _setting(
        "node", "raw", "Subscribe to raw images, or to compressed ones on image/compressed.",
        choices=("raw", "compressed"), own=True)

    cameras: tuple[str, ...] = _setting(
        "cameras", ("",), "Names of the node's cameras, e.g. [front, left, right]; [''] is one camera without a name.")
    weight: float = _setting(
        "cameras", 1.0, "A camera's share of the engine where there is not time for every frame.", 0.01, 100.0,
        live=True, own=True)
    camera_tolerance: float = _setting(
        "cameras", 0.1, "The joint grid and scan are made of frames whose stamps lie within this.", 0.001, 10.0, "s")
    odom_frame: str = _setting(
        "cameras", "odom", "Frame of TF in which the vehicle moves: its motion between the stamps of a joint grid is"
        " compensated; empty compensates nothing.")

    network: str = _setting(
        "network", "", "An .onnx file with its .yaml beside it; empty takes the network that ships.", file=True)
    engine: str = _setting(
        "network", "auto", "The runtime; auto takes TensorRT where a GPU can be used, else OpenVINO.",
        choices=("auto", *ENGINES))
    precision: str = _setting(
        "network", "auto", "The network's arithmetic; auto takes the engine's fastest that keeps the accuracy.",
        choices=PRECISIONS)
    plan_folder: str = _setting(
        "network", "", "Folder for TensorRT's plans and kernels; empty takes $XDG_CACHE_HOME/drive_seg, by default"
        " ~/.cache/drive_seg.")
    input_height: int = _setting(
        "network", 0, "Height of the picture that the network sees, a multiple of 32, half of the network's own at"
        " least; 0 takes the network's own.", 0, 4096, "px")
    input_width: int = _setting(
        "network", 0, "Width of the picture that the network sees, a multiple of 32, half of the network's own at"
        " least; 0 takes the network's own.", 0, 4096, "px")

    output_size: str = _setting(
        "masks", "camera", "Size of the published images: the camera's, or the network's, which takes less time.",
        choices=("camera", "network"), live=True, own=True)
    min_confidence: float = _setting(
        "masks", DrivableRule.min_confidence, "A pixel must be road with this probability to be drivable.",
        0.0, 1.0, live=True, own=True)
    strictness: float = _setting(
        "masks", 1.0,
        "How readily a pixel is called unknown: 1 as the network's file says, more is stricter, 0 trusts everything.",
        0.0, 10.0)
    start_width: float = _setting(
        "masks", DrivableRule.start_width,
        "Share of the image width, centred, in which the road in front of the vehicle begins.", 0.0, 1.0,
        live=True, own=True)
    start_height: float = _setting(
        "masks", DrivableRule.start_height,
        "Share of the image height, from the bottom, in which the road in front of the vehicle begins.",
        0.0, 1.0, live=True, own=True)
    speck_size: float = _setting(
        "masks", DrivableRule.speck,
        "Patches that are smaller than this on the ground, across and up the image, end no road; half of it where the"
        " network is 80 % sure of them. The camera is taken to be 2 m high, or camera_height where that is more. 0 lets"
        " all end it.",
        0.0, 1.0, "m", live=True, own=True)
    temporal_filter: bool = _setting(
        "masks", False, "Hold back unsure label changes for one frame; road that ends never waits.", own=True)
    ego_mask: str = _setting(
        "masks", "", "An image of any size, non-zero where the camera sees the vehicle itself.", file=True, own=True)

    camera_timeout: float = _setting(
        "health", CameraLimits.timeout, "FAULT (the camera is STALE) when no image comes for this long.",
        0.1, 3600.0, "s", live=True, own=True)
    frozen_timeout: float = _setting(
        "health", CameraLimits.frozen, "FAULT when the same image comes for this long; 0 allows still images.",
        0.0, 3600.0, "s", live=True, own=True)
    latency_budget: float = _setting(
        "health", 0.0, "Time from receiving a frame to publishing its masks; where it is missed for a second, and by"
        " five frames at least, a smaller input size is used; 0 sets no budget.", 0.0, 10000.0, "ms")
    fault_policy: str = _setting(
        "health", "silent", "In a fault publish nothing (silent), or everything as unknown.",
        choices=("silent", "unknown"), live=True, own=True)
    max_image_pixels: int = _setting(
        "health", MAX_IMAGE_PIXELS,
        "Largest camera image, width times height; a larger one is refused before it is decoded.",
        1024, 1_000_000_000, "px", live=True, own=True)

    base_frame: str = _setting(
        "ground", Mount.base_frame, "Frame of grid, scan and points: x forward, y left, z up.", needed=True)
    camera_height: float = _setting(
        "ground", 0.0, "Height of the camera above base_frame's origin; 0 takes the camera's pose from TF.",
        0.0, 100.0, "m", own=True)
    camera_pitch: float = _setting(
        "ground", Mount.camera_pitch, "Angle by which the camera looks down.", -1.6, 1.6, "rad", own=True)
    camera_roll: float = _setting(
        "ground", Mount.camera_roll, "Angle by which the camera's right side is lower.", -3.2, 3.2, "rad", own=True)
    camera_yaw: float = _setting(
        "ground", Mount.camera_yaw, "Angle by which the camera looks to the left.", -3.2, 3.2, "rad", own=True)
    camera_x: float = _setting(
        "ground", Mount.camera_x, "Distance of the camera in front of base_frame's origin.", -100.0, 100.0, "m",
        own=True)
    camera_y: float = _setting(
        "ground", Mount.camera_y, "Distance of the camera to the left of base_frame's origin.", -100.0, 100.0, "m",
        own=True)
    camera_rectified: bool = _setting(
        "ground", Mount.camera_rectified,
        "The images are rectified already: CameraInfo's P describes them, not K and D.", own=True)
    ground_z: float = _setting(
        "ground", Mount.ground_z, "Height of the ground above base_frame's origin.", -100.0, 100.0, "m")
    max_pixel_length: float = _setting(
        "ground", Mount.max_pixel_length,
        "Length of ground that one pixel may cover; nothing is measured where it covers more.",
        0.01, 10.0, "m", own=True)
    max_range: float = _setting(
        "ground", Mount.max_range, "Distance from the camera beyond which nothing is measured.", 1.0, 500.0, "m",
        own=True)
    pavement_is_obstacle: bool = _setting(
        "ground", Mount.pavement_is_obstacle,
        "Pavement is occupied in the grid and ends the scan; false: it is free.")
    grid_resolution: float = _setting(
        "ground", Mount.grid_resolution, "Side of a cell of the grid.", 0.01, 10.0, "m")
    grid_front: float = _setting(
        "ground", Mount.grid_front, "How far the grid reaches to the front.", -500.0, 500.0, "m")
    grid_back: float = _setting(
        "ground", Mount.grid_back, "x of the grid's rear edge; negative lies behind base_frame's origin.",
        -500.0, 500.0, "m")
    grid_width: float = _setting(
        "ground", Mount.grid_width, "Width of the grid from right to left, centred.", 0.1, 500.0, "m")
    scan_increment: float = _setting(
        "ground", Mount.scan_increment, "Angle between two rays of the scan.", 0.0005, 0.5, "rad")

    overlay_quality: int = _setting(
        "pictures", 80, "JPEG quality of overlay/compressed.", 1, 100, live=True, own=True)

    def __post_init__(self) -> None:
        for setting in TABLE.values():
            value = _plain(getattr(self, setting.name), setting.kind)
            object.__setattr__(self, setting.name, value)
            setting.check(value)
        if not self.cameras:
            object.__setattr__(self, "cameras", ("",))
        for name in ("input_height", "input_width"):
            if getattr(self, name) % STRIDE:
                raise ParameterError(f"{name} must be a multiple of {STRIDE}, it is {getattr(self, name)}")
        if bool(self.input_height) != bool(self.input_width):
            raise ParameterError("input_height and input_width go together", "set both, or neither")
        _ = self.mount.shape  # raises for a grid that is empty or too large

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, exact: bool = True) -> Settings:
        """From names and values; the others keep their defaults.

        exact: types must be the very ones, as for ROS 2. Raises ParameterError, also for a name that nobody knows.
        """
        for name, value in values.items():
            setting = find(name)
            if exact:
                setting.check(value)
        return cls(**values)

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """The same with changes made in use. Raises ParameterError for a value that can't be used, and for another
        value of a setting that is only read when the node is configured."""
        for name, value in values.items():
            setting = find(name)
            if not setting.live and _plain(value, setting.kind) != getattr(self, name):
                raise ParameterError(f"{name} is read when the node is configured",
                                     "deactivate and clean up the node, set it, then configure and activate")
            setting.check(value)
            setting.check_file(value)
        return replace(self, **values)

    def check_files(self) -> None:
        """Raise ParameterError where a file that is named is not there."""
        for setting in TABLE.values():
            setting.check_file(getattr(self, setting.name))

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) that the network sees in pixels; None for the network's own."""
        return (self.input_height, self.input_width) if self.input_height else None

    @property
    def rule(self) -> DrivableRule:
        """What makes a pixel drivable."""
        height = max(ASSUMED_HEIGHT, self.camera_height - self.ground_z)
        return DrivableRule(self.min_confidence, self.start_width, self.start_height, self.speck_size, height)

    @property
    def limits(self) -> CameraLimits:
        """When the camera is at fault."""
        return CameraLimits(timeout=self.camera_timeout, frozen=self.frozen_timeout)

    @property
    def mount(self) -> Mount:
        """Where the camera sits, and what is measured of the ground."""
        return Mount(**{f.name: getattr(self, f.name) for f in fields(Mount)})

    def absolute(self) -> Settings:
        """The same for a process that was started in another folder."""
        paths = {name: str(Path(value).expanduser().absolute())
                 for name, setting in TABLE.items()
                 if (setting.file or name == "plan_folder") and (value := getattr(self, name))}
        return replace(self, **cast("dict[str, Any]", paths))


TABLE: dict[str, Setting] = {f.name: Setting(f.name, default=f.default, **f.metadata) for f in fields(Settings)}
"""The settings by name, in their order."""


def find(name: str) -> Setting:
    """The line of the table. Raises ParameterError for a name that nobody knows."""
    if name not in TABLE:
        raise unknown(name)
    return TABLE[name]


def of_groups(groups: Iterable[str]) -> list[Setting]:
    """The settings of some groups, in the order of the table."""
    wanted = set(groups)
    return [setting for setting in TABLE.values() if setting.group in wanted]


def unknown(name: str, known: Collection[str] = TABLE) -> ParameterError:
    """The error for a name that nobody knows."""
    near = difflib.get_close_matches(name, known, 1)
    return ParameterError(f"no parameter is called {_short(name)}",
                          f"did you mean {near[0]}?" if near else "docs/parameters.md lists them")


def _plain(value: Any, kind: type) -> Any:
    """A number of any library as Python's own, a path as its text; anything else as it is."""
    if kind is float and isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return str(value) if kind is str and isinstance(value, Path) else value


def _check_names(setting: str, names: tuple[object, ...]) -> None:
    for name in names:
        if not isinstance(name, str) or (name and not re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", name)):
            raise ParameterError(f"{setting} must be names of small letters, digits and single underscores, e.g."
                                 f" front_left, not {_short(name)}")
    if len(set(names)) != len(names):
        raise ParameterError(f"{setting} names a camera twice: {_short(list(names))}")
    if "" in names and len(names) > 1:
        raise ParameterError(f"{setting} has a name that is empty beside others: {_short(list(names))}",
                             "give every camera a name")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _short(value: Any) -> str:
    """A value as Python writes it, cut where it is long: it comes from outside."""
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."
