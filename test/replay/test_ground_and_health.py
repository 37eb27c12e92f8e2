"""What a replay tells beyond the masks: the grid from above and the camera's health, in the bag's time."""

import numpy as np
import pytest
import yaml
from bags import stamp, street, write_bag

from drive_seg.core.camera import Camera
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundView
from drive_seg.footage.bag import Bag

MOUNT = ("--camera-height", "1.2", "--camera-pitch", "0.1")


def test_the_grid_is_the_core_s(replay, street_bag):
    assert replay(street_bag, *MOUNT) == 0
    masks = replay.masks(outputs=("labels", "drivable_area", "grid"))
    k = (150.0, 0, 100, 0, 150.0, 60, 0, 0, 1)
    view = GroundView(Camera.from_info(height=120, width=200, k=k), CameraPose.mounted(1.2, 0.1))
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


def test_the_node_s_parameter_file(replay, street_bag, tmp_path):
    values = {"camera_height": 1.2, "camera_pitch": 0.1, "grid_resolution": 0.5, "grid_front": 20.0, "grid_width": 10.0,
              "min_confidence": 0.8, "base_frame": "chassis"}
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    assert replay(street_bag, "--params-file", file, "--min-confidence", "0.7") == 0
    assert replay.masks(outputs=("labels", "grid"))[0].images["grid"].shape == (20, 40)
    settings = replay.summary()["fingerprint"]["settings"]
    assert (settings["min_confidence"], settings["mount"]["base_frame"]) == (0.7, "chassis")


@pytest.mark.parametrize(("text", "message"), [
    ("a: [", "no valid YAML"), ("other_node: {ros__parameters: {x: 1}}", "has no parameters of /drive_seg"),
])
def test_a_parameter_file_that_says_nothing_is_told(replay, street_bag, tmp_path, text, message, capsys):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    assert replay(street_bag, "--params-file", file) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("bag", "arguments", "message"), [
    ({"with_info": False}, MOUNT, "has no CameraInfo"),
    ({}, ("--camera-height", "1.2", "--camera-pitch", "-1.4"), "sees no ground"),
])
def test_a_camera_that_can_t_measure_is_told(replay, tmp_path, bag, arguments, message, capsys):
    assert replay(write_bag(tmp_path / "street", 2, **bag), *arguments) == 1
    assert message in capsys.readouterr().out


def test_health_is_told_in_the_bag_s_time(replay, tmp_path):
    """The camera freezes for three seconds of the drive, which takes far less than three seconds to replay."""
    def paint(number):
        return street(number if number < 20 else 20 if number < 50 else number)

    assert replay(write_bag(tmp_path / "street", 70, paint=paint)) == 0
    frames = replay.frames()
    assert {f["health"] for f in frames[40:50]} == {"FAULT"}, frames[45]
    assert "stands still" in frames[45]["reasons"][0]
    assert "FAULT" not in {f["health"] for f in frames[:25]} | {f["health"] for f in frames[60:]}
    health = replay.summary()["health"]
    assert health["frames"]["FAULT"] == sum(f["health"] == "FAULT" for f in frames)
    assert "FAULT" in [event["state"] for event in health["events"]]
    assert len(replay.masks()) == 70, "the masks are there all the same, to be looked at"


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
