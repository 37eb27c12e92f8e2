"""How much of what no class covers is called drivable, and how much true road turns unknown: objects pasted onto road.

`python -m drive_seg.training.trust` fits what turns pixels into unknown, and prints this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drive_seg.core.classes import UNKNOWN, Group
from drive_seg.core.drivable import DrivableRule
from drive_seg.core.segmenter import Segmenter
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.pasted import KINDS, paste
from drive_seg.network import Network
from drive_seg.runtimes import open_engine

STRICTNESS = (0.0, 1.0, 1.3, 1.6, 2.0)


@dataclass(frozen=True)
class Row:
    """Shares 0..1: object pixels that are drivable, of vivid and of muted objects; true road pixels that are unknown,
    and that are drivable, in the pictures without objects."""

    strictness: float
    drivable: float
    vivid: float
    muted: float
    road_unknown: float
    road_drivable: float


def measure_pasted(network: Network, dataset: Dataset, *, engine: str = "auto", split: str = "val", per_image: int = 3,
                   seed: int = 0, strictness: Sequence[float] = STRICTNESS, rule: DrivableRule | None = None,
                   ) -> tuple[list[Row], dict[str, float]]:
    """One row a strictness, and at strictness 1 the share of drivable pixels by kind of object."""
    road_ids = ids_of(dataset, Group.ROAD)
    rows, kinds = [], {}
    for value in strictness:
        rng = np.random.default_rng(seed)  # the same objects every time
        strict = network.with_strictness(value)
        runtime = open_engine(engine, strict)
        segmenter = Segmenter(runtime, network.table, rule, surface=strict.surface)
        counts = {True: [0, 0], False: [0, 0]}
        by_kind: dict[str, list[int]] = {kind: [0, 0] for kind in KINDS}
        unknown = drivable = total = 0
        for pair in dataset.pairs(split):
            image, truth = pair.read()
            road = np.isin(truth, road_ids)
            clean = segmenter.segment(image)
            total += int(road.sum())
            unknown += int((clean.labels[road] == UNKNOWN).sum())
            drivable += int((clean.drivable_mask[road] != 0).sum())
            for kind in rng.choice(KINDS, per_image, replace=False):
                pasted = paste(image, road, str(kind), rng)
                if pasted is None:
                    continue
                mask = segmenter.segment(pasted.image).drivable_mask
                for count in (counts[pasted.muted], by_kind[pasted.kind]):
                    count[0] += int((mask[pasted.where] != 0).sum())
                    count[1] += int(pasted.where.sum())
        runtime.close()
        both = np.sum(list(counts.values()), axis=0)
        rows.append(Row(value, both[0] / max(1, both[1]), counts[False][0] / max(1, counts[False][1]),
                        counts[True][0] / max(1, counts[True][1]), unknown / max(1, total), drivable / max(1, total)))
        if value == 1.0:
            kinds = {kind: count[0] / max(1, count[1]) for kind, count in by_kind.items()}
    return rows, kinds


def table(rows: Sequence[Row], kinds: dict[str, float]) -> str:
    """Markdown for the model card."""
    lines = ["| strictness | objects called drivable | vivid ones | muted ones | true road unknown | true road"
             " drivable |", "|---|---|---|---|---|---|"]
    lines += [f"| {r.strictness:g} | {r.drivable:.1%} | {r.vivid:.1%} | {r.muted:.1%} | {r.road_unknown:.1%} |"
              f" {r.road_drivable:.1%} |" for r in rows]
    if kinds:
        lines += ["", "By kind at strictness 1: " + ", ".join(f"{k} {v:.0%}" for k, v in kinds.items()) + "."]
    return "\n".join(lines)


def ids_of(dataset: Dataset, group: Group) -> list[int]:
    """The ids of the classes that are wholly of a group."""
    return [c.id for c in dataset.classes if c.groups == (group,) and c.id != dataset.ignore]


if __name__ == "__main__":
    print("python -m drive_seg.evaluation.trust is now called python -m drive_seg.training.trust", file=sys.stderr)
    os.execv(sys.executable, [sys.executable, "-m", "drive_seg.training.trust", *sys.argv[1:]])
