"""A tiny world to train on: painted streets, fully labelled and partly labelled."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

CLASSES = {
    0: {"name": "sky", "group": "background"}, 1: {"name": "road", "group": "road"},
    2: {"name": "pavement", "group": "pavement"}, 3: {"name": "pedestrian", "group": "obstacle"},
}
PARTLY = {0: {"name": "rest", "group": ["background", "obstacle"]}, 7: {"name": "lane", "group": "road"},
          8: {"name": "footway", "group": "pavement"}}
RGB = np.uint8([(130, 180, 230), (90, 90, 90), (220, 160, 150), (180, 30, 60)])


def _street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((96, 128), np.uint8)
    horizon = int(rng.integers(35, 55))
    labels[horizon:] = 2
    left, right = int(rng.integers(10, 40)), int(rng.integers(80, 115))
    labels[horizon:, left:right] = 1
    x, y = int(rng.integers(5, 100)), int(rng.integers(horizon - 10, 60))
    labels[y:y + 24, x:x + 10] = 3
    image = RGB[labels] + rng.normal(0, 6, (96, 128, 1))
    return np.clip(image, 0, 255).astype(np.uint8)[..., ::-1], labels


def _write(root: Path, classes: dict, ignore: int, relabel: np.ndarray) -> Path:
    root.mkdir()
    (root / "dataset.yaml").write_text(yaml.safe_dump({"name": root.name, "licence": "none", "ignore": ignore,
                                                       "classes": classes}))
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for part in ("images", "labels"):
            (root / split / part).mkdir(parents=True)
        for index in range(count):
            image, labels = _street(rng)
            cv2.imwrite(str(root / split / "images" / f"{index}.png"), image)
            cv2.imwrite(str(root / split / "labels" / f"{index}.png"), relabel[labels])
    return root


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A fully labelled and a partly labelled data set."""
    folder = tmp_path_factory.mktemp("world")
    return [_write(folder / "labelled", CLASSES, 255, np.uint8([0, 1, 2, 3])),
            _write(folder / "partly", PARTLY, 255, np.uint8([0, 7, 8, 0]))]
