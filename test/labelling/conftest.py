"""A street with known labels, as pictures on disk."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from colours import COLOURS, paint_scene, rgb

SIZE = (96, 160)


@pytest.fixture(scope="session")
def truth() -> np.ndarray:
    """Class ids (order of COLOURS) of the painted street, (96, 160) uint8."""
    image, ids = paint_scene(*SIZE), np.full(SIZE, 255, np.uint8)
    for id_, name in enumerate(COLOURS):
        ids[(image[..., ::-1] == rgb(name)).all(2)] = id_
    assert ids.max() < len(COLOURS)
    return ids


@pytest.fixture
def street_folder(tmp_path: Path) -> Path:
    """Two drives of three pictures each: export/images/DRIVE_NUMBER.png, each picture a bit brighter than the last."""
    folder = tmp_path / "export"
    (folder / "images").mkdir(parents=True)
    for drive in ("north", "south"):
        for number in range(3):
            cv2.imwrite(str(folder / "images" / f"{drive}_{number:04d}.png"), paint_scene(*SIZE))
    return folder


