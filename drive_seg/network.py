"""A network on disk: the ONNX file and the YAML file beside it that says what its outputs mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from drive_seg.core.classes import ClassTable, ClassTableError
from drive_seg.core.decode import TrustModel
from drive_seg.core.health.network import Typical
from drive_seg.core.selftest import SelfTest
from drive_seg.core.surface import SurfaceRule

FORMAT = 1


class NetworkError(ValueError):
    """A network that can't be used; the message names the file and the fix."""


@dataclass(frozen=True)
class Network:
    """An ONNX network and its description.

    input_size: (height, width). temperature: divides the logits before the soft-max. trust: see TrustModel, None when
    the network brings no statistics. surface: see SurfaceRule, likewise. typical: of its training images, likewise.
    self_test: its answer to the built-in picture, likewise. int8: the same network computed in 8 bits, an ONNX file
    with quantised tensors for processors that are fast at it, likewise; int8_sha256 is that file's. provenance: how it
    came about, as its author wrote it.
    """

    path: Path
    name: str
    sha256: str
    input_size: tuple[int, int]
    table: ClassTable
    temperature: float = 1.0
    trust: TrustModel | None = None
    surface: SurfaceRule | None = None
    typical: Typical | None = None
    self_test: SelfTest | None = None
    int8: Path | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    int8_sha256: str = ""

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read NAME.onnx and NAME.yaml. Raises NetworkError for anything missing, damaged or not fitting."""
        path = Path(path).expanduser()
        if path.suffix != ".onnx":
            raise NetworkError(f"a network is an .onnx file with a .yaml beside it, this is {path}")
        if not path.is_file():
            raise NetworkError(f"no network at {path}: give the path of an .onnx file")
        sidecar = path.with_suffix(".yaml")
        if not sidecar.is_file():
            raise NetworkError(f"{path} has no {sidecar.name} beside it: it says what the classes are (see the README,"
                               " 'Your own network')")
        try:
            facts = yaml.safe_load(sidecar.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise NetworkError(f"{sidecar} is no valid YAML: {error}") from error
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise NetworkError(f"{sidecar} must say `format: {FORMAT}` (see the README, 'Your own network')")
        digest = _checked(path, facts.get("onnx_sha256"), sidecar)
        try:
            int8, int8_digest = _int8(facts.get("int8"), sidecar)
            table = ClassTable.from_dicts(facts.get("classes"))
            return cls(path, str(facts.get("name", path.stem)), digest, _input_size(facts), table,
                       float(facts.get("temperature", 1.0)), _trust(facts.get("unknown"), len(table)),
                       _surface(facts.get("unknown")),
                       _typical(facts.get("unknown")), _self_test(facts.get("self_test")),
                       int8, facts.get("provenance") or {}, int8_digest)
        except (ClassTableError, TypeError, ValueError, KeyError) as error:
            raise NetworkError(f"{sidecar}: {error}") from error

    def with_strictness(self, strictness: float) -> Network:
        """The same network, quicker (above 1) or slower to call a pixel unknown; 0 trusts everything."""
        if not strictness >= 0:
            raise NetworkError(f"strictness must be 0 or more, it is {strictness}")
        trust, surface = self.trust, self.surface
        if trust is not None:
            trust = replace(trust, limit=trust.limit / strictness if strictness else -np.inf)
        if surface is not None:
            surface = SurfaceRule(surface.limit / strictness) if strictness else None
        return replace(self, trust=trust, surface=surface)


def _checked(path: Path, expected: str | None, sidecar: Path) -> str:
    """The sha256 of a file. Raises NetworkError when it is not the expected one."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != expected:
        raise NetworkError(f"{path} is damaged or not the network that {sidecar.name} describes: its sha256 is"
                           f" {digest}, expected {expected}; fetch or export it again")
    return digest


def _int8(facts: dict | None, sidecar: Path) -> tuple[Path | None, str]:
    if not facts:
        return None, ""
    path = sidecar.parent / facts["file"]
    if not path.is_file():
        raise NetworkError(f"{sidecar.name} names {path.name}, which is not beside it: fetch or export it again, or"
                           " take `int8` out of the YAML")
    return path, _checked(path, facts.get("sha256"), sidecar)


def _input_size(facts: dict) -> tuple[int, int]:
    size = facts.get("input") or {}
    height, width = int(size.get("height", 0)), int(size.get("width", 0))
    if height <= 0 or width <= 0:
        raise ValueError("`input` must give height and width in pixels")
    return height, width


def _trust(facts: dict | None, classes: int) -> TrustModel | None:
    if not facts or "mean" not in facts:
        return None
    mean, std = (np.asarray(facts[key], np.float32) for key in ("mean", "std"))
    if mean.shape != (classes,) or std.shape != (classes,):
        raise ValueError(f"`unknown` must give {classes} values of mean and std, one a class")
    return TrustModel(mean, std, float(facts["limit"]))


def _surface(facts: dict | None) -> SurfaceRule | None:
    return SurfaceRule(float(facts["surface"])) if facts and "surface" in facts else None


def _typical(facts: dict | None) -> Typical | None:
    rows = (facts or {}).get("typical")
    if not rows:
        return None
    pairs = {key: tuple(float(v) for v in rows[key]) for key in ("confidence", "unknown")}
    if any(len(pair) != 2 for pair in pairs.values()):
        raise ValueError("`unknown: typical` must give mean and standard deviation of confidence and unknown")
    return Typical(**pairs)


def _self_test(facts: dict | None) -> SelfTest | None:
    return SelfTest.from_dict(facts) if facts else None
