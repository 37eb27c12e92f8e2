"""Writes a copy of a data set with one more class, which part of its train labels becomes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import yaml

from drive_seg.evaluation.dataset import Dataset
from drive_seg.yaml_file import read_yaml


def relabel(dataset: Dataset, out: Path, name: str, group: str | list[str],
            change: Callable[[np.ndarray, np.ndarray, int], None]) -> None:
    """Write the copy; its other splits stay as they are.

    name, group: of the new class, as dataset.yaml gives them. change: gets a train picture (H, W, 3) uint8 BGR, its
    labels (H, W) uint8 and the new class's id, and alters the labels in place. Raises DatasetError, OSError.
    """
    taken = {c.id for c in dataset.classes} | {dataset.ignore}
    new = next(i for i in range(256) if i not in taken)
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
            change(image, labels, new)
            cv2.imwrite(str(target), labels)
    facts = read_yaml(dataset.root / "dataset.yaml")
    facts["classes"][new] = {"name": name, "group": group}
    (out / "dataset.yaml").write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")
