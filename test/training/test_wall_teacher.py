"""Networks label walls where a data set counts them as building."""

import cv2
import numpy as np
import pytest
import yaml
from colours import read_facts, rgb, write_colour_network, write_facts

from drive_seg.evaluation.dataset import Dataset
from drive_seg.training.wall_teacher import main

ROAD, BUILDING, NEW, IGNORE = 0, 1, 2, 255


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Calls what is sky-coloured building and what is tree-coloured wall."""
    path = write_colour_network(tmp_path_factory.mktemp("network"), temperature=20.0)  # halfway is half sure
    facts = read_facts(path)
    for c in facts["classes"]:
        c["name"] = {"sky": "building", "tree": "wall"}.get(c["name"], c["name"])
    write_facts(path, facts)
    return path


def write(root, name="building"):
    """One picture in each split: road below a facade with a wall in it and, at the left, what is halfway between."""
    picture = np.full((72, 128, 3), 90, np.uint8)
    picture[:36] = rgb("sky")[::-1]
    picture[8:32, 80:112] = rgb("tree")[::-1]
    picture[:36, :32] = np.add(rgb("sky"), rgb("tree"))[::-1] // 2
    labels = np.full((72, 128), ROAD, np.uint8)
    labels[:36] = BUILDING
    labels[60:] = IGNORE
    for split in ("train", "val"):
        for part, what in (("images", picture), ("labels", labels)):
            (root / split / part).mkdir(parents=True)
            cv2.imwrite(str(root / split / part / "0.png"), what)
    classes = {ROAD: {"name": "road", "group": "road"}, BUILDING: {"name": name, "group": "background"}}
    (root / "dataset.yaml").write_text(yaml.safe_dump({"name": "coarse", "ignore": IGNORE, "classes": classes}))
    return labels


def test_walls_are_labelled_in_train_alone_and_what_is_unsure_is_ignored(tmp_path, network, capsys):
    former = write(tmp_path / "set")
    out = tmp_path / "out"
    assert main([str(tmp_path / "set"), "--out", str(out), "--network", str(network)]) == 0
    assert "are wall" in capsys.readouterr().out
    dataset = Dataset.load(out)
    assert dataset.name == "coarse", "its share in a recipe stays"
    assert [c.name for c in dataset.classes if c.id == NEW] == ["wall"]
    (_, train), (_, val) = (dataset.pairs(split)[0].read() for split in ("train", "val"))
    assert (val == former).all()
    assert (train[11:29, 84:108] == NEW).all(), "a wall"
    assert (train[2:33, 40:74] == BUILDING).all(), "a facade"
    assert (train[2:33, 2:28] == IGNORE).all(), "either"
    assert (train[40:] == former[40:]).all(), "other labels stay"


@pytest.mark.parametrize("what", ["no building", "there already", "no network", "no walls known"])
def test_what_can_t_be_done_is_said(tmp_path, capsys, network, colour_network_path, what):
    write(tmp_path / "set", "house" if what == "no building" else "building")
    if what == "there already":
        (tmp_path / "out/train/images").mkdir(parents=True)
    if what == "no walls known":
        network = colour_network_path
    elif what == "no network":
        network = tmp_path / "nowhere.onnx"
    assert main([str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--network", str(network)]) == 2
    assert capsys.readouterr().err.startswith("wall_teacher: ")
