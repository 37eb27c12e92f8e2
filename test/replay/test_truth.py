"""Ground truth: the same scores as `drive-seg evaluate`, and labels that do not fit."""

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml
from bags import raw, stamp, street, write_bag
from colours import COLOURS
from replays import Replay

from drive_seg.cli.main import main

GROUPS = {name: group for name, (group, _, _) in COLOURS.items()}


def truth_of(number):
    """Class ids of the street, by colour, with a mistake: the car is labelled as a tree in the upper half of it."""
    scene = street(number)[:, :, ::-1].astype(int)
    prototypes = np.array([colour for _, colour, _ in COLOURS.values()])
    labels = ((scene[:, :, None] - prototypes) ** 2).sum(-1).argmin(-1).astype(np.uint8)
    labels[80:90][labels[80:90] == 3] = 4
    labels[:5] = 255
    return labels


@pytest.fixture
def labelled(tmp_path):
    """A bag of PNG images and a data set of the same frames: train/images, train/labels."""
    folder = tmp_path / "data"
    for part in ("images", "labels"):
        (folder / "val" / part).mkdir(parents=True)
    classes = {i: {"name": name, "group": GROUPS[name]} for i, name in enumerate(COLOURS)}
    (folder / "dataset.yaml").write_text(yaml.safe_dump({"name": "street", "ignore": 255, "classes": classes}))
    for number in range(6):
        cv2.imwrite(str(folder / "val/images" / f"{stamp(number)}.png"), street(number))
        cv2.imwrite(str(folder / "val/labels" / f"{stamp(number)}.png"), truth_of(number))
    return write_bag(tmp_path / "street", 6), folder


def test_the_scores_are_evaluate_s_to_the_last_digit(replay, labelled, tmp_path):
    bag, data = labelled
    assert replay(bag, "--labels", data / "val") == 0
    words = ["evaluate", "--data", data, "--split", "val", "--network", replay.network, "--engine", "openvino",
             "--json", tmp_path / "scores.json"]
    assert main([str(w) for w in words]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    truth = replay.summary()["truth"]
    shared = scores.keys() & truth.keys()
    assert {"miou", "iou", "group_iou", "drivable", "boundary_iou", "pixel_accuracy"} <= shared
    assert {k: truth[k] for k in shared} == {k: scores[k] for k in shared}
    assert 0.5 < truth["miou"] < 1


def test_temporal_consistency_counts_pixels_whose_truth_stays(replay, labelled):
    bag, data = labelled
    replay(bag, "--labels", data / "val")
    labels = [m.images["labels"] for m in replay.masks()]
    steady = kept = 0
    for number in range(1, 6):
        stays = (truth_of(number) == truth_of(number - 1)) & (truth_of(number) != 255)
        steady, kept = steady + stays.sum(), kept + (stays & (labels[number] == labels[number - 1])).sum()
    assert replay.summary()["truth"]["temporal_consistency"] == pytest.approx(kept / steady)


def test_labels_by_index_for_some_frames(replay, labelled, tmp_path):
    bag, data = labelled
    some = tmp_path / "some"
    some.mkdir()
    (some / "dataset.yaml").write_text((data / "dataset.yaml").read_text())
    cv2.imwrite(str(some / "000004.png"), truth_of(4))
    assert replay(bag, "--labels", some) == 0
    assert replay.summary()["truth"]["images"] == 1
    assert [f["index"] for f in replay.frames() if f["truth"]] == [4]
    assert replay.summary()["truth"]["temporal_consistency"] is None


def test_stamps_of_a_simulation_are_small(replay, labelled, tmp_path):
    _, data = labelled
    messages = [raw(i, street(i)) for i in range(6)]
    for number, message in enumerate(messages):
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(10**8 * number, 10**9)
        file = data / "val/labels" / f"{stamp(number)}.png"
        file.rename(file.with_name(f"{10**8 * number}.png"))
    bag = write_bag(tmp_path / "simulated" / "street", 6, messages=messages)
    assert replay(bag, "--labels", data / "val") == 0
    assert replay.summary()["truth"]["images"] == 6


@pytest.mark.parametrize("count", [1, 2])
def test_a_label_that_no_frame_has_does_not_make_stamps_indices(replay, labelled, count):
    bag, data = labelled
    for number in range(count):
        shutil.copy(data / "val/labels" / f"{stamp(0)}.png", data / "val/labels" / f"{number}.png")
    assert replay(bag, "--labels", data / "val") == 0
    assert replay.summary()["truth"]["images"] == 6


def test_labels_of_several_bags(replay, labelled, tmp_path, capsys):
    """A folder for each bag, with its result's name; a bag without is reported."""
    _, data = labelled
    for name in "abc":
        write_bag(tmp_path / "archive" / name, 6)
    bags = [tmp_path / "archive" / name for name in "abc"]
    assert replay(*bags, "--labels", data / "val") == 2
    error = capsys.readouterr().err
    assert "has labels of none of the 3 bags: they go into a folder for each, a, b, c" in error
    for name in "ab":
        shutil.copytree(data / "val" / "labels", data / "val" / name)
    assert replay(*bags, "--labels", data / "val") == 0
    assert f"no labels for c: there is no {data / 'val' / 'c'}" in capsys.readouterr().out
    scored = [replay.summary(name)["truth"] for name in "abc"]
    assert [truth and truth["images"] for truth in scored] == [6, 6, None]


def test_labels_by_order(replay, labelled, tmp_path):
    bag, data = labelled
    for number, file in enumerate(sorted((data / "val/labels").iterdir())):
        file.rename(file.with_name(f"drive_{number}.png"))
    assert replay(bag, "--labels", data / "val/labels") == 0
    assert replay.summary()["truth"]["images"] == 6


def _spoil(name):
    def missing(labels):
        for file in labels.glob("*.png"):
            file.unlink()

    def other_size(labels):
        for file in labels.glob("*.png"):
            cv2.imwrite(str(file), np.zeros((10, 10), np.uint8))

    def colour(labels):
        for file in labels.glob("*.png"):
            cv2.imwrite(str(file), np.zeros((120, 200, 3), np.uint8))

    def too_few(labels):
        next(labels.glob("*.png")).unlink()
        for file in labels.glob("*.png"):
            file.rename(file.with_name(f"drive_{file.name}"))

    def by_index(labels, add):
        for number, file in enumerate(sorted(labels.glob("*.png"))):
            file.rename(file.with_name(f"{number + add:06d}.png"))

    def from_one(labels):
        by_index(labels, 1)

    def one_stray(labels):
        by_index(labels, 0)
        shutil.copy(labels / "000000.png", labels / "1700000000.png")

    def of_a_longer_bag(labels):
        by_index(labels, 3)
        for number in range(30, 50):
            shutil.copy(labels / "000003.png", labels / f"{number}.png")

    def other_stamps(labels):
        for file in labels.glob("*.png"):
            file.rename(file.with_name(f"{int(file.stem) + 10**15}.png"))

    def no_yaml(labels):
        (labels.parents[1] / "dataset.yaml").unlink()

    return locals()[name]


@pytest.mark.parametrize(("fault", "message"), [
    ("missing", "has no PNG files"),
    ("other_size", "is 10x10, the frame is 200x120"),
    ("colour", "not an 8-bit picture with one channel"),
    ("too_few", "has 5 labels, the bag 6 frames"),
    ("from_one", "has labels for frame 6, the bag has 6 frames"),
    ("one_stray", "has labels for frame 1700000000, the bag has 6 frames"),
    ("of_a_longer_bag", "has labels for frame 49, the bag has 6 frames"),
    ("other_stamps", "belong to a frame of the bag"),
    ("no_yaml", "no dataset.yaml"),
])
def test_wrong_labels_are_one_clear_error(replay, labelled, fault, message, capsys):
    bag, data = labelled
    _spoil(fault)(data / "val" / "labels")
    assert replay(bag, "--labels", data / "val") == 1
    out = capsys.readouterr().out
    assert message in out and out.count("\n") == 1
    assert not (replay.out / "street").exists(), "reported before the first frame is replayed"


def _between_the_stamps(labels):
    for file in labels.glob("*.png"):
        file.rename(file.with_name(f"{int(file.stem) + 1}.png"))


def _one_of_another_size(labels):
    cv2.imwrite(str(labels / f"{stamp(4)}.png"), np.zeros((10, 10), np.uint8))


def _one_damaged(labels):
    (labels / f"{stamp(4)}.png").write_text("no picture")


@pytest.mark.parametrize(("spoil", "message"), [
    (_between_the_stamps, "belong to a frame of the bag"),
    (_one_of_another_size, "is 10x10, the frame is 200x120"),
    (_one_damaged, "not an 8-bit picture with one channel"),
])
def test_wrong_labels_that_are_found_late_leave_the_replay(replay, labelled, spoil, message, capsys):
    bag, data = labelled
    spoil(data / "val" / "labels")
    assert replay(bag, "--labels", data / "val", report=True) == 1
    out = capsys.readouterr().out
    assert message in out and out.count("\n") == 1
    summary = replay.summary()
    assert message in summary["problem"] and summary["truth"] is None
    assert len(replay.masks()) == len(replay.frames()) == 6
    assert "no scores: " in (replay.out / "street" / "report.html").read_text()
    assert replay(bag, "--labels", data / "val", report=True) == 1
    assert capsys.readouterr().out.startswith("FAILED"), "it is not called done when it is resumed"


def test_a_frame_without_result_is_not_scored(colour_network_path, labelled, tmp_path):
    _, data = labelled
    messages = [raw(i, street(i)) for i in range(6)]
    messages[2].step = 5
    replay = Replay(colour_network_path, tmp_path / "out")
    assert replay(write_bag(tmp_path / "broken" / "street", 6, messages=messages), "--labels", data / "val") == 1
    assert replay.summary()["truth"]["images"] == 5
