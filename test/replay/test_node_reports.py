"""What the result bag holds of the node itself: names of labels, health, diagnostics, in the bag's time."""

import json

import numpy as np
import pytest
from bags import DELAY_NS, raw, stamp, street, write_bag
from rosbags.rosbag2 import Reader

from drive_seg.core.classes import LABEL_NAMES
from drive_seg.core.engine import EngineError
from drive_seg.core.health.latency import LatencyHealth
from drive_seg.replay.messages import BAG
from drive_seg.runtimes.openvino import OpenVinoEngine
from drive_seg.sources.bag import Bag

# Of vision_msgs' own message, from its generated code.
LABEL_INFO_HASH = "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783"


def read(replay, topic, name="street"):
    """(time of recording, message) of a topic of the result bag."""
    with Bag(replay.out / name / "result") as bag:
        return [(log_ns, BAG.types.deserialize_cdr(data, t.type)) for t, log_ns, data in bag.messages([topic])]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_label_info_is_vision_msgs_own(replay, street_bag, storage):
    assert replay(street_bag, "--storage", storage) == 0
    ((log_ns, info),) = read(replay, "/drive_seg/label_info")
    assert log_ns == stamp(0) + DELAY_NS
    assert {c.class_id: c.class_name for c in info.class_map} == {int(i): name for i, name in LABEL_NAMES.items()}
    with Reader(replay.out / "street" / "result") as reader:
        (connection,) = (c for c in reader.connections if c.topic == "/drive_seg/label_info")
    assert connection.digest == LABEL_INFO_HASH
    assert "vision_msgs/VisionClass[] class_map" in connection.msgdef.data
    assert "uint16 class_id" in connection.msgdef.data, "readers that don't know vision_msgs can read it"


def test_the_labels_are_named_where_no_frame_can_be_believed(replay, tmp_path):
    bag = write_bag(tmp_path / "street", 10, paint=lambda i: np.zeros((120, 200, 3), np.uint8))
    replay(bag)
    assert len(read(replay, "/drive_seg/label_info")) == len(read(replay, "/drive_seg/label_table")) == 1


def black(number):
    return street(number) if not 20 <= number < 50 else np.zeros((120, 200, 3), np.uint8)


def test_health_is_reported_when_it_changes_and_agrees_with_the_frames(replay, tmp_path):
    assert replay(write_bag(tmp_path / "street", 70, paint=black)) == 0
    health = [(log_ns, json.loads(message.data)) for log_ns, message in read(replay, "/drive_seg/health")]
    states = [entry["state"] for _, entry in health]
    assert "FAULT" in states and len(health) < 12, states
    assert all(entry["stamp"] == pytest.approx(log_ns / 1e9) for log_ns, entry in health)
    fault = next(entry for _, entry in health if entry["state"] == "FAULT")
    assert "is black" in fault["reasons"][0]
    for frame in replay.frames():
        newest = [entry["state"] for log_ns, entry in health if log_ns <= frame["log_ns"]][-1]
        assert newest == frame["health"], frame["index"]


def reasons(replay):
    """All reasons that ~/health gave."""
    return {r for _, message in read(replay, "/drive_seg/health") for r in json.loads(message.data)["reasons"]}


def test_an_unusable_image_is_reported_as_the_node_tells_it(replay, tmp_path):
    messages = [raw(i, street(i)) for i in range(6)]
    messages[3].encoding = "yuv9"
    assert replay(write_bag(tmp_path / "street", 6, messages=messages)) == 1
    (reason,) = (r for r in reasons(replay) if "yuv9" in r)
    assert reason.startswith("camera: an image message is unusable: ")
    assert "'yuv9' is not supported: use one of bgr8, " in reason


def test_an_engine_that_fails_is_reported_as_the_node_tells_it(replay, street_bag, monkeypatch):
    honest, calls = OpenVinoEngine.decode, []

    def fails_once(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise EngineError("out of memory")
        return honest(self, *arguments)

    monkeypatch.setattr(OpenVinoEngine, "decode", fails_once)
    assert replay(street_bag) == 1
    (reason,) = (r for r in reasons(replay) if "out of memory" in r)
    assert reason == "engine: the engine failed on a frame: out of memory: start the node again"


def test_diagnostics_come_every_second_of_the_bag_and_on_a_change(replay, tmp_path):
    assert replay(write_bag(tmp_path / "street", 70, paint=black)) == 0
    arrays = read(replay, "/diagnostics")
    times = [log_ns / 1e9 for log_ns, _ in arrays]
    assert np.diff(times).max() < 1.15 and len(arrays) >= 7
    changes = 1 + sum([s.level for s in a.status] != [s.level for s in b.status]
                      for (_, a), (_, b) in zip(arrays, arrays[1:], strict=False))
    assert changes > 1 and len(arrays) <= 7 + 1 + changes, "not with every frame"
    _, array = arrays[-1]
    assert {s.name for s in array.status} == {
        f"drive_seg: {c}" for c in ("camera", "engine", "geometry", "latency", "network", "output")}
    values = {v.key: v.value for s in array.status for v in s.values}
    assert values["engine"] == "openvino" and values["network"] == "colours"
    stamp_ns = array.header.stamp.sec * 10**9 + array.header.stamp.nanosec
    assert stamp_ns == arrays[-1][0]


def test_a_camera_that_is_gone_is_reported_between_its_frames(replay, tmp_path):
    """The node tells it after camera_timeout, long before the next frame comes."""
    bag = write_bag(tmp_path / "street", numbers=[*range(20), *range(120, 140)])
    assert replay(bag) == 0
    health = [(log_ns, json.loads(message.data)) for log_ns, message in read(replay, "/drive_seg/health")]
    gone = next((log_ns, entry) for log_ns, entry in health if "no image for" in str(entry["reasons"]))
    silent = (gone[0] - stamp(19) - DELAY_NS) / 1e9
    assert gone[1]["state"] == "FAULT" and 2.0 < silent <= 2.2
    levels = {s.name: s.level for s in next(a for ns, a in read(replay, "/diagnostics") if ns == gone[0]).status}
    assert levels["drive_seg: camera"] == 3, "STALE"
    assert [entry["state"] for log_ns, entry in health if log_ns <= stamp(139) + DELAY_NS][-1] != "FAULT"


def test_what_is_reported_does_not_depend_on_the_machine(replay, another, tmp_path, monkeypatch):
    """Latencies do, so they are not in it."""
    bag = write_bag(tmp_path / "street", 30, paint=black)
    assert replay(bag) == 0
    honest = LatencyHealth.observe
    monkeypatch.setattr(LatencyHealth, "observe", lambda self, took, drops, now: honest(self, took + 7, drops, now))
    assert another(bag) == 0
    files = [r.out / "street" / "result" / "result.mcap" for r in (replay, another)]
    assert files[0].read_bytes() == files[1].read_bytes()
