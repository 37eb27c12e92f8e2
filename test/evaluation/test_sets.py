"""One network on several data sets, and what min_confidence trades."""

import cv2
import numpy as np
import pytest

from drive_seg.core.segmenter import Segmenter
from drive_seg.evaluation import sets
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.evaluate import evaluate


@pytest.fixture
def segmenter(colour_engine, colour_network):
    return Segmenter(colour_engine, colour_network.table)


def test_a_row_says_what_evaluate_says(street, segmenter):
    dataset = Dataset.load(street)
    found = sets.score_set(segmenter, dataset, "val", values=(0.0, 0.65, 1.0))
    assert found.report == evaluate(segmenter, dataset, "val")
    assert found.curve[0.65] == found.report["drivable"], "the value that the segmenter has by default"
    missed = [found.curve[value]["missed"] for value in (0.0, 0.65, 1.0)]
    assert missed == sorted(missed) and missed[2] > missed[0], "what is less sure is no longer drivable"


def test_tables_of_several_sets(street, tmp_path, colour_network_path, capsys):
    words = ["--data", str(street), "--data", str(street), "--network", str(colour_network_path), "--every", "2"]
    assert sets.main([*words, "--engine", "openvino", "--curve"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| data |")]
    assert len(rows) == 2 and rows[0] == rows[1]
    assert [int(row[2]) for row in rows] == [1, 1]
    assert float(rows[0][3]) > 90, "road"
    curve = [line.split("|") for line in lines if line.startswith("| 0")]
    assert len(curve) == len(sets.VALUES)
    assert {len(row) for row in curve} == {2 + 1 + 4}
    values = np.array([[float(cell) for cell in row[1:-1]] for row in curve])
    assert (np.diff(values[:, 0]) > 0).all() and (np.diff(values[:, 2]) >= 0).all()


def test_several_input_sizes_get_a_row_each(street, colour_network_path, capsys):
    words = ["--data", str(street), "--network", str(colour_network_path), "--engine", "openvino", "--every", "2"]
    assert sets.main([*words, "--size", "96x160", "--size", "192x320"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "| data |" in line]
    assert [row[0] for row in rows] == ["| 96x160", "| 192x320"]
    assert float(rows[0][1]) > 0 and float(rows[1][1]) == 1


def test_an_ego_mask_from_the_labels_lets_the_road_above_it_be_reached(street, segmenter):
    """The lower edge shows the vehicle, which no label has and the network takes for an obstacle."""
    for pair in Dataset.load(street).pairs("val"):
        image, truth = cv2.imread(str(pair.image)), cv2.imread(str(pair.labels), cv2.IMREAD_UNCHANGED)
        image[-12:], truth[-12:] = (20, 30, 200), 99
        cv2.imwrite(str(pair.image), image)
        cv2.imwrite(str(pair.labels), truth)
    dataset = Dataset.load(street)
    without, masked = (sets.score_set(segmenter, dataset, "val", ego=ego).report["drivable"] for ego in (False, True))
    assert without["missed"] == 1 > 0.2 > masked["missed"]


def test_what_is_wrong_is_reported_in_a_line(tmp_path, colour_network_path, capsys):
    assert sets.main(["--data", str(tmp_path), "--network", str(colour_network_path)]) == 2
    assert f"sets: no data set at {tmp_path}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sets.main(["--data", str(tmp_path), "--every", "0"])
