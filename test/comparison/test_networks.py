"""`drive-seg compare` of two networks whose right answers are known."""

import json
import re

import cv2
import numpy as np
import pytest
import yaml
from bags import write_bag
from colours import COLOURS, paint_scene, read_facts, rgb, write_facts

from drive_seg.cli.main import main
from drive_seg.comparison.changes import BETTER, OTHER, SAME, WORSE, Judge, change_codes, regions, transitions
from drive_seg.core.classes import UNKNOWN, Group
from drive_seg.evaluation.dataset import Dataset, LabelClass

SIZE = (96, 160)


@pytest.fixture(scope="module")
def pavement_blind(colour_network_path, tmp_path_factory):
    """The colour network, but what it calls pavement is road."""
    path = tmp_path_factory.mktemp("blind") / "blind.onnx"
    path.write_bytes(colour_network_path.read_bytes())
    facts = read_facts(colour_network_path)
    facts["classes"][list(COLOURS).index("pavement")] |= {"group": "road", "drivable": True}
    write_facts(path, facts | {"name": "blind"})
    return path


@pytest.fixture
def labelled(tmp_path):
    """Two labelled pictures of the street; the sky has no label."""
    image, labels = paint_scene(*SIZE), np.full(SIZE, 255, np.uint8)
    for id_, name in enumerate(COLOURS):
        labels[(image[..., ::-1] == rgb(name)).all(2)] = id_
    labels[labels == 0] = 255
    root = tmp_path / "street"
    for part, picture in (("images", image), ("labels", labels)):
        (root / "val" / part).mkdir(parents=True)
        for name in "ab":
            cv2.imwrite(str(root / "val" / part / f"{name}.png"), picture)
    classes = {i: {"name": name, "group": group} for i, (name, (group, _, _)) in enumerate(COLOURS.items())}
    (root / "dataset.yaml").write_text(yaml.safe_dump({"name": "street", "ignore": 255, "classes": classes}))
    return root


def run(*arguments):
    return main(["compare", *map(str, arguments), "--engine", "openvino"])


def pavement_share(labels):
    return float((labels == 2).sum() / (labels != 255).sum())


def test_the_better_network_is_found(labelled, colour_network_path, pavement_blind, tmp_path, capsys):
    labels = Dataset.load(labelled).pairs("val")[0].read()[1]
    share = pavement_share(labels)
    assert run(pavement_blind, colour_network_path, "--data", labelled, "--json", tmp_path / "up.json", "--page",
               tmp_path / "up.html") == 0
    up = json.loads((tmp_path / "up.json").read_text())["compared"][0]
    assert up["better"] == pytest.approx(share, abs=0.01) and up["worse"] == 0
    assert up["former"]["pavement_iou"] == 0 and up["new"]["pavement_iou"] > 0.99
    assert up["gain"] > 0.3
    assert up["examples"][0]["regions"][0].startswith("road -> pavement") and "(better)" in str(up["examples"][0])
    capsys.readouterr()
    assert run(colour_network_path, pavement_blind, "--data", labelled, "--json", tmp_path / "down.json") == 1
    down = json.loads((tmp_path / "down.json").read_text())
    assert down["compared"][0]["worse"] == pytest.approx(share, abs=0.01) and down["compared"][0]["better"] == 0
    assert down["worse_on"] == ["street, val"]
    assert "worse on street, val" in capsys.readouterr().out
    page = (tmp_path / "up.html").read_text()
    for wanted in ("colours", "blind", "road was", "is pavement", "got better", "data-changes=", "not worse"):
        assert wanted in page
    assert not re.search(r'(src|href)="(?!data:)', page), "everything is in the page"
    assert "/*" not in page.split("<body>")[1]


def test_a_network_against_itself(labelled, colour_network_path, tmp_path):
    assert run(colour_network_path, colour_network_path, "--data", labelled, "--json", tmp_path / "same.json") == 0
    same = json.loads((tmp_path / "same.json").read_text())["compared"][0]
    assert same["changed"] == same["better"] == same["worse"] == same["gain"] == 0
    assert same["agreement"] == {"labels": 1.0, "sure": 1.0, "drivable": 1.0} and same["examples"] == []


def test_on_a_drive_without_labels(colour_network_path, pavement_blind, tmp_path, capsys):
    bag = write_bag(tmp_path / "drive", 12)
    assert run(colour_network_path, pavement_blind, "--on", bag, "--json", tmp_path / "drive.json", "--page",
               tmp_path / "drive.html") == 0
    drive = json.loads((tmp_path / "drive.json").read_text())["compared"][0]
    assert (drive["kind"], drive["pictures"], drive["gain"], drive["better"]) == ("drive", 12, None, None)
    matrix = np.array(drive["transitions"])
    changed = matrix.sum() - np.trace(matrix)
    assert matrix[Group.PAVEMENT, Group.ROAD] == changed > 0, "pavement became road, nothing else changed"
    assert drive["changed"] == pytest.approx(changed / matrix.sum())
    assert drive["new"]["drivable"] > drive["former"]["drivable"]
    assert drive["new"]["steadiness"] is not None and drive["new"]["domain_shift"] is None
    assert len(drive["examples"]) == 2, "of twelve frames at 10 Hz not all are shown"
    assert "no labels" in capsys.readouterr().out


@pytest.mark.parametrize(("frames", "said"), [(10, False), (11, True)])
def test_labels_that_stay_are_told_from_ten_pairs_on(frames, said, colour_network_path, tmp_path):
    bag = write_bag(tmp_path / "drive", frames)
    run(colour_network_path, colour_network_path, "--on", bag, "--json", tmp_path / "drive.json")
    drive = json.loads((tmp_path / "drive.json").read_text())["compared"][0]
    assert (drive["new"]["steadiness"] is not None) is said


@pytest.mark.parametrize(("options", "words"), [
    ([], "on pictures"), (["--on", "nowhere.mp4"], "there is no"), (["--data", "nowhere"], "no data set"),
])
def test_errors_are_one_line(options, words, colour_network_path, capsys):
    assert run(colour_network_path, colour_network_path, *options) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_a_network_and_a_result_do_not_go_together(colour_network_path, tmp_path, capsys):
    assert run(colour_network_path, tmp_path) == 2
    assert "two .onnx files" in capsys.readouterr().err


def test_change_codes_and_regions():
    dataset = Dataset(None, "", "", 9, (LabelClass(0, "road", (Group.ROAD,)),
                                        LabelClass(1, "edge", (Group.PAVEMENT, Group.BACKGROUND))))
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:], truth[:10] = 1, 9
    former = np.full((40, 60), Group.ROAD, np.uint8)
    new = former.copy()
    new[:, 30:] = Group.PAVEMENT  # right, with either of its groups
    new[20:30, 5:15] = UNKNOWN  # was right
    codes = change_codes(former, new, truth, Judge(dataset))
    assert (codes[10:, 30:] == BETTER).all() and (codes[20:30, 5:15] == WORSE).all()
    assert (codes[:10, 30:] == OTHER).all(), "nothing is said there"
    assert (codes[:, :5] == SAME).all()
    found = regions(former, new, codes)
    verdicts = [(r.former, r.new, r.verdict) for r in found]
    assert verdicts == [("road", "pavement", "better"), ("road", "unknown", "worse")]
    assert found[0].share == pytest.approx(0.5) and found[1].box == (5, 20, 10, 10)
    matrix = transitions(former, new)
    assert matrix.sum() == 2400 and matrix[1, 2] == 1200 and matrix[1, 4] == 100
