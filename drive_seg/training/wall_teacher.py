"""Labels walls where a data set counts them as building.

    python -m drive_seg.training.wall_teacher DATA --out DIR --network NETWORK.onnx

Writes a copy of the data set with one more class, `wall`. In the train split, a building's pixel gets it where the
given networks together are sure that it is a wall. Where they are sure that it is none it stays a building, and between
the two it is ignored. Left open, a network need not tell the two apart and grows unsure of every facade. The val split
is copied unchanged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drive_seg.core.classes import ClassTable
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.network import NetworkError
from drive_seg.training.former_networks import FormerNetworks
from drive_seg.training.relabel import relabel

LEAST = 0.6
"""Probability, of wall or of building, from which a pixel is labelled so."""

_OUTER, _INNER = "building", "wall"


def wall_share(probabilities: np.ndarray, table: ClassTable) -> np.ndarray:
    """Wall's share of the probability of wall and building, (h, w) float32. probabilities: (C, h, w) float32.

    Raises NetworkError where the classes lack one of the two.
    """
    names = [c.name for c in table.classes]
    if missing := {_OUTER, _INNER} - set(names):
        raise NetworkError(f"the network has no class {' and no class '.join(sorted(missing))}",
                           f"give one that tells {_INNER} from {_OUTER}, such as the one that ships")
    wall, building = (probabilities[names.index(name)] for name in (_INNER, _OUTER))
    return wall / np.maximum(wall + building, 1e-6)


def build(dataset: Dataset, out: Path, networks: FormerNetworks) -> tuple[float, float]:
    """Write the data set. Returns the shares of the building's pixels that are wall and ignored now. Raises
    DatasetError, NetworkError, EngineError, OSError."""
    ids = {c.name: c.id for c in dataset.classes if c.id != dataset.ignore}
    if _OUTER not in ids or _INNER in ids:
        raise DatasetError(f"{dataset.name}: it has no class {_OUTER}, or labels {_INNER} by itself",
                           f"this is for data sets that count a {_INNER} as {_OUTER}")
    walls = ignored = buildings = 0

    def change(image: np.ndarray, labels: np.ndarray, new: int) -> None:
        nonlocal walls, ignored, buildings
        share, building = networks.mean(image, wall_share), labels == ids[_OUTER]
        wall, between = building & (share >= LEAST), building & (share < LEAST) & (share > 1 - LEAST)
        walls, ignored = walls + int(wall.sum()), ignored + int(between.sum())
        buildings += int(building.sum())
        labels[wall], labels[between] = new, dataset.ignore

    relabel(dataset, out, _INNER, ["obstacle", "background"], change)
    return walls / max(1, buildings), ignored / max(1, buildings)


def main(argv: Sequence[str] | None = None) -> int:
    """The command above; 2 when it can't run."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.training.wall_teacher", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="data set with a dataset.yaml")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set, a new one")
    parser.add_argument("--network", type=Path, action="append", required=True, metavar="NETWORK.onnx",
                        help="a network of this package that says what is wall; may be repeated")
    args = parser.parse_args(argv)
    try:
        walls, ignored = build(Dataset.load(args.data), args.out, FormerNetworks(args.network))
        print(f"{args.out}: of the {_OUTER} {100 * walls:.0f} % are {_INNER}, {100 * ignored:.0f} % are ignored")
    except (DriveSegError, OSError) as error:
        print(f"wall_teacher: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
