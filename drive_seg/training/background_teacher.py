"""Labels background where a data set does not say whether a pixel is background or an obstacle.

    python -m drive_seg.training.background_teacher DATA --out DIR --background NETWORK.onnx

Writes a copy of the data set with one more class, `background`. In the train split, a pixel of a class with several
groups gets it where the given networks together are sure. Without such labels a network comes to call hedges and grass
walls. The val split is copied unchanged.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from drive_seg.core.classes import ClassTable, Group
from drive_seg.core.frame import Frame
from drive_seg.core.resize import network_input
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.network import STRIDE, Network
from drive_seg.runtimes import open_engine
from drive_seg.yaml_file import read_yaml

LEAST = 0.6
"""Probability from which a pixel whose class leaves its group open is labelled background."""


class BackgroundTeacher:
    """Networks of this package, each asked at two sizes, once of the picture mirrored: surer than any of them alone."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Raises NetworkError, EngineError."""
        self._engines = []
        for network in map(Network.load, files):
            for factor in (1.0, 1.25):
                height, width = (round(factor * side / STRIDE) * STRIDE for side in network.input_size)
                engine = open_engine("openvino", network, input_size=(height, width), precision="fp32")
                self._engines.append((engine, network))

    def background(self, bgr: np.ndarray) -> np.ndarray:
        """The mean probability of background, (H, W) float32, for an image (H, W, 3) uint8 BGR."""
        return self.mean(bgr, lambda probabilities, table: probabilities[
            table.group_lut[:len(probabilities)] == Group.BACKGROUND].sum(0))

    def mean(self, bgr: np.ndarray, answer: Callable[[np.ndarray, ClassTable], np.ndarray]) -> np.ndarray:
        """The networks' mean answer, (H, W) float32, for an image (H, W, 3) uint8 BGR.

        answer: from probabilities (C, h, w) float32 and the classes that they are of to (h, w) float32.
        """
        total = np.zeros(bgr.shape[:2], np.float32)
        for number, (engine, network) in enumerate(self._engines):
            picture = np.ascontiguousarray(bgr[:, ::-1]) if number % 2 else bgr
            logits = engine.infer(network_input(Frame.from_array(picture), engine.input_size)) / network.temperature
            scores = np.exp(logits - logits.max(0))
            found = answer(scores / scores.sum(0), network.table)
            whole = cv2.resize(found, bgr.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            total += whole[:, ::-1] if number % 2 else whole
        return total / len(self._engines)


def build(dataset: Dataset, out: Path, teacher: BackgroundTeacher) -> float:
    """Write the data set. Returns the share of the open pixels that is background now. Raises DatasetError, OSError."""
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
