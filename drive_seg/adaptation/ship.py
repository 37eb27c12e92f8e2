"""From an adapted network to a network file like any other: calibration, self-test, int8 and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from drive_seg.adaptation.footage import Footage, Still
from drive_seg.adaptation.recipe import AdaptRecipe
from drive_seg.core.classes import Group
from drive_seg.fp16.report import fp16_report
from drive_seg.fp16.typed import keep_fp32
from drive_seg.network import Network
from drive_seg.training import augment, export, quantise, trust
from drive_seg.training.calibrate import Calibration
from drive_seg.training.energy import normal_energy
from drive_seg.training.model import Segmenter
from drive_seg.yaml_file import read_yaml

_ENERGY_PICTURES = 60
_CHECK_PICTURES = 12
_INT8_PICTURES = 100


@dataclass(frozen=True)
class _Picture:
    footage: Footage
    still: Still

    def read(self) -> tuple[np.ndarray, None]:
        return cv2.cvtColor(self.footage.read(self.still), cv2.COLOR_RGB2BGR), None


@dataclass(frozen=True)
class _Unlabelled:
    """As much of a data set as fitting what is typical asks for: its pictures."""

    footage: Footage

    def pairs(self, split: str) -> list[_Picture]:
        stills = self.footage.training if split == "train" else self.footage.held_back
        return [_Picture(self.footage, still) for still in stills]


def write_network(network: Segmenter, path: Path, former: Network, footage: Footage, provenance: dict, *,
                  int8: bool = False) -> Network:
    """Write NAME.onnx, NAME.yaml and with int8 the two 8-bit versions. Raises ExportError or QuantiseError.

    The temperature is the former network's: without labels nothing says how often it is right. What free energy,
    confidence and unknown share are normal is fitted on the footage that it was trained on.
    """
    network = network.cpu().eval()
    images = [_bgr(footage, still) for still in _some(footage.training, _CHECK_PICTURES)]
    model = export.to_onnx(network, footage.size)
    report = export.check(model, network, images, footage.size)
    keep_fp32(model, fp16_report(model, images).needs_fp32)
    versions: dict[str, Any] = {}  # of onnx.ModelProto
    if int8:
        seen = [_bgr(footage, still) for still in _some(footage.training, _INT8_PICTURES)]
        versions, reports = quantise.versions(model, seen, images)
        provenance = provenance | reports
    calibration = _calibrate(network, former, footage)
    export.write(model, path, former.table, footage.size, provenance | {"against_pytorch": report}, calibration,
                 versions)
    if former.surface is not None:
        _set_surface(path, former.surface.limit)
    fitted = trust.fit(Network.load(path), _Unlabelled(footage), engine="openvino")
    if former.surface is not None:
        fitted["unknown"]["surface"] = former.surface.limit
    trust.write(Network.load(path), fitted)
    return Network.load(path)


def _set_surface(path: Path, limit: float) -> None:
    sidecar = path.with_suffix(".yaml")
    facts = read_yaml(sidecar)
    facts["unknown"]["surface"] = limit
    sidecar.write_text(yaml.safe_dump(facts, sort_keys=False, default_flow_style=None, width=110))


def _bgr(footage: Footage, still: Still) -> np.ndarray:
    return cv2.cvtColor(footage.read(still), cv2.COLOR_RGB2BGR)


def _some(stills: Sequence[Still], most: int) -> list[Still]:
    return [stills[i] for i in np.unique(np.linspace(0, len(stills) - 1, min(most, len(stills))).astype(int))]


@torch.no_grad()
def _calibrate(network: Segmenter, former: Network, footage: Footage, seed: int = 1) -> Calibration:
    """What free energy is normal: in pictures whose look was changed, where the answer is that of the plain picture."""
    rng, look = np.random.default_rng(seed), None
    cells, right, road = [], [], []
    is_road = np.array([c.group is Group.ROAD for c in former.table.classes])
    for still in _some(footage.training, _ENERGY_PICTURES):
        rgb = footage.read(still)
        own = tuple(value.T for value in cv2.meanStdDev(rgb))
        changed = augment.change_look(rng, rgb, np.zeros((rgb.shape[0] // 2, rgb.shape[1] // 2), np.uint8), 1.0,
                                      look or own)
        look = own
        plain, strange = (network(torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)))[None].float())[0]
                          for p in (rgb, changed))
        said = plain.argmax(0).numpy().ravel()
        cells.append(strange.permute(1, 2, 0).reshape(-1, len(former.table)).numpy())
        right.append(cells[-1].argmax(1) == said)
        road.append(is_road[said])
    mean, std, limit = normal_energy(np.concatenate(cells), np.concatenate(right), np.concatenate(road),
                                     former.temperature)
    return Calibration(former.temperature, [round(float(v), 4) for v in mean], [round(float(v), 4) for v in std],
                       round(limit, 4))


def provenance_of(former: Network, footage: Footage, recipe: AdaptRecipe, *, step: int, seconds: float, device: str,
                  rehearsal: Sequence[dict], share: float) -> dict:
    """Where the network came from. rehearsal: {name, licence, images} of labelled sets. share: of the former network's
    weights in it."""
    from dataclasses import asdict

    from drive_seg.training.restore import history

    data = [row for row in former.provenance.get("data", []) if isinstance(row, dict)]
    known = {row.get("name") for row in data}
    return {
        "adapted_from": {"name": former.name, "onnx_sha256": former.sha256},
        "data": [*data, *(row for row in rehearsal if row["name"] not in known)],
        "footage": {"drives": sorted(footage.drives), "frames": len(footage.training),
                    "held_back": len(footage.held_back), "licence": "the user's own, no labels"},
        "steps": step, "minutes": round(seconds / 60, 1), "device": device,
        "recipe": (former.provenance.get("recipe") or {}), "adaptation": yaml.safe_load(yaml.safe_dump(
            {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()})),
        "former_weights": share, "earlier": history(former),
    }
