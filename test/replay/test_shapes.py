"""A picture of any shape is handled: nothing but its own frame can be lost."""

import cv2
import numpy as np
import pytest
from bags import info, raw, write_bag

from drive_seg.cli.main import main

SHAPES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 1000), (1000, 1), (2, 1000), (1000, 2), (3, 3), (7, 400), (400, 7)]


def picture(height: int, width: int, number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def test_a_replay_of_every_shape_in_one_bag(replay, tmp_path):
    messages = [raw(number, picture(*shape, number)) for number, shape in enumerate(SHAPES)]
    bag = write_bag(tmp_path / "shapes", len(SHAPES), messages=messages, with_info=False)
    assert replay(bag, "--outputs", "all", report=True) == 0
    records = replay.frames("shapes")
    assert len(records) == len(SHAPES)
    assert [record["problem"] for record in records] == [None] * len(SHAPES)
    assert (replay.out / "shapes" / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("shape", [(1, 1), (2, 1000), (1000, 2)])
def test_a_replay_of_one_shape(replay, tmp_path, shape):
    """Health looks at several frames of a shape."""
    bag = write_bag(tmp_path / "drive", 8, messages=[raw(i, picture(*shape, i)) for i in range(8)],
                    make_info=lambda number, *size: info(number, *shape))
    assert replay(bag, "--outputs", "all") == 0
    assert [record["problem"] for record in replay.frames("drive")] == [None] * 8


def test_segment_takes_every_shape(tmp_path, colour_network_path, capsys):
    for height, width in SHAPES:
        cv2.imwrite(str(tmp_path / f"{height}x{width}.png"), picture(height, width))
    out = tmp_path / "out"
    assert main(["segment", str(tmp_path), "-o", str(out), "--network", str(colour_network_path)]) == 0
    for height, width in SHAPES:
        for name in ("labels", "classes", "drivable"):
            assert cv2.imread(str(out / name / f"{height}x{width}.png"), cv2.IMREAD_UNCHANGED).shape == (height, width)
    assert "11 frames" in capsys.readouterr().out
    for height, width in SHAPES:
        image = tmp_path / f"{height}x{width}.png"
        words = ["segment", str(image), "-o", str(tmp_path / image.stem), "--network", str(colour_network_path)]
        assert main(words) == 0
