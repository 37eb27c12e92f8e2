"""What a replay depends on besides the bag."""

from __future__ import annotations

import os
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import yaml

from drive_seg.core.drivable import DrivableRule
from drive_seg.core.engine import Engine
from drive_seg.core.health.camera import CameraLimits
from drive_seg.core.mounted import Mount
from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import DriveSegError
from drive_seg.image_file import EgoMaskError, read_ego_mask
from drive_seg.network import Network
from drive_seg.replay.resultbag import MASKS, ON_GROUND, OUTPUTS, STORAGES, USUAL
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine


class ReplayError(DriveSegError, RuntimeError):
    """A replay that can't be done; the message names the fix."""


_ENGINES = 4
"""On a CPU, at most: each takes some hundred MB."""

CHOICES = {"output_size": ("camera", "network"), "fault_policy": ("silent", "unknown"), "storage": STORAGES}
"""Values of the settings that take one of a few."""


@dataclass(frozen=True)
class Settings:
    """The choices that change a result, and plan_folder; everything in it can be pickled and written as JSON.

    network: an .onnx file, None for the one that ships. size: (height, width) that the network sees, None for its own.
    topic: the image topic, None for the bag's only camera. outputs: names of drive_seg.replay.resultbag.OUTPUTS.
    ego_mask: image file, non-zero where the camera sees the vehicle itself. mount: where the camera sits and what
    is told of the ground; the pose is the bag's TF's where its height is 0. The others: as the node's parameters.
    """

    network: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    size: tuple[int, int] | None = None
    topic: str | None = None
    outputs: tuple[str, ...] = USUAL
    storage: str = "mcap"
    min_confidence: float = DrivableRule.min_confidence
    start_width: float = DrivableRule.start_width
    start_height: float = DrivableRule.start_height
    ego_mask: str | None = None
    strictness: float = 1.0
    temporal_filter: bool = False
    mount: Mount | None = None
    output_size: str = "camera"
    overlay_quality: int = 80
    fault_policy: str = "silent"
    camera_timeout: float = CameraLimits.timeout
    frozen_timeout: float = CameraLimits.frozen
    plan_folder: str | None = None

    def __post_init__(self) -> None:
        for name in ("outputs", "size"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))  # it must be hashable
        for part in (self,) if self.mount is None else (self, self.mount):
            for name, default in _defaults(type(part)).items():
                if getattr(part, name) is not None or name not in _OPTIONAL:
                    _check_kind(name, getattr(part, name), default)
        wrong = [name for name in self.outputs if name not in OUTPUTS]
        if wrong:
            raise ReplayError(f"{', '.join(wrong)} is none of the outputs {', '.join(OUTPUTS)}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ReplayError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")

    def written(self, ground: bool) -> tuple[str, ...]:
        """What the result bag gets: masks always, and grid, scan and points where something is known of the ground."""
        return tuple(name for name in OUTPUTS if name in MASKS or (
            name in self.outputs and (ground or name not in ON_GROUND)))

    def load_network(self) -> Network:
        """As strict as asked for. Raises NetworkError or FileNotFoundError."""
        network = Network.load(self.network or default_network())
        return network if self.strictness == 1 else network.with_strictness(self.strictness)

    def open_engine(self, network: Network, threads: int | None = None) -> Engine:
        """threads: see drive_seg.runtimes.open_engine. Raises EngineError."""
        return open_engine(self.engine, network, input_size=self.size, precision=self.precision, threads=threads,
                           plan_folder=Path(self.plan_folder).expanduser() if self.plan_folder else None)

    def open_engines(self, cores: int | None = None) -> list[Engine]:
        """Engines of the same network, for as many frames at a time: on a CPU several of few threads, which together
        are faster than one of many; on a GPU one. cores: to use, by default all that this process may. Raises
        NetworkError, FileNotFoundError or EngineError.
        """
        network = self.load_network()
        cores = cores or len(os.sched_getaffinity(0))
        count = min(cores, _ENGINES)
        engines = [self.open_engine(network, cores // count)]
        found = replace(self, engine=engines[0].name, precision=engines[0].precision)
        try:
            while len(engines) < count and engines[0].on_cpu:
                engines.append(found.open_engine(network, cores // count))
        except BaseException:
            for engine in engines:
                engine.close()
            raise
        return engines

    def open_segmenter(self, engine: Engine) -> Segmenter:
        """Around one of the engines. Raises ReplayError."""
        try:
            rule = DrivableRule(self.min_confidence, self.start_width, self.start_height)
        except ValueError as error:
            raise ReplayError(str(error)) from error
        network = self.load_network()
        return Segmenter(engine, network.table, rule, self.read_ego_mask(), network.surface)

    def read_ego_mask(self) -> np.ndarray | None:
        """(h, w) uint8, None when there is none. Raises ReplayError."""
        try:
            return read_ego_mask(self.ego_mask)
        except EgoMaskError as error:
            raise ReplayError(str(error)) from error

    def absolute(self) -> Settings:
        """The same for a process that was started elsewhere."""
        return replace(self, **{name: str(Path(path).expanduser().absolute())
                                for name in ("network", "ego_mask", "plan_folder") if (path := getattr(self, name))})

    def to_dict(self) -> dict:
        """For summary.json: what changes a result."""
        return {name: value for name, value in asdict(self.absolute()).items() if name != "plan_folder"}


def read_parameters(path: Path, node: str = "drive_seg") -> dict:
    """The node's parameters in a ROS 2 parameter file, as `--ros-args --params-file` reads it. Raises ReplayError."""
    try:
        content = yaml.safe_load(path.expanduser().read_text())
    except OSError as error:
        raise ReplayError(f"{path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReplayError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    values: dict = {}
    if isinstance(content, dict):
        for name in ("/**", node, f"/{node}"):  # the more special goes before the more general
            part = content.get(name)
            if isinstance(part, dict) and isinstance(part.get("ros__parameters"), dict):
                values |= part["ros__parameters"]
    for name, default in {**_defaults(Settings), **_defaults(Mount), "input_height": 0, "input_width": 0}.items():
        if name in values:
            _check_kind(name, values[name], default, f"{path}: ")
    if not values:
        raise ReplayError(f"{path} has no parameters of /{node}",
                          f"it needs `/**:` or `/{node}:` with `ros__parameters:`")
    return values


def _defaults(kind: type) -> dict[str, object]:
    """The fields of Settings or Mount that are a number, a text or a flag, with a value of that kind."""
    defaults = {f.name: "" if f.name in _OPTIONAL else 0.0 if f.default is MISSING else f.default
                for f in fields(kind)}
    return {name: default for name, default in defaults.items() if type(default) in _KINDS}


_OPTIONAL = ("network", "topic", "ego_mask", "plan_folder")  # a text, or None
_KINDS = {bool: (bool, "true or false"), int: (int, "a whole number"), float: ((int, float), "a number"),
          str: (str, "a text")}


def _check_kind(name: str, value: object, default: object, where: str = "") -> None:
    """Raises ReplayError for a value of another kind than the default."""
    kinds, words = _KINDS[type(default)]
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise ReplayError(f"{where}{name} must be {words}, not {value!r}")
