"""Networks label background where a data set does not say whether a pixel is background or an obstacle."""

import cv2
import numpy as np
import pytest
import yaml
from colours import rgb

from drive_seg.evaluation.dataset import Dataset
from drive_seg.training.background_teacher import main

ROAD, OTHER, NEW = 0, 1, 2


def write(root, other=("background", "obstacle")):
    """One picture in each split: grey road below sky with a car in it. Sky and car have one class, `other`."""
    picture = np.full((72, 128, 3), 60, np.uint8)
    picture[:36] = rgb("sky")[::-1]
    picture[8:28, 96:120] = rgb("car")[::-1]
    labels = np.full((72, 128), ROAD, np.uint8)
    labels[:36] = OTHER
    labels[:, :20] = 255
    for split in ("train", "val"):
        for part, what in (("images", picture), ("labels", labels)):
            (root / split / part).mkdir(parents=True)
            cv2.imwrite(str(root / split / part / "0.png"), what)
    classes = {ROAD: {"name": "road", "group": "road"}, OTHER: {"name": "other", "group": list(other)}}
    (root / "dataset.yaml").write_text(yaml.safe_dump({"name": "half_told", "ignore": 255, "classes": classes}))
    return labels


def test_open_pixels_become_background_in_train_alone(tmp_path, colour_network_path, capsys):
    former = write(tmp_path / "set")
    out = tmp_path / "out"
    assert main([str(tmp_path / "set"), "--out", str(out), "--background", str(colour_network_path)]) == 0
    assert "background" in capsys.readouterr().out
    dataset = Dataset.load(out)
    assert dataset.name == "half_told", "its share in a recipe stays"
    assert [c.name for c in dataset.classes if c.id == NEW] == ["background"]
    (_, train), (_, val) = (dataset.pairs(split)[0].read() for split in ("train", "val"))
    assert (val == former).all()
    assert (train[2:33, 30:90] == NEW).all(), "sky"
    assert (train[10:26, 98:118] == OTHER).all(), "a car"
    assert (train[40:] == former[40:]).all() and (train[:, :20] == 255).all(), "other labels stay"


@pytest.mark.parametrize("what", ["nothing open", "there already", "no network"])
def test_what_can_t_be_done_is_said(tmp_path, capsys, colour_network_path, what):
    write(tmp_path / "set", ("pavement", "obstacle") if what == "nothing open" else ("background", "obstacle"))
    if what == "there already":
        (tmp_path / "out/train/images").mkdir(parents=True)
    network = tmp_path / "nowhere.onnx" if what == "no network" else colour_network_path
    assert main([str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--background", str(network)]) == 2
    assert capsys.readouterr().err.startswith("background_teacher: ")
