"""drive_seg.testing: what a team's own tests see."""

import numpy as np
import pytest
from bags import stamp, street, write_bag

from drive_seg.testing import ReplayError, replay_bag


@pytest.fixture
def drive(tmp_path, colour_network_path):
    return replay_bag(write_bag(tmp_path / "yard", 5), tmp_path / "out", network=colour_network_path,
                      engine="openvino", report=False)


def test_a_replay_gives_figures_and_masks(drive):
    assert drive.failed == 0
    assert 0 < drive.summary["drivable"]["min"] < 1
    assert [f["index"] for f in drive.frames()] == list(range(5))
    masks = list(drive.masks())
    assert [m.stamp_ns for m in masks] == [stamp(i) for i in range(5)]
    assert masks[0].images["labels"].shape == (120, 200) and masks[0].images["labels"].dtype == np.uint8
    with pytest.raises(ReplayError, match="no labels"):
        drive.scores  # noqa: B018


def test_a_golden_result_passes_until_something_changes(drive, tmp_path, colour_network_path):
    other = replay_bag(write_bag(tmp_path / "other" / "yard", 5, paint=lambda i: street(i + (i == 2))),
                       tmp_path / "now", network=colour_network_path, engine="openvino", report=False)
    drive.assert_same(drive.folder)
    with pytest.raises(AssertionError, match="frame 2: labels"):
        other.assert_same(drive.folder)
    other.assert_same(drive.folder, labels=0.9, drivable=0.9)


def test_frames_at_which_the_camera_is_not_believed_are_counted(tmp_path, colour_network_path):
    bag = write_bag(tmp_path / "yard", 20, paint=lambda i: np.zeros((120, 200, 3), np.uint8) if i > 9 else street(i))
    drive = replay_bag(bag, tmp_path / "out", network=colour_network_path, engine="openvino", report=False)
    assert drive.failed == 0
    assert 0 < drive.withheld == sum(f["withheld"] for f in drive.frames()) <= 10


def test_outputs_may_be_a_list_and_a_result_done_again(tmp_path, colour_network_path):
    bag = write_bag(tmp_path / "yard", 3)
    options = {"network": colour_network_path, "engine": "openvino", "report": False, "size": [96, 160]}
    first = replay_bag(bag, tmp_path / "out", outputs=["confidence"], **options)
    assert set(next(first.masks()).images) == {"labels", "drivable_area", "confidence"}
    with pytest.raises(ReplayError, match="another settings"):
        replay_bag(bag, tmp_path / "out", outputs=["classes"], **options)
    second = replay_bag(bag, tmp_path / "out", outputs=["classes"], again=True, **options)
    assert set(next(second.masks()).images) == {"labels", "drivable_area", "classes"}


def test_a_setting_of_another_type_is_one_clear_error(tmp_path, colour_network_path):
    with pytest.raises(ReplayError, match="min_confidence must be a number with a point, e.g. 0.65, not 'high'"):
        replay_bag(tmp_path / "yard", tmp_path / "out", network=colour_network_path, min_confidence="high")


def test_a_bag_that_can_t_be_read_raises(tmp_path, colour_network_path):
    with pytest.raises(ReplayError, match="there is no bag"):
        replay_bag(tmp_path / "nothing", tmp_path / "out", network=colour_network_path)
