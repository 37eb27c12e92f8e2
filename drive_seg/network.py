"""A network on disk: the ONNX file and the YAML file beside it that says what its outputs mean."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from drive_seg.core.classes import ClassTable, ClassTableError
from drive_seg.core.decode import TrustModel
from drive_seg.core.health.network import Typical
from drive_seg.core.selftest import SelfTest
from drive_seg.core.surface import SurfaceRule
from drive_seg.errors import DriveSegError
from drive_seg.onnx_header import read_header
from drive_seg.yaml_file import YamlError, quoted, read_yaml

FORMAT = 1

_LARGEST = 16_384  # pixels of a side of the input
_MOST_SAID = 400  # letters of a message
STRIDE = 32
"""What the height and the width of a network's input must be multiples of: most networks halve them five times."""


STAYS_FP32 = ".fp32"
"""Part of the names of layers that stay fp32 in an fp16 version, to tell them from fp32 that got in unasked."""


class NetworkError(DriveSegError, ValueError):
    """A network that can't be used; the message names the file and the fix."""


@dataclass(frozen=True)
class Network:
    """An ONNX network and its description.

    input_size: (height, width). temperature: divides the logits before the soft-max. trust: see TrustModel, None when
    the network brings no statistics. surface: see SurfaceRule, likewise. typical: of its training images, likewise.
    self_test: its answer to the built-in picture, likewise. int8: the same network computed in 8 bits, an ONNX file
    with quantised tensors for processors that are fast at it, likewise; int8_sha256 is that file's. fp16: the same
    network typed half, an ONNX file for TensorRT, likewise; fp16_sha256 is that file's. provenance: how it came about,
    as its author wrote it.
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
    fp16: Path | None = None
    fp16_sha256: str = ""
    int8_gpu: Path | None = None
    int8_gpu_sha256: str = ""

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read NAME.onnx and NAME.yaml. Raises NetworkError for anything missing, damaged or not fitting."""
        path = Path(path).expanduser()
        if path.suffix != ".onnx":
            raise NetworkError(f"a network is an .onnx file with a .yaml beside it, this is {path}")
        if not path.is_file():
            raise NetworkError(f"no network at {path}", "give the path of an .onnx file")
        sidecar = path.with_suffix(".yaml")
        if not sidecar.is_file():
            raise NetworkError(f"{path} has no {sidecar.name} beside it",
                               "it says what the classes are (see the README, 'Your own network')")
        try:
            facts = read_yaml(sidecar)
        except YamlError as error:
            raise NetworkError(error.reason, error.fix) from error
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise NetworkError(f"{sidecar} does not say `format: {FORMAT}`",
                               "add it (see the README, 'Your own network')")
        digest = _checked(path, facts.get("onnx_sha256"), sidecar)
        try:
            int8, int8_digest = _version(facts, "int8", sidecar)
            fp16, fp16_digest = _version(facts, "fp16", sidecar)
            int8_gpu, int8_gpu_digest = _version(facts, "int8_gpu", sidecar)
            table = ClassTable.from_dicts(facts.get("classes"))
            unknown = _mapping(facts, "unknown")
            return cls(path, str(facts.get("name", path.stem)), digest, _input_size(_mapping(facts, "input")), table,
                       _number(facts.get("temperature", 1.0), "temperature", above=0), _trust(unknown, len(table)),
                       _surface(unknown), _typical(unknown), _self_test(_mapping(facts, "self_test")),
                       int8, _mapping(facts, "provenance"), int8_digest, fp16, fp16_digest,
                       int8_gpu, int8_gpu_digest)
        except NetworkError:
            raise
        except (ClassTableError, TypeError, ValueError, KeyError, OverflowError) as error:
            raise NetworkError(f"{sidecar}: {_cut(str(error))}") from error

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


def fits_stride(size: tuple[int, int]) -> bool:
    """Whether both sides of an input size are multiples of STRIDE."""
    return not any(side % STRIDE for side in size)


def _checked(path: Path, expected: str | None, sidecar: Path) -> str:
    """The sha256 of a file. Raises NetworkError when it is not the expected one, or does not cover all weights: others
    could change unseen, while a plan or a finished replay is kept."""
    header = read_header(path)
    if header is not None and header.external:
        raise NetworkError(f"{path.name} has weights in other files ({', '.join(header.external[:3])}), which its"
                           " sha256 does not cover",
                           f"merge them with `python -c \"import onnx; onnx.save(onnx.load('{path.name}'),"
                           f" '{path.name}')\"`, and write its new sha256 into {sidecar.name}")
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            whole.update(block)
    digest = whole.hexdigest()
    if digest != expected:
        raise NetworkError(f"{path} is damaged or not the network that {sidecar.name} describes",
                           f"its sha256 is {digest}, expected {expected}; fetch or export it again")
    return digest


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SAID else text[:_MOST_SAID] + "..."


def _mapping(facts: dict, key: str) -> dict:
    """What the YAML says under a key, {} where it says nothing."""
    value = facts.get(key)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"`{key}` must be names with values (see the README, 'Your own network'), it is"
                         f" {quoted(value)}")
    return value or {}


def _number(value: Any, name: str, above: float = -math.inf) -> float:
    try:
        number = float(value)  # YAML 1.1 reads 1e-3 as text
    except (TypeError, ValueError):
        number = math.nan
    if not above < number < math.inf:
        wanted = "a number" if above == -math.inf else f"a number above {above:g}"
        raise ValueError(f"`{name}` must be {wanted}, it is {quoted(value)}: correct it, or export the network again")
    return number


def _numbers(facts: dict, key: str, count: int, within: str = "unknown", above: float = -math.inf) -> list[float]:
    rows = facts.get(key)
    if not isinstance(rows, list) or len(rows) != count:
        raise ValueError(f"`{within}: {key}` must be a list of {count} values, it is {quoted(rows)}: correct it, or"
                         " export the network again")
    return [_number(value, f"{within}: {key}", above) for value in rows]


def _version(facts: dict, precision: str, sidecar: Path) -> tuple[Path | None, str]:
    """The file of the same network in another precision, and its sha256; None where the YAML names none."""
    named = _mapping(facts, precision)
    if not named:
        return None, ""
    if not isinstance(named.get("file"), str):
        raise ValueError(f"`{precision}` must be {{file: NAME.{precision}.onnx, sha256: ...}}, it is {quoted(named)}")
    if Path(named["file"]).name != named["file"]:
        raise ValueError(f"`{precision}: file` must be the name of a file beside it, it is {quoted(named['file'])}")
    path = sidecar.parent / named["file"]
    if not path.is_file():
        raise NetworkError(f"{sidecar.name} names {path.name}, which is not beside it",
                           f"fetch or export it again, or take `{precision}` out of the YAML")
    return path, _checked(path, named.get("sha256"), sidecar)


def _input_size(facts: dict) -> tuple[int, int]:
    height, width = facts.get("height"), facts.get("width")
    if not _is_side(height) or not _is_side(width):
        raise ValueError(f"`input` must give height and width in whole pixels, e.g. {{height: 352, width: 480}}, it is"
                         f" {quoted(facts)}")
    return height, width


def _is_side(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST


def _trust(facts: dict, classes: int) -> TrustModel | None:
    if "mean" not in facts:
        return None
    mean = np.asarray(_numbers(facts, "mean", classes), np.float32)  # one a class
    std = np.asarray(_numbers(facts, "std", classes, above=0), np.float32)
    return TrustModel(mean, std, _number(facts.get("limit"), "unknown: limit"))


def _surface(facts: dict) -> SurfaceRule | None:
    return SurfaceRule(_number(facts["surface"], "unknown: surface", above=0)) if "surface" in facts else None


def _typical(facts: dict) -> Typical | None:
    """Mean and standard deviation of each."""
    rows = _mapping(facts, "typical")
    if not rows:
        return None
    (mean, deviation), (unknown_mean, unknown_deviation) = (
        _numbers(rows, key, 2, "unknown: typical") for key in ("confidence", "unknown"))
    return Typical((mean, deviation), (unknown_mean, unknown_deviation))


def _self_test(facts: dict) -> SelfTest | None:
    if not facts:
        return None
    try:
        return SelfTest.from_dict({**facts, "confidence": _number(facts["confidence"], "self_test: confidence")})
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError("`self_test` must be what `python -m drive_seg.training.trust --write` wrote"
                         f" ({reason}): run it again, or take `self_test` out") from error
