"""Labels background where a data set does not say whether a pixel is background or an obstacle.

    python -m drive_seg.training.background_teacher DATA --out DIR --background NETWORK.onnx

Writes a copy of the data set with one more class, `background`. In the train split, a pixel of a class with several
groups gets it where the given networks together are sure. Without such labels a network comes to call hedges and grass
walls. The val split is copied unchanged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drive_seg.core.classes import Group
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.training.former_networks import FormerNetworks
from drive_seg.training.relabel import relabel

LEAST = 0.6
"""Probability from which a pixel whose class leaves its group open is labelled background."""


def build(dataset: Dataset, out: Path, networks: FormerNetworks) -> float:
    """Write the data set. Returns the share of the open pixels that is background now. Raises DatasetError,
    EngineError, OSError."""
    open_ids = [c.id for c in dataset.classes
                if c.id != dataset.ignore and Group.BACKGROUND in c.groups and len(c.groups) > 1]
    if not open_ids:
        raise DatasetError(f"{dataset.name}: no class leaves open whether it is background",
                           "this is for classes with a list of groups in dataset.yaml")
    settled = undecided = 0

    def change(image: np.ndarray, labels: np.ndarray, background: int) -> None:
        nonlocal settled, undecided
        doubtful = np.isin(labels, open_ids)
        sure = doubtful & (networks.background(image) >= LEAST)
        settled, undecided = settled + int(sure.sum()), undecided + int(doubtful.sum())
        labels[sure] = background

    relabel(dataset, out, "background", "background", change)
    return settled / max(1, undecided)


def main(argv: Sequence[str] | None = None) -> int:
    """The command above; 2 when it can't run."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.training.background_teacher", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="data set with a dataset.yaml")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set, a new one")
    parser.add_argument("--background", type=Path, action="append", required=True, metavar="NETWORK.onnx",
                        help="a network of this package that says what is background; may be repeated")
    args = parser.parse_args(argv)
    try:
        share = build(Dataset.load(args.data), args.out, FormerNetworks(args.background))
        print(f"{args.out}: of the pixels left open {100 * share:.0f} % are background")
    except (DriveSegError, OSError) as error:
        print(f"background_teacher: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
