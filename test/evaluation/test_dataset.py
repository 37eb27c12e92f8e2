"""Reading data sets, and what is said about broken ones."""

import zlib

import numpy as np
import pytest

from drive_seg.core.classes import Group
from drive_seg.evaluation.dataset import Dataset, DatasetError, ego_region

CLASSES = {0: {"name": "rest", "group": ["background", "obstacle"]}, 2: {"name": "road", "group": "road"}}
IMAGE, LABELS = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)


def test_a_good_data_set(make_dataset):
    root = make_dataset(CLASSES, 255, [(IMAGE, LABELS), (IMAGE, LABELS)])
    dataset = Dataset.load(root)
    assert dataset.ignore == 255
    assert [(c.id, c.groups) for c in dataset.classes] == [(0, (Group.BACKGROUND, Group.OBSTACLE)), (2, (Group.ROAD,))]
    assert dataset.splits == ["val"]
    assert [p.name for p in dataset.pairs("val")] == ["000", "001"]
    image, labels = dataset.pairs("val")[0].read()
    assert image.shape == (4, 6, 3)
    assert labels.shape == (4, 6)


@pytest.mark.parametrize(("text", "match"), [
    ("classes: [", "not valid YAML"),
    ("name: x", "classes"),
    ("classes: {}", "empty"),
    ("classes: {0: {name: a, group: sea}}", "must be among"),
    ("classes: {0: {name: a}}", "classes"),
    ("classes: {300: {name: a, group: road}}", "0..255"),
])
def test_a_bad_description(tmp_path, text, match):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DatasetError, match=match):
        Dataset.load(tmp_path)


def test_no_data_set(tmp_path):
    with pytest.raises(DatasetError, match=r"no data set at .*dataset.yaml"):
        Dataset.load(tmp_path)


def test_a_split_that_is_not_there(make_dataset):
    dataset = Dataset.load(make_dataset(CLASSES, None, [(IMAGE, LABELS)]))
    with pytest.raises(DatasetError, match="no split 'test'; it has: val"):
        dataset.pairs("test")


def test_labels_that_are_not_there(make_dataset):
    root = make_dataset(CLASSES, None, [(IMAGE, LABELS)])
    (root / "val" / "labels" / "000.png").unlink()
    with pytest.raises(DatasetError, match=r"000.png is missing"):
        Dataset.load(root).pairs("val")


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_picture_whose_header_claims_a_huge_one(make_dataset, part):
    root = make_dataset(CLASSES, None, [(IMAGE, LABELS)])
    file = root / "val" / part / "000.png"
    header = b"IHDR" + (10**6).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    data = file.read_bytes()
    file.write_bytes(data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:])
    (pair,) = Dataset.load(root).pairs("val")
    with pytest.raises(DatasetError, match=rf"{part}/000.png is missing or is not an image"):
        pair.read()


@pytest.mark.parametrize("ignore", [None, 255])
def test_an_id_that_nothing_is_said_about(make_dataset, ignore):
    labels = LABELS.copy()
    labels[1:] = 77
    pair = Dataset.load(make_dataset(CLASSES, ignore, [(IMAGE, labels)])).pairs("val")[0]
    with pytest.raises(DatasetError, match=r"labels/000.png has the id 77 \(75.0% of its pixels\).*`ignore`"):
        pair.read()


@pytest.mark.parametrize(("labels", "match"), [
    (np.zeros((4, 6, 3), np.uint8), "one channel"),
    (np.zeros((4, 6), np.uint16), "8-bit"),
    (np.zeros((5, 6), np.uint8), "its image"),
])
def test_labels_of_the_wrong_kind(make_dataset, labels, match):
    pair = Dataset.load(make_dataset(CLASSES, None, [(IMAGE, labels)])).pairs("val")[0]
    with pytest.raises(DatasetError, match=match):
        pair.read()


def test_the_ego_vehicle_is_what_is_ignored_at_the_lower_edge():
    ignored = np.zeros((100, 200), np.bool_)
    ignored[85:, 20:180] = True  # the bonnet
    ignored[70:86, 95:105] = True  # a star on it
    ignored[:, :1] = ignored[99] = True  # the frame of a rectified picture
    ignored[40:50, 20:30] = True  # something that is not labelled
    ignored[80:, 190:] = True  # a bin at the edge
    found = ego_region(ignored)
    assert found[85:99, 20:180].all() and found[70:86, 96:104].all()
    assert not found[40:50, 20:30].any() and not found[:60].any() and not found[80:98, 185:].any()
    assert not ego_region(np.zeros((20, 30), np.bool_)).any()
