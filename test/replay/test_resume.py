"""What is done before is taken again only while everything that it depends on is as it was."""

import errno
import os
import shutil

import cv2
import numpy as np
import pytest
import yaml
from replays import Replay

from drive_seg.replay import job as job_module


@pytest.fixture
def things(street_bag, colour_network_path, tmp_path):
    """Copies of all that a replay depends on besides the bag, and the replay with them."""
    network = tmp_path / "network" / colour_network_path.name
    network.parent.mkdir()
    for suffix in (".onnx", ".yaml"):
        shutil.copy(colour_network_path.with_suffix(suffix), network.with_suffix(suffix))
    cv2.imwrite(str(tmp_path / "ego.png"), np.zeros((12, 20), np.uint8))
    (tmp_path / "labels").mkdir()
    classes = {0: {"name": "rest", "group": ["background", "obstacle"]}, 1: {"name": "lane", "group": "road"}}
    (tmp_path / "labels" / "dataset.yaml").write_text(yaml.safe_dump({"name": "street", "classes": classes}))
    cv2.imwrite(str(tmp_path / "labels" / "000003.png"), np.ones((120, 200), np.uint8))
    Replay(network, tmp_path / "golden")(street_bag)
    replay = Replay(network, tmp_path / "out")

    def again(*arguments):
        return replay(street_bag, "--ego-mask", tmp_path / "ego.png", "--labels", tmp_path / "labels", "--golden",
                      tmp_path / "golden", "--max-frames", 12, *arguments)

    assert again() == 0
    return again, replay, tmp_path


def test_nothing_changed(things, capsys):
    again, *_ = things
    assert again() == 0
    assert "done before" in capsys.readouterr().out


def test_a_golden_result_that_was_replayed_again_to_the_same_masks(things, street_bag, capsys):
    """Only its timings are others."""
    again, replay, folder = things
    file = folder / "golden" / "street" / "frames.jsonl"
    before = file.read_text()
    Replay(replay.network, folder / "golden")(street_bag, "--again")
    assert file.read_text() != before
    capsys.readouterr()
    assert again() == 0
    assert "done before" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["summary.json", "frames.jsonl"])
def test_a_golden_result_that_is_damaged_is_one_clear_error(things, name, capsys):
    again, _, folder = things
    file = folder / "golden" / "street" / name
    file.write_text(file.read_text()[:-20])
    assert again("--again") == 1
    assert "street is damaged, its summary.json or frames.jsonl can't be read: replay it" in capsys.readouterr().out


def test_what_failed_after_the_last_frame_is_tried_again(replay, street_bag, monkeypatch, capsys):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(job_module, "write_report", full_disk)
        assert replay(street_bag, report=True) == 1
    assert replay.summary()["unfinished"] == ["no report: No space left on device"]
    assert capsys.readouterr().out.startswith("FAILED")
    assert replay(street_bag, report=True) == 0
    assert replay.summary()["unfinished"] == [] and replay.summary()["problem"] is None
    assert (replay.out / "street" / "report.html").is_file()
    capsys.readouterr()
    assert replay(street_bag, report=True) == 0
    assert capsys.readouterr().out.startswith("done before")


def yaml_of_network(folder):
    file = next((folder / "network").glob("*.yaml"))
    facts = yaml.safe_load(file.read_text())
    facts["classes"][1]["drivable"] = False
    file.write_text(yaml.safe_dump(facts))


def ego_mask(folder):
    mask = np.zeros((12, 20), np.uint8)
    mask[-3:] = 255
    cv2.imwrite(str(folder / "ego.png"), mask)


def label(folder):
    cv2.imwrite(str(folder / "labels" / "000003.png"), np.zeros((120, 200), np.uint8))


def more_labels(folder):
    shutil.copy2(folder / "labels" / "000003.png", folder / "labels" / "000004.png")


def meaning_of_labels(folder):
    file = folder / "labels" / "dataset.yaml"
    before = file.stat()
    file.write_text(file.read_text().replace("lane", "kerb").replace("road", "pavement"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def golden(folder):
    file = folder / "golden" / "street" / "frames.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(("change", "what"), [
    (yaml_of_network, "network"), (ego_mask, "ego_mask"), (label, "labels"), (more_labels, "labels"),
    (meaning_of_labels, "labels"), (golden, "golden")])
def test_a_change_is_reported(things, change, what, capsys):
    again, _, folder = things
    change(folder)
    assert again() == 1
    assert f"holds a result with another {what}: choose another --out, or --again" in capsys.readouterr().out
    again("--again")
    assert "FAILED" not in capsys.readouterr().out


def test_what_was_changed_counts_in_the_same_process(things):
    """Engines and masks that are kept from bag to bag are not those of the files before."""
    again, replay, folder = things
    assert replay.masks()[0].images["drivable_area"].any()
    yaml_of_network(folder)
    again("--again")
    assert not replay.masks()[0].images["drivable_area"].any()
