"""Scores of images whose answer can be counted by hand."""

import numpy as np
import pytest

from drive_seg.core.classes import UNKNOWN, ClassTable
from drive_seg.core.segmentation import Segmentation
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.scores import Scores

TABLE = ClassTable.from_dicts([
    {"id": 0, "name": "tree", "group": "background", "colour": [0, 1, 0], "drivable": False},
    {"id": 1, "name": "road", "group": "road", "colour": [0, 0, 1], "drivable": True},
    {"id": 2, "name": "kerb", "group": "pavement", "colour": [1, 0, 0], "drivable": False},
    {"id": 3, "name": "car", "group": "obstacle", "colour": [1, 1, 0], "drivable": False},
])
SAME = {c.id: {"name": c.name, "group": c.group.name.lower()} for c in TABLE.classes}
PARTLY = {0: {"name": "rest", "group": ["background", "obstacle"]}, 1: {"name": "lane", "group": "road"}}


def result(classes, drivable=None, labels=None):
    classes = np.uint8(classes)
    labels = TABLE.group_lut[classes] if labels is None else np.uint8(labels)
    drivable = None if drivable is None else np.uint8(drivable) * 255
    return Segmentation(labels, classes, drivable, np.full(classes.shape, 255, np.uint8))


def score(make_dataset, classes, ignore, truth, *results):
    image = np.zeros((*np.shape(truth), 3), np.uint8)
    scores = Scores(Dataset.load(make_dataset(classes, ignore, [(image, np.uint8(truth))])), TABLE)
    accuracy = [scores.add(r, np.uint8(truth)) for r in results]
    return scores.report(), accuracy


def test_classes_groups_and_accuracy(make_dataset):
    truth = [[0, 0, 1, 1], [1, 2, 3, 9]]
    report, accuracy = score(make_dataset, SAME, 9, truth, result([[0, 1, 1, 1], [1, 2, 0, 0]]))
    assert report["scored_on"] == "classes"
    assert report["iou"] == pytest.approx({"tree": 1 / 3, "road": 3 / 4, "kerb": 1, "car": 0})
    assert report["miou"] == pytest.approx((1 / 3 + 3 / 4 + 1) / 4)
    assert report["group_iou"] == pytest.approx({"background": 1 / 3, "road": 3 / 4, "pavement": 1, "obstacle": 0})
    assert report["pixel_accuracy"] == accuracy[0] == pytest.approx(5 / 7)
    assert report["images"] == 1


@pytest.mark.parametrize("ids", [(1, 2, 3, 4), (3, 0, 2, 7)])  # 0 ignored and the rest closed up; any order
def test_classes_are_matched_by_name_and_group(make_dataset, ids):
    ids = np.uint8(ids)
    classes = {int(id_): SAME[c] for c, id_ in enumerate(ids)}
    truth = np.append(ids[[0, 0, 1, 1, 1, 2, 3]], np.uint8(9))[None]
    report, accuracy = score(make_dataset, classes, 9, truth, result([[0, 1, 1, 1, 1, 2, 0, 0]]))
    assert report["scored_on"] == "classes"
    assert report["iou"] == pytest.approx({"tree": 1 / 3, "road": 3 / 4, "kerb": 1, "car": 0})
    assert report["boundary_iou"]["kerb"] == 1
    assert accuracy[0] == pytest.approx(5 / 7)


@pytest.mark.parametrize("changed", [{"name": "lorry"}, {"group": "background"}])
def test_another_name_or_group_is_another_class(make_dataset, changed):
    report, _ = score(make_dataset, SAME | {3: SAME[3] | changed}, None, [[1, 0]], result([[1, 0]]))
    assert report["scored_on"] == "groups"


def test_images_are_summed_before_the_ratio(make_dataset):
    truth = [[1, 1, 0, 0]]
    report, _ = score(make_dataset, SAME, None, truth, result(truth), result([[1, 0, 0, 0]]))
    assert report["iou"]["road"] == pytest.approx(3 / 4)
    assert report["images"] == 2


def test_a_class_that_truth_never_shows_has_no_score(make_dataset):
    report, _ = score(make_dataset, SAME, None, [[1, 1, 0, 0]], result([[1, 3, 0, 0]]))
    assert report["iou"]["car"] is None
    assert report["boundary_iou"]["car"] is None
    assert report["miou"] == pytest.approx((1 / 2 + 1) / 2)


def test_drivable(make_dataset):
    truth = [[1, 1, 1, 1, 3, 2, 9, 9]]
    drivable = [[1, 1, 1, 0, 1, 0, 1, 0]]
    report, _ = score(make_dataset, SAME, 9, truth, result([[1] * 8], drivable))
    assert report["drivable"] == pytest.approx(
        {"iou": 3 / 5, "false_drivable": 1 / 4, "false_drivable_obstacle": 1 / 4, "missed": 1 / 4})


def test_unknown_is_missed_not_right(make_dataset):
    report, _ = score(make_dataset, SAME, None, [[1, 1, 1, 0]], result([[1, 1, 1, 0]], labels=[[1, 1, UNKNOWN, 0]]))
    assert report["group_iou"]["road"] == pytest.approx(2 / 3)
    assert report["iou"]["road"] == 1


def test_partly_told_pixels_are_right_with_any_of_their_groups(make_dataset):
    truth = [[1, 1, 0, 0, 0, 0]]
    report, _ = score(make_dataset, PARTLY, None, truth, result([[1, 1, 0, 3, 0, 3]]))
    assert report["scored_on"] == "groups"
    assert report["iou"] == {"background": None, "road": 1, "pavement": None, "obstacle": None}
    assert report["pixel_accuracy"] == 1


def test_partly_told_pixels_are_false_road_when_called_so(make_dataset):
    truth = [[1, 1, 0, 0, 0, 0]]
    report, _ = score(make_dataset, PARTLY, None, truth, result([[1, 1, 1, 1, 0, 3]], [[1, 1, 1, 0, 0, 0]]))
    assert report["iou"]["road"] == pytest.approx(2 / 4)
    assert report["pixel_accuracy"] == pytest.approx(4 / 6)
    assert report["drivable"]["false_drivable"] == pytest.approx(1 / 3)


def test_pixels_that_may_be_road_are_no_false_drivable(make_dataset):
    classes = {0: {"name": "ground", "group": ["road", "pavement"]}, 1: {"name": "lane", "group": "road"}}
    report, _ = score(make_dataset, classes, None, [[1, 1, 0, 0]], result([[1] * 4], [[1] * 4]))
    assert report["drivable"]["false_drivable"] == 0
    assert report["drivable"]["missed"] == 0


def test_frames_that_are_all_unknown_are_missed(make_dataset):
    """For classes as for groups: nine frames without an answer are not the score of one that was right."""
    truth = [[0, 0, 1, 1], [2, 2, 3, 3]]
    nothing = Segmentation.unknown((2, 4))
    report, accuracy = score(make_dataset, SAME, None, truth, result(truth), *[nothing] * 9)
    assert report["iou"] == pytest.approx(dict.fromkeys(TABLE.names, 0.1))
    assert report["miou"] == pytest.approx(0.1)
    assert report["group_iou"]["road"] == report["pixel_accuracy"] == pytest.approx(0.1)
    assert accuracy[1:] == [0] * 9


FINER = ClassTable.from_dicts([
    *TABLE.to_dicts()[:2], TABLE.to_dicts()[2] | {"also": ["footway"]}, TABLE.to_dicts()[3],
    {"id": 4, "name": "terrain", "group": "background", "colour": [2, 2, 2], "drivable": False, "within": "tree"},
    {"id": 5, "name": "wall", "group": "obstacle", "colour": [3, 3, 3], "drivable": False, "within": "tree"},
    {"id": 6, "name": "ego", "group": "background", "colour": [4, 4, 4], "drivable": False, "ego": True},
])
"""A network that tells more than SAME."""


def score_finer(make_dataset, classes, truth, called, labels=None):
    image = np.zeros((*np.shape(truth), 3), np.uint8)
    scores = Scores(Dataset.load(make_dataset(classes, 9, [(image, np.uint8(truth))])), FINER)
    called = np.uint8(called)
    labels = FINER.group_lut[called] if labels is None else np.uint8(labels)
    accuracy = scores.add(Segmentation(labels, called, None, np.full(called.shape, 255, np.uint8)), np.uint8(truth))
    return scores.report(), accuracy


def test_a_finer_network_is_scored_on_the_data_sets_classes(make_dataset):
    """Terrain and wall are tree where nothing is labelled so; the ego vehicle is none of the classes."""
    report, accuracy = score_finer(make_dataset, SAME, [[0, 0, 0, 0, 1, 1, 2, 3, 9]], [[0, 4, 5, 1, 1, 6, 2, 3, 3]])
    assert report["scored_on"] == "classes"
    assert report["iou"] == pytest.approx({"tree": 3 / 4, "road": 1 / 3, "kerb": 1, "car": 1})
    assert accuracy == pytest.approx(6 / 8)
    assert report["group_iou"]["background"] == pytest.approx(2 / 4), "the wall is right and left out, the ego is not"
    assert report["group_iou"]["obstacle"] == 1, "a wall within a tree is not a false obstacle"


def test_what_both_tell_is_scored_by_itself(make_dataset):
    """Here terrain is labelled, so it is tree no more; `footway` is the network's kerb; a wall still may be tree."""
    classes = SAME | {2: {"name": "footway", "group": "pavement"}, 4: {"name": "terrain", "group": "background"}}
    report, _ = score_finer(make_dataset, classes, [[0, 0, 0, 4, 4, 1, 2, 3]], [[0, 4, 5, 4, 0, 1, 2, 3]])
    assert report["iou"] == pytest.approx({"tree": 2 / 4, "road": 1, "kerb": 1, "car": 1, "terrain": 1 / 3})


def test_classes_that_the_network_does_not_have_are_right_with_any_of_their_groups(make_dataset):
    classes = SAME | {5: {"name": "tram", "group": "obstacle"}, 6: {"name": "ground", "group": ["road", "pavement"]}}
    report, accuracy = score_finer(make_dataset, classes, [[5, 5, 6, 6, 0, 1, 2, 3]], [[3, 1, 1, 0, 0, 1, 2, 3]])
    assert report["scored_on"] == "classes"
    assert report["iou"] == pytest.approx({"tree": 1 / 2, "road": 1 / 2, "kerb": 1, "car": 1})
    assert accuracy == pytest.approx(6 / 8)


def test_a_finer_network_on_a_data_set_of_groups(make_dataset):
    report, _ = score_finer(make_dataset, PARTLY, [[1, 1, 0, 0, 0, 0]], [[1, 1, 4, 5, 0, 3]])
    assert report["scored_on"] == "groups"
    assert report["pixel_accuracy"] == 1
