"""Plans in files: one is loaded only when its sidecar says that it is exactly what is wanted here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from drive_seg.files import stamp, write_whole

FORMAT = 3


@dataclass(frozen=True)
class PlanKey:
    """All that a plan depends on. Two plans are interchangeable only when every entry is the same.

    onnx_sha256: of the typed network. precision: that it is typed in. gpu: its name, or "any" where the plan suits
    every GPU of a compute capability. input_shape: (batch, 3, height, width). options: of the builder.
    """

    onnx_sha256: str
    precision: str
    flavour: str
    version: str
    gpu: str
    compute_capability: str
    input_shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """As it stands in the sidecar."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class StoredPlan:
    """A plan's bytes, its sidecar, and whether it was built just now."""

    data: bytes
    sidecar: dict[str, Any]
    fresh: bool = False


def sidecar_of(plan: Path) -> Path:
    """NAME.plan -> NAME.json."""
    return plan.with_suffix(".json")


def store(path: Path, key: PlanKey, plan: bytes, built: dict[str, Any]) -> None:
    """Write plan and sidecar, each whole or not at all. built: what the builder found. Raises EngineError."""
    sidecar = {"format": FORMAT, "key": key.facts(), "built": built, "written": stamp(),
               "plan": {"sha256": hashlib.sha256(plan).hexdigest(), "bytes": len(plan)}}
    with write_whole(path) as part:
        part.write_bytes(plan)
    with write_whole(sidecar_of(path)) as part:  # last: a plan without its own sidecar is never loaded
        part.write_text(json.dumps(sidecar, indent=2) + "\n")


def load(path: Path, key: PlanKey) -> StoredPlan | str:
    """Read a plan that was built for exactly this key; or say in one line why there is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"there is no plan at {path}" if isinstance(error, FileNotFoundError) else f"{path}: {error.strerror}"
    try:
        sidecar = json.loads(sidecar_of(path).read_text())
        expected, plan = dict(sidecar["key"]), sidecar["plan"]
        stored_format, size, digest = sidecar["format"], plan["bytes"], plan["sha256"]
        sidecar["built"]["precision"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{path} has no readable sidecar {sidecar_of(path).name}"
    if stored_format != FORMAT:
        return f"{sidecar_of(path)} has format {stored_format}, this reads {FORMAT}"
    for name, wanted in key.facts().items():
        if expected.get(name) != wanted:
            return f"{path} was built for {name} {expected.get(name)!r}, here it is {wanted!r}"
    if len(data) != size:
        return f"{path} is cut short: {len(data)} bytes, its sidecar says {size}"
    if hashlib.sha256(data).hexdigest() != digest:
        return f"{path} is damaged: its sha256 is not the one in its sidecar"
    return StoredPlan(data, sidecar)


def plan_path(folder: Path, name: str, key: PlanKey) -> Path:
    """Where the plan of this network and key is, or would be: a name that depends on every entry."""
    digest = hashlib.sha256(json.dumps(key.facts(), sort_keys=True).encode()).hexdigest()[:16]
    batch, _, height, width = key.input_shape
    at_once = f"-batch{batch}" if batch > 1 else ""
    return folder / f"{name}-{height}x{width}{at_once}-sm{key.compute_capability.replace('.', '')}-{digest}.plan"
