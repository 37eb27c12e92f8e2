"""What a replay reports beyond the masks: the grid from above and the camera's health, in the bag's time."""

import numpy as np
import pytest
import yaml
from bags import stamp, street, write_bag

from drive_seg.core.camera import Camera
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundView
from drive_seg.core.points import Points
from drive_seg.core.scan import Scan
from drive_seg.sources.bag import Bag

MOUNT = ("--camera-height", "1.2", "--camera-pitch", "0.1")


def seen_from_the_mount():
    k = (150.0, 0, 100, 0, 150.0, 60, 0, 0, 1)
    return GroundView(Camera.from_info(height=120, width=200, k=k), CameraPose.mounted(1.2, 0.1))


def test_the_grid_is_the_core_s(replay, street_bag):
    assert replay(street_bag, *MOUNT) == 0
    masks = replay.masks(outputs=("labels", "drivable_area", "grid"))
    view = seen_from_the_mount()
    grid = Grid(view, GridShape())
    assert len(masks) == 12
    for frame in masks:
        expected = grid.fill(view.see(frame.images["labels"], frame.images["drivable_area"]))
        assert np.array_equal(frame.images["grid"], expected)
        assert {0, 100} <= set(np.unique(expected)), "it shows free and occupied ground"


def test_the_grid_message_says_where_it_lies(replay, street_bag):
    replay(street_bag, *MOUNT)
    with Bag(replay.out / "street" / "result") as bag:
        topic, log_ns, data = next(bag.messages(["/drive_seg/grid"]))
        grid = bag.read(data, topic.type)
    assert (topic.type, grid.header.frame_id) == ("nav_msgs/msg/OccupancyGrid", "base_link")
    assert grid.header.stamp.sec * 10**9 + grid.header.stamp.nanosec == stamp(0)
    origin = grid.info.origin
    assert (grid.info.resolution, origin.position.x, origin.position.y) == (pytest.approx(0.1), 0.0, -15.0)
    assert origin.orientation.w == 1.0


def test_scan_and_points_are_the_core_s(replay, street_bag):
    assert replay(street_bag, *MOUNT, "--outputs", "all") == 0
    view = seen_from_the_mount()
    scan, points = Scan(view), Points(view)
    frames = replay.masks(outputs=("labels", "drivable_area", "scan", "points"))
    assert len(frames) == 12
    for frame in frames:
        labels = frame.images["labels"]
        sight = view.see(labels, frame.images["drivable_area"])
        assert np.array_equal(frame.images["scan"], scan.ranges(sight), equal_nan=True)
        assert np.array_equal(frame.images["points"], points.cloud(labels, sight), equal_nan=True)
    assert not np.array_equal(frames[0].images["points"], frames[11].images["points"], equal_nan=True), "the car moves"
    with Bag(replay.out / "street" / "result") as bag:
        messages = {t.name: bag.read(data, t.type)
                    for t, _, data in bag.messages(["/drive_seg/scan", "/drive_seg/points"])}
    ranges = messages["/drive_seg/scan"]
    assert ranges.header.frame_id == messages["/drive_seg/points"].header.frame_id == "base_link"
    assert len(ranges.ranges) == round((ranges.angle_max - ranges.angle_min) / ranges.angle_increment) + 1
    assert (ranges.range_min, ranges.range_max) == (pytest.approx(scan.range_min), pytest.approx(scan.range_max))


def test_the_node_s_parameter_file(replay, street_bag, tmp_path):
    values = {"camera_height": 1.2, "camera_pitch": 0.1, "grid_resolution": 0.5, "grid_front": 20.0, "grid_width": 10.0,
              "min_confidence": 0.8, "base_frame": "chassis"}
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    assert replay(street_bag, "--params-file", file, "--min-confidence", "0.7") == 0
    assert replay.masks(outputs=("labels", "grid"))[0].images["grid"].shape == (20, 40)
    settings = replay.summary()["fingerprint"]["settings"]
    assert (settings["min_confidence"], settings["base_frame"]) == (0.7, "chassis")


@pytest.mark.parametrize(("text", "message"), [
    ("a: [", "not valid YAML"), ("other_node: {ros__parameters: {x: 1}}", "has no parameters of /drive_seg"),
])
def test_a_parameter_file_that_says_nothing_is_reported(replay, street_bag, tmp_path, text, message, capsys):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    assert replay(street_bag, "--params-file", file) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("bag", "arguments", "message"), [
    ({"with_info": False}, MOUNT, "has no CameraInfo"),
    ({}, ("--camera-height", "1.2", "--camera-pitch", "-1.4"), "sees no ground"),
])
def test_a_camera_that_can_t_measure_is_reported(replay, tmp_path, bag, arguments, message, capsys):
    assert replay(write_bag(tmp_path / "street", 2, **bag), *arguments) == 1
    assert message in capsys.readouterr().out


def frozen(number):
    """The camera freezes for three seconds of the drive, which takes far less than three seconds to replay."""
    return street(number if number < 20 else 20 if number < 50 else number)


def black(number):
    return street(number) if not 20 <= number < 50 else np.zeros((120, 200, 3), np.uint8)


@pytest.mark.parametrize(("paint", "after", "reason"), [(frozen, 1.1, "stands still"), (black, 0.3, "is black")])
def test_a_camera_that_can_t_be_believed_gets_no_masks(replay, tmp_path, paint, after, reason):
    assert replay(write_bag(tmp_path / "street", 70, paint=paint)) == 0
    frames = replay.frames()
    withheld = [f["index"] for f in frames if f["withheld"]]
    assert 20 <= withheld[0] <= 20 + 10 * after, withheld
    assert withheld == list(range(withheld[0], withheld[-1] + 1)) and 49 <= withheld[-1] <= 53
    assert {f["health"] for f in frames if f["withheld"]} == {"FAULT"}
    assert all(reason in f["reasons"][0] and "digest" not in f for f in frames if f["withheld"])
    assert [m.stamp_ns for m in replay.masks()] == [stamp(i) for i in range(70) if i not in withheld]
    summary = replay.summary()
    assert summary["frames"] == {"total": 70, "segmented": 70 - len(withheld), "failed": 0, "withheld": len(withheld)}
    assert summary["health"]["frames"]["FAULT"] == len(withheld)
    assert "FAULT" in [event["state"] for event in summary["health"]["events"]]
    assert summary["suspicious"][0]["index"] == withheld[0] and reason in summary["suspicious"][0]["why"]


def test_or_masks_of_which_nothing_is_known(replay, tmp_path):
    bag = write_bag(tmp_path / "street", 40, paint=black)
    assert replay(bag, "--fault-policy", "unknown", *MOUNT) == 0
    withheld = [f["index"] for f in replay.frames() if f["withheld"]]
    assert len(withheld) > 10
    masks = replay.masks(outputs=("labels", "drivable_area", "confidence", "grid"))
    assert len(masks) == 40
    for number in withheld:
        images = masks[number].images
        assert (images["labels"] == 255).all() and (images["grid"] == -1).all()
        assert not images["drivable_area"].any() and not images["confidence"].any()
    assert replay.frames()[withheld[0]]["shares"]["unknown"] == 1


def test_still_images_are_allowed_where_the_node_allows_them(replay, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"frozen_timeout": 0.0}}}))
    assert replay(write_bag(tmp_path / "street", 70, paint=frozen), "--params-file", file) == 0
    assert replay.summary()["frames"]["withheld"] == 0
    assert len(replay.masks()) == 70


def test_a_camera_fault_that_came_anew_is_a_difference(replay, another, tmp_path, capsys):
    before = write_bag(tmp_path / "before" / "street", 30)
    now = write_bag(tmp_path / "now" / "street", 30, paint=black)
    assert replay(before) == 0
    assert another(now, "--golden", replay.out, "--min-labels", 0, "--min-drivable", 0) == 1
    golden = another.summary()["golden"]
    assert golden["only_in_a"] == another.summary()["frames"]["withheld"] > 0


def test_masks_of_the_network_s_size(replay, street_bag, tmp_path):
    file = tmp_path / "params.yaml"
    values = {"output_size": "network", "camera_height": 1.2, "camera_pitch": 0.1}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    assert replay(street_bag, "--params-file", file, "--outputs", "all", report=True) == 0
    images = replay.masks(outputs=("labels", "overlay", "points"))[0].images
    size = tuple(replay.summary()["engine"]["input_size"])
    assert size != (120, 200)
    assert images["labels"].shape == images["overlay"].shape[:2] == images["points"].shape[:2] == size


@pytest.mark.parametrize(("values", "message"), [
    ({"fault_policy": "loud"}, "must be one of silent, unknown"),
    ({"min_confidence": "high"}, "params.yaml: min_confidence must be a number with a point, e.g. 0.65, not 'high'"),
    ({"camera_timeout": "2.0"}, "params.yaml: camera_timeout must be a number with a point, e.g. 2.0, not '2.0'"),
    ({"temporal_filter": "yes please"}, "params.yaml: temporal_filter must be true or false, not 'yes please'"),
    ({"grid_front": [1, 2]}, "params.yaml: grid_front must be a number with a point, e.g. 40.0, not [1, 2]"),
    ({"overlay_quality": 80.5}, "params.yaml: overlay_quality must be a whole number, not 80.5"),
    ({"input_height": "96", "input_width": 160}, "params.yaml: input_height must be a whole number, not '96'"),
    ({"strictness": True}, "params.yaml: strictness must be a number with a point, e.g. 1.0, not True"),
    ({"network": 7}, "params.yaml: network must be text, e.g. \"'7'\", not 7"),
    ({"camera_height": 1.2, "camera_pitch": 0.1, "grid_front": 0.0}, "the grid is empty"),
    ({"camera_timeout": -5.0}, "params.yaml: camera_timeout must be from 0.1 to 3600, not -5.0"),
    ({"overlay_quality": 500}, "params.yaml: overlay_quality must be from 1 to 100, not 500"),
    ({"camera_timeout": 2}, "camera_timeout must be a number with a point, e.g. 2.0, not 2"),
    ({"ego_mask": "/nowhere.png"}, "ego_mask: there is no file /nowhere.png"),
])
def test_a_parameter_that_can_t_be_is_reported(replay, street_bag, tmp_path, values, message, capsys):
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    assert replay(street_bag, "--params-file", file) != 0
    captured = capsys.readouterr()
    assert message in captured.out + captured.err


def test_the_temporal_filter_starts_afresh_after_a_gap(replay, another, tmp_path):
    """As the node's does: labels from before say nothing of what comes half a second later."""
    noise = np.random.default_rng(0)
    frames = {i: np.clip(street(i) + noise.normal(0, 60, (120, 200, 3)), 0, 255).astype(np.uint8)
              for i in (0, 1, 8, 9)}
    assert replay(write_bag(tmp_path / "a" / "street", numbers=frames, paint=frames.get), "--temporal-filter") == 0
    assert another(write_bag(tmp_path / "b" / "street", numbers=(8, 9), paint=frames.get), "--temporal-filter") == 0
    after, alone = replay.masks()[2:], another.masks()
    assert all(np.array_equal(a.images["labels"], b.images["labels"]) for a, b in zip(after, alone, strict=True))


def test_the_temporal_filter_is_the_node_s_and_starts_afresh_with_each_bag(replay, another, tmp_path):
    """A label that comes for one frame, unsure of itself, is held back, in each of two bags with the same frames."""
    from drive_seg.core.segmenter import Segmenter
    from drive_seg.core.temporal import TemporalFilter
    from drive_seg.network import Network
    from drive_seg.runtimes import open_engine

    noise = np.random.default_rng(0)
    frames = [np.clip(street(i) + noise.normal(0, 60, (120, 200, 3)), 0, 255).astype(np.uint8) for i in range(8)]
    archive = tmp_path / "archive"
    for name in ("a", "b"):
        write_bag(archive / name, 8, paint=frames.__getitem__)
    assert replay(archive / "*", "--temporal-filter") == 0
    assert another(archive / "*") == 0
    network = Network.load(replay.network)
    segmenter = Segmenter(open_engine("openvino", network), network.table, temporal=TemporalFilter())
    expected = [segmenter.segment(frame).labels for frame in frames]
    for name in ("a", "b"):
        assert all(np.array_equal(m.images["labels"], e) for m, e in zip(replay.masks(name), expected, strict=True))
    plain = another.masks("a")
    assert any(not np.array_equal(m.images["labels"], e) for m, e in zip(plain, expected, strict=True))
