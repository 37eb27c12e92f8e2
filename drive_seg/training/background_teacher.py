"""Says what is background where a data set leaves open whether it is background or an obstacle.

    python -m drive_seg.training.background_teacher DATA --out DIR --background NETWORK.onnx

A copy of the data set with one more class, `background`. In the train split it takes the pixels whose own class may be
background or something else, where networks of this package together are sure that it is. Otherwise nothing tells the
learner so, and it comes to call hedges and grass walls. The val split stays as it is.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from drive_seg.core.classes import Group
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.training.road_teacher import BackgroundTeacher
from drive_seg.yaml_file import read_yaml

LEAST = 0.6
"""Probability of background from which an open pixel takes it."""


def build(dataset: Dataset, out: Path, teacher: BackgroundTeacher) -> float:
    """Write the data set. Returns the share of the open pixels that became background. Raises DatasetError, OSError."""
    open_ids = [c.id for c in dataset.classes
                if c.id != dataset.ignore and Group.BACKGROUND in c.groups and len(c.groups) > 1]
    if not open_ids:
        raise DatasetError(f"{dataset.name}: no class leaves open whether it is background",
                           "this is for classes with a list of groups in dataset.yaml")
    taken = {c.id for c in dataset.classes} | {dataset.ignore}
    new = next(i for i in range(256) if i not in taken)
    settled = undecided = 0
    for split in dataset.splits:
        for part in ("images", "labels"):
            (out / split / part).mkdir(parents=True)
        for pair in dataset.pairs(split):
            shutil.copyfile(pair.image, out / split / "images" / pair.image.name)
            target = out / split / "labels" / pair.labels.name
            if split != "train":
                shutil.copyfile(pair.labels, target)
                continue
            image, labels = pair.read()
            doubtful = np.isin(labels, open_ids)
            sure = doubtful & (teacher.background(image) >= LEAST)
            settled, undecided = settled + int(sure.sum()), undecided + int(doubtful.sum())
            labels[sure] = new
            cv2.imwrite(str(target), labels)
    facts = read_yaml(dataset.root / "dataset.yaml")
    facts["classes"][new] = {"name": "background", "group": "background"}
    (out / "dataset.yaml").write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")
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
        share = build(Dataset.load(args.data), args.out, BackgroundTeacher(args.background))
        print(f"{args.out}: of the pixels left open {100 * share:.0f} % are background")
    except (DriveSegError, OSError) as error:
        print(f"background_teacher: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
