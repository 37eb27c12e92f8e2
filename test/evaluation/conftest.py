"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from colours import COLOURS, paint_scene, rgb


def write_dataset(root: Path, classes: dict, ignore: int | None, pairs: list[tuple[np.ndarray, np.ndarray]],
                  split: str = "val") -> Path:
    """Writes images (BGR) and labels as a data set."""
    for part in ("images", "labels"):
        (root / split / part).mkdir(parents=True, exist_ok=True)
    (root / "dataset.yaml").write_text(yaml.safe_dump({"name": root.name, "ignore": ignore, "classes": classes}))
    for index, (image, labels) in enumerate(pairs):
        cv2.imwrite(str(root / split / "images" / f"{index:03d}.png"), image)
        cv2.imwrite(str(root / split / "labels" / f"{index:03d}.png"), labels)
    return root


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """write_dataset into a fresh folder: make_dataset(classes, ignore, pairs, split="val")."""
    return lambda *args, **kwargs: write_dataset(tmp_path / "data", *args, **kwargs)


@pytest.fixture
def street(make_dataset) -> Path:
    """The painted street with perfect labels, in the classes of the colour network; its top 20 rows are ignored."""
    image = paint_scene(96, 160)
    labels = np.zeros(image.shape[:2], np.uint8)
    for id_, name in enumerate(COLOURS):
        labels[(image[..., ::-1] == rgb(name)).all(2)] = id_
    labels[:20] = 99
    classes = {i: {"name": name, "group": group} for i, (name, (group, _, _)) in enumerate(COLOURS.items())}
    return make_dataset(classes, 99, [(image, labels), (image, labels)])
