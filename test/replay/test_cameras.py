"""A bag with several cameras: one result bag with all of them, their joint ground, and a report."""

import json
import os

import numpy as np
import pytest
from bags import DELAY_NS, IMAGE, INFO, TF, TF_QOS, TYPES, info, raw, stamp, street, transform
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from drive_seg.core.around import Around, Motion
from drive_seg.core.camera import Camera
from drive_seg.core.grid import Grid
from drive_seg.core.ground import CameraPose, GroundView
from drive_seg.core.mounted import Mount
from drive_seg.replay.compare import find_results
from drive_seg.replay.settings import ReplayError
from drive_seg.sources.bag import Bag

YAWS = {"front": 0.0, "left": 1.0, "right": -1.0}
LEVEL = (0.0, 0.0, 0.0, 1.0)
PARAMETERS = """
/**:
  ros__parameters:
    cameras: [front, left, right]
    camera_height: 1.2
    camera_pitch: 0.3
    max_pixel_length: 1.0
    grid_back: -10.0
    grid_front: 10.0
    grid_width: 20.0
    left: {camera_yaw: 1.0, min_confidence: 0.5}
    right: {camera_yaw: -1.0}
"""


def rig_bag(path, frames=8, without=(), odometry=None, late_ns=0):
    """Three cameras; `without`: (camera, number) of frames that are not there. odometry: metres that the vehicle drives
    forward a frame. late_ns: by which right's stamps lie behind the others'."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        images = {n: writer.add_connection(f"/{n}/image", IMAGE, typestore=TYPES) for n in YAWS}
        infos = {n: writer.add_connection(f"/{n}/camera_info", INFO, typestore=TYPES) for n in YAWS}
        tf = writer.add_connection("/tf", TF, typestore=TYPES, offered_qos_profiles=[TF_QOS["/tf"]])
        for number in range(frames):
            if odometry is not None:
                for part in (0.0, 0.5):
                    ns = stamp(number) + round(part * 1e8)
                    message = transform("odom", "base_link", (odometry * (number + part), 0, 0), LEVEL, ns)
                    writer.write(tf, ns - 60_000_000 if number else ns, TYPES.serialize_cdr(message, TF))
            for place, name in enumerate(YAWS):
                if (name, number) in without:
                    continue
                log_ns = stamp(number) + DELAY_NS + place * 1_000_000
                picture = np.roll(street(number), 11 * place, axis=1)
                for connection, kind, message in ((infos[name], INFO, info(number)), (images[name], IMAGE,
                                                                                       raw(number, picture))):
                    if name == "right":
                        ns = stamp(number) + late_ns
                        message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns, 10**9)
                    writer.write(connection, log_ns, TYPES.serialize_cdr(message, kind))
    return path


@pytest.fixture
def parameters(tmp_path):
    file = tmp_path / "rig.yaml"
    file.write_text(PARAMETERS)
    return file


def read(folder, name):
    """Messages of a topic of the result."""
    with Reader(folder / "result") as reader:
        chosen = [c for c in reader.connections if c.topic == f"/drive_seg/{name}"]
        return [TYPES.deserialize_cdr(data, c.msgtype) for c, _, data in reader.messages(chosen)] if chosen else []


def cells(message):
    return message.data.reshape(message.info.height, message.info.width)


def test_all_cameras_are_in_one_result_and_their_ground_is_joined(replay, tmp_path, parameters):
    bag = rig_bag(tmp_path / "street")
    assert replay(bag, "--params-file", parameters, report=True) == 0
    summary, folder = replay.summary(), replay.out / "street"
    assert summary["frames"] == {"total": 24, "segmented": 24, "failed": 0, "withheld": 0}
    assert set(summary["cameras"]) == set(YAWS) and summary["joint"]["missing"] == dict.fromkeys(YAWS, 0)
    with Bag(folder / "result") as result:
        counts = {topic.name: topic.count for topic in result.topics}
    for name in YAWS:
        assert counts[f"/drive_seg/{name}/labels"] == counts[f"/drive_seg/{name}/grid"] == 8
        assert len((folder / "frames" / f"{name}.jsonl").read_text().splitlines()) == 8
    grids, own = read(folder, "grid"), {name: read(folder, f"{name}/grid") for name in YAWS}
    assert len(grids) == counts["/drive_seg/scan"] == summary["joint"]["rounds"] == 8
    for number, grid in enumerate(grids):
        parts = [cells(own[name][number]) for name in YAWS]
        seen = np.maximum.reduce(parts)
        assert np.array_equal(cells(grid)[seen != 100], seen[seen != 100]) and (cells(grid) <= seen).all()
        assert all((cells(grid) >= 0).sum() > (part >= 0).sum() + 100 for part in parts)
    page = (folder / "report.html").read_text()
    assert page.count("data:image/jpeg") == 4 and "front" in page and "8" in page
    assert json.loads(read(folder, "health")[-1].data)["state"] != "FAULT" and read(folder, "left/health")
    with pytest.raises(ReplayError, match="of several cameras.*by itself"):
        find_results(replay.out)


def test_each_camera_s_masks_are_those_that_it_has_alone(replay, another, tmp_path, parameters):
    bag = rig_bag(tmp_path / "street", 4)
    assert replay(bag, "--params-file", parameters) == 0
    assert another(bag, "--topic", "/left/image", "--min-confidence", "0.5") == 0
    alone = another.masks(outputs=("labels", "drivable_area"))
    for output in ("labels", "drivable_area"):
        together = [m.data.reshape(m.height, m.width) for m in read(replay.out / "street", f"left/{output}")]
        assert len(together) == len(alone) == 4
        assert all(np.array_equal(a, b.images[output]) for a, b in zip(together, alone, strict=True))


def test_a_camera_that_dies_changes_no_byte_of_the_others_and_its_sector_is_unknown(replay, another, tmp_path,
                                                                                    parameters):
    whole = rig_bag(tmp_path / "street", 8)
    (tmp_path / "b").mkdir()
    cut = rig_bag(tmp_path / "b" / "street", 8, without={("left", number) for number in range(3, 8)})
    assert replay(whole, "--params-file", parameters) == 0
    assert another(cut, "--params-file", parameters, "--camera-timeout", "0.3") == 0
    a, b = replay.out / "street", another.out / "street"
    for name in ("front", "right"):
        for output in ("labels", "drivable_area", "confidence", "grid", "scan"):
            before, after = read(a, f"{name}/{output}"), read(b, f"{name}/{output}")
            assert len(before) == len(after) == 8
            data = [m.ranges if output == "scan" else m.data for m in before]
            assert all(x.tobytes() == (m.ranges if output == "scan" else m.data).tobytes()
                       for x, m in zip(data, after, strict=True))
    joint = another.summary()["joint"]
    assert joint["missing"]["left"] >= 4 and joint["missing"]["front"] == 0
    last = json.loads(read(b, "health")[-1].data)
    assert last["state"] == "DEGRADED" and any(r.startswith("left: ") for r in last["reasons"])
    only_left = [(cells(m) >= 0) for m in read(a, "left/grid")][-1]
    for name in ("front", "right"):
        only_left &= cells(read(a, f"{name}/grid")[-1]) < 0
    assert only_left.sum() > 100 and (cells(read(b, "grid")[-1])[only_left] == -1).all()


def test_odometry_moves_what_was_seen_before(replay, tmp_path, parameters):
    """right's pictures are taken 50 ms after the others', in which the vehicle drives a metre."""
    bag = rig_bag(tmp_path / "street", odometry=2.0, late_ns=50_000_000)
    assert replay(bag, "--params-file", parameters, "--camera-tolerance", "0.09") == 0
    folder = replay.out / "street"
    mount = Mount(1.2, 0.3, max_pixel_length=1.0, grid_back=-10.0, grid_front=10.0, grid_width=20.0)
    views = {name: GroundView(Camera.from_info(height=120, width=200, k=(150, 0, 100, 0, 150, 60, 0, 0, 1)),
                              CameraPose.mounted(1.2, 0.3, yaw=yaw), max_pixel_length=1.0)
             for name, yaw in YAWS.items()}
    around = Around(views, {name: Grid(view, mount.shape) for name, view in views.items()})
    masks = {name: [read(folder, f"{name}/{kind}") for kind in ("labels", "drivable_area")] for name in YAWS}
    grids = {g.header.stamp.sec * 10**9 + g.header.stamp.nanosec: cells(g) for g in read(folder, "grid")}
    at = stamp(4) + 50_000_000
    looks = {}
    for name in YAWS:
        labels, drivable = (m[4].data.reshape(120, 200) for m in masks[name])
        moved = Motion() if name == "right" else Motion(-1.0, 0.0, 0.0)
        looks[name] = around.look(name, views[name].see(labels, drivable), moved)
    assert np.array_equal(grids[at], around.grid(looks))
    still = {name: around.look(name, look.sight) for name, look in looks.items()}
    assert not np.array_equal(grids[at], around.grid(still)), "it matters"


def test_threads_change_no_byte(replay, another, tmp_path, parameters):
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core: there is no other number of threads")
    from drive_seg.replay import job

    bag = rig_bag(tmp_path / "street", odometry=0.3, late_ns=20_000_000)
    try:
        os.sched_setaffinity(0, {min(cores)})
        job._model.cache_clear()
        assert replay(bag, "--params-file", parameters) == 0
    finally:
        os.sched_setaffinity(0, cores)
        job._model.cache_clear()
    assert another(bag, "--params-file", parameters) == 0
    a, b = (r.out / "street/result/result.mcap" for r in (replay, another))
    assert a.read_bytes() == b.read_bytes()
    assert replay.summary()["masks_sha256"] == another.summary()["masks_sha256"]


@pytest.mark.parametrize(("arguments", "words"), [
    (["--cameras", "front,rear"], "has no image topic of the camera rear, it has /front/image"),
    (["--cameras", "front,left", "--topic", "front=/front/image"], "--topic must name one topic for each of"),
])
def test_a_camera_that_the_bag_has_not_is_named(replay, tmp_path, capsys, arguments, words):
    assert replay(rig_bag(tmp_path / "street", 2), *arguments) == 1
    assert words in capsys.readouterr().out


def test_topics_may_be_given(replay, tmp_path):
    assert replay(rig_bag(tmp_path / "street", 2), "--cameras", "a,b", "--topic", "a=/right/image,b=/front/image") == 0
    assert replay.summary()["bag"]["topics"] == {"a": "/right/image", "b": "/front/image"}
    assert len(read(replay.out / "street", "a/labels")) == 2 and not read(replay.out / "street", "labels")


def test_a_wrong_clock_takes_the_joint_ground_from_no_other_camera(replay, tmp_path, parameters):
    bag = rig_bag(tmp_path / "street", late_ns=10_000_000_000)
    assert replay(bag, "--params-file", parameters, report=True) == 0
    joint = replay.summary()["joint"]
    assert joint["missing"]["right"] >= joint["rounds"] - 1 >= 7 and joint["missing"]["left"] <= 1
    stamps = [message.header.stamp.sec for message in read(replay.out / "street", "grid")]
    assert sorted(stamps)[-2] < stamp(0) // 10**9 + 9, "all but the first are of the others' time"
    assert (replay.out / "street" / "report.html").read_text().count("data:image/jpeg") == 4, "the joint ground, too"


def test_a_camera_without_a_pose_is_named_as_missing(replay, tmp_path):
    file = tmp_path / "rig.yaml"
    file.write_text(PARAMETERS.replace("    camera_height: 1.2\n", "    front: {camera_height: 1.2}\n"))
    assert replay(rig_bag(tmp_path / "street", 4), "--params-file", file) == 0
    joint = replay.summary()["joint"]
    assert joint["rounds"] == 4 and joint["missing"] == {"front": 0, "left": 4, "right": 4}
    assert len(read(replay.out / "street", "grid")) == 4
