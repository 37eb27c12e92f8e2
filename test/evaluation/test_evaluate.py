"""`drive-seg evaluate` on a real engine, end to end."""

import json

import cv2
import numpy as np
import pytest
import yaml

from drive_seg.cli.main import main


def run(capsys, *args):
    code = main(["evaluate", *map(str, args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_street_that_the_network_knows(street, colour_network_path, capsys, tmp_path):
    code, out, _ = run(capsys, "--data", street, "--split", "val", "--network", colour_network_path, "--json", "-",
                       "--pictures", tmp_path / "pictures", "--worst", 1)
    assert code == 0
    report = json.loads(out)
    assert set(report) >= {"miou", "iou", "boundary_iou", "group_iou", "drivable", "images", "pixel_accuracy"}
    assert set(report["drivable"]) == {"iou", "false_drivable", "false_drivable_obstacle", "missed"}
    assert report["images"] == 2
    assert report["scored_on"] == "classes"
    # The network sees cells of four pixels, so only seams between regions are wrong.
    assert report["iou"]["road"] > 0.9
    assert report["iou"]["tree"] is None
    assert report["drivable"]["false_drivable"] < 0.05
    assert cv2.imread(str(tmp_path / "pictures" / "confusion.png")).ndim == 3
    assert len(list((tmp_path / "pictures").glob("worst_*.png"))) == 1


def test_wrong_labels_lower_the_score(street, colour_network_path, capsys):
    for file in (street / "val" / "labels").glob("*.png"):
        labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        labels[:, :80][labels[:, :80] == 1] = 4
        cv2.imwrite(str(file), labels)
    code, out, _ = run(capsys, "--data", street, "--split", "val", "--network", colour_network_path, "--json", "-")
    assert code == 0
    assert json.loads(out)["iou"]["road"] < 0.7
    assert json.loads(out)["drivable"]["false_drivable"] > 0.3


def test_other_classes_are_scored_on_groups(make_dataset, street, colour_network_path, capsys, tmp_path):
    image = cv2.imread(str(street / "val" / "images" / "000.png"))
    labels = np.where((image == 90).all(2), np.uint8(1), np.uint8(0))
    root = make_dataset({0: {"name": "rest", "group": ["background", "obstacle", "pavement"]},
                         1: {"name": "asphalt", "group": "road"}}, None, [(image, labels)], split="other")
    file = tmp_path / "scores.json"
    code, out, _ = run(capsys, "--data", root, "--split", "other", "--network", colour_network_path, "--json", file,
                       "--pictures", tmp_path / "pictures")
    assert code == 0
    assert "mIoU" in out
    report = json.loads(file.read_text())
    assert report["scored_on"] == "groups"
    assert report["group_iou"]["road"] > 0.9
    assert report["group_iou"]["obstacle"] is None


def test_ids_with_a_gap_are_scored_and_drawn_as_classes(street, colour_network_path, capsys, tmp_path):
    """Training closes the gap of an ignored id."""
    file = street / "dataset.yaml"
    facts = yaml.safe_load(file.read_text())
    classes = {id_ + 1: row for id_, row in facts["classes"].items()}
    file.write_text(yaml.safe_dump(facts | {"ignore": 0, "classes": classes}))
    for labels in (street / "val" / "labels").glob("*.png"):
        ids = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(labels), np.where(ids == 99, np.uint8(0), ids + 1))
    code, out, _ = run(capsys, "--data", street, "--split", "val", "--network", colour_network_path, "--json", "-",
                       "--pictures", tmp_path / "pictures", "--worst", 1)
    report = json.loads(out)
    assert code == 0 and report["scored_on"] == "classes" and report["iou"]["road"] > 0.9
    (worst,) = (tmp_path / "pictures").glob("worst_*.png")
    _, truth, found = np.split(cv2.imread(str(worst)), 3, axis=1)
    assert (truth[20:] == found[20:]).all(2).mean() > 0.9


@pytest.mark.parametrize(("args", "match"), [
    (["--data", "nowhere", "--split", "val"], "no data set at nowhere"),
    (["--data", "STREET", "--split", "test"], "no split 'test'"),
    (["--data", "STREET", "--split", "val", "--network", "missing.onnx"], "there is no file missing.onnx"),
])
def test_errors_are_one_line(street, colour_network_path, capsys, args, match):
    args = [a.replace("STREET", str(street)) for a in args]
    if "--network" not in args:
        args += ["--network", str(colour_network_path)]
    code, out, err = run(capsys, *args)
    assert code == 2
    assert out == ""
    assert match in err
    assert len(err.strip().splitlines()) == 1
