"""What `drive-seg replay` makes of a bag."""

import itertools
import json
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from bags import DELAY_NS, cut, raw, stamp, street, write_bag
from rosbags.rosbag2.enums import CompressionMode

from drive_seg.core.drivable import DrivableRule
from drive_seg.core.segmenter import Segmenter
from drive_seg.pipeline import Model, Pipeline
from drive_seg.replay import job as job_module
from drive_seg.replay.resultbag import ResultReader, topic_of
from drive_seg.replay.stream import stream
from drive_seg.settings import Settings
from drive_seg.sources.bag import Bag, BagError


def test_the_result_bag_holds_what_the_core_says_with_the_camera_s_stamps(replay, street_bag, colour_engine,
                                                                          colour_network):
    assert replay(street_bag) == 0
    segmenter = Segmenter(colour_engine, colour_network.table)
    frames = replay.masks()
    assert [(m.stamp_ns, m.log_ns) for m in frames] == [(stamp(i), stamp(i) + DELAY_NS) for i in range(12)]
    for number, masks in enumerate(frames):
        expected = segmenter.segment(street(number))
        for output, image in (("labels", expected.labels), ("drivable_area", expected.drivable),
                              ("classes", expected.classes), ("confidence", expected.confidence)):
            assert np.array_equal(masks.images[output], image), (number, output)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_result_bag_s_metadata_is_the_node_s(replay, street_bag, storage):
    """Every topic of the node, its type and what a subscriber may count on."""
    from drive_seg.ros.outputs import OUTPUTS

    assert replay(street_bag, "--storage", storage, "--outputs", "all", "--camera-height", "1.2") == 0
    with Bag(replay.out / "street" / "result") as bag:
        kinds = {t.name: (t.type, t.count) for t in bag.topics}
        assert kinds.pop("/drive_seg/label_table") == ("std_msgs/msg/String", 1)
        assert kinds.pop("/drive_seg/label_info") == ("vision_msgs/msg/LabelInfo", 1)
        assert kinds.pop("/drive_seg/health")[0] == "std_msgs/msg/String"
        assert kinds.pop("/diagnostics")[0] == "diagnostic_msgs/msg/DiagnosticArray"
        assert kinds == {o.topic.replace("~", "/drive_seg"): (o.kind, 12) for o in OUTPUTS}
        for topic in bag.topics:
            (qos,) = topic.qos
            depth = 10 if topic.name == "/diagnostics" else 1
            assert (qos.reliability.name, qos.history.name, qos.depth) == ("RELIABLE", "KEEP_LAST", depth)
            latched = topic.name.removeprefix("/drive_seg/") in ("label_table", "label_info", "health")
            assert qos.durability.name == ("TRANSIENT_LOCAL" if latched else "VOLATILE"), topic.name
        image = next(bag.images(bag.image_topic(topic_of("labels"))))
        assert (image.frame_id, image.message.encoding) == ("camera_front", "mono8")
    images = replay.masks(outputs=("overlay", "overlay/compressed", "labels"))[0].images
    assert images["overlay"].shape == images["overlay/compressed"].shape == (120, 200, 3)
    assert np.abs(images["overlay"].astype(int) - images["overlay/compressed"]).mean() < 6, "the same picture"
    assert np.abs(images["overlay"].astype(int) - street(0)).mean() > 6, "with something drawn on it"


def test_the_label_table_comes_first_and_names_what_is_in_the_masks(replay, street_bag):
    assert replay(street_bag) == 0
    with Bag(replay.out / "street" / "result") as bag:
        topic, log_ns, data = next(bag.messages())
        table = json.loads(bag.read(data, topic.type).data)
    assert (topic.name, log_ns) == ("/drive_seg/label_table", stamp(0) + DELAY_NS)
    masks = replay.masks()[0].images
    assert set(np.unique(masks["labels"])) <= {entry["id"] for entry in table["labels"]}
    label = {entry["id"]: entry["label"] for entry in table["classes"]}
    sure = masks["labels"] != 255
    assert [label[c] for c in masks["classes"][sure][::97]] == masks["labels"][sure][::97].tolist()


@pytest.mark.parametrize(("arguments", "expected"), [
    ((), {"classes", "confidence"}),
    (("--camera-height", "1.2"), {"classes", "confidence", "grid", "scan"}),
    (("--outputs", "overlay"), {"overlay"}),
    (("--outputs", "points,scan", "--camera-height", "1.2"), {"points", "scan"}),
], ids=["usual", "usual with a mount", "picture", "ground"])
def test_outputs_are_chosen(replay, street_bag, arguments, expected):
    assert replay(street_bag, *arguments) == 0
    with Bag(replay.out / "street" / "result") as bag:
        names = {t.name.removeprefix("/drive_seg/") for t in bag.topics if t.count}
    assert names == expected | {"labels", "drivable_area", "label_table", "label_info", "health", "/diagnostics"}


def test_figures_of_every_frame(replay, street_bag):
    assert replay(street_bag) == 0
    frames = replay.frames()
    labels = [m.images["labels"] for m in replay.masks()]
    assert [f["index"] for f in frames] == list(range(12))
    for number, frame in enumerate(frames):
        assert frame["shares"]["road"] == pytest.approx((labels[number] == 1).mean(), abs=1e-6)
        assert sum(frame["shares"].values()) == pytest.approx(1, abs=1e-5)
        assert {"read", "receive", "resize", "infer", "decode", "drivable", "write"} <= frame["ms"].keys()
    assert frames[5]["changed"] == pytest.approx((labels[5] != labels[4]).mean(), abs=1e-6)
    came_and_went = (labels[5] != labels[4]) & (labels[4] == labels[6])
    assert frames[5]["flicker"] == pytest.approx(came_and_went.mean(), abs=1e-6)
    assert frames[0]["changed"] is None and frames[0]["flicker"] is None and frames[11]["flicker"] is None


def test_the_summary_says_what_was_done_with_what(replay, street_bag, colour_network):
    assert replay(street_bag) == 0
    summary = replay.summary()
    assert summary["frames"] == {"total": 12, "segmented": 12, "failed": 0, "withheld": 0}
    assert summary["duration_s"] == pytest.approx(1.1)
    engine = summary["engine"]
    assert engine["network_sha256"] == engine["file_sha256"] == colour_network.sha256
    assert engine["file"] == colour_network.path.name
    assert engine["runtime"].startswith("OpenVINO ")
    assert summary["machine"]["versions"]["openvino"]
    assert summary["drivable"]["min"] <= summary["drivable"]["median"] <= summary["drivable"]["max"]
    assert summary["latency_ms"]["median"] > 0


def test_two_replays_are_byte_for_byte_the_same(replay, another, street_bag):
    assert (replay(street_bag), another(street_bag)) == (0, 0)
    files = [r.out / "street" / "result" / "result.mcap" for r in (replay, another)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert replay.summary()["masks_sha256"] == another.summary()["masks_sha256"]


def test_the_hash_tells_another_drive(replay, another, street_bag, tmp_path):
    other = write_bag(tmp_path / "street", paint=lambda i: street(i + (i == 7)))
    assert (replay(street_bag), another(other)) == (0, 0)
    assert replay.summary()["masks_sha256"] != another.summary()["masks_sha256"]
    differs = [a["index"] for a, b in zip(replay.frames(), another.frames(), strict=True) if a["digest"] != b["digest"]]
    assert differs == [7]


def test_a_frame_that_is_no_image_gets_no_mask_and_is_reported(replay, tmp_path):
    messages = [raw(i, street(i)) for i in range(6)]
    messages[3].step = 5
    assert replay(write_bag(tmp_path / "street", 6, messages=messages)) == 1
    assert [m.stamp_ns for m in replay.masks()] == [stamp(i) for i in (0, 1, 2, 4, 5)]
    frames = replay.frames()
    assert "step is 5" in frames[3]["problem"]
    assert frames[4]["changed"] is None, "its neighbour is missing"
    assert replay.summary()["frames"] == {"total": 6, "segmented": 5, "failed": 1, "withheld": 0}
    assert replay.summary()["suspicious"][0]["index"] == 3


def test_a_frame_on_which_the_engine_fails_gets_no_mask(replay, street_bag, monkeypatch):
    from drive_seg.core.engine import EngineError
    from drive_seg.runtimes.openvino import OpenVinoEngine

    job_module._model.cache_clear()
    honest, calls = OpenVinoEngine.infer, []

    def fails_once(self, image):
        calls.append(1)
        if len(calls) == 5:
            raise EngineError("out of memory")
        return honest(self, image)

    monkeypatch.setattr(OpenVinoEngine, "infer", fails_once)
    assert replay(street_bag) == 1
    problems = [f["problem"] for f in replay.frames() if f["problem"]]
    assert problems == ["the engine failed on a frame: out of memory"]
    assert len(replay.masks()) == 11
    job_module._model.cache_clear()


def test_a_finished_bag_is_not_done_again(replay, street_bag, capsys):
    replay(street_bag)
    file = replay.out / "street" / "summary.json"
    before = file.stat().st_mtime_ns
    assert replay(street_bag) == 0
    assert file.stat().st_mtime_ns == before
    assert "done before" in capsys.readouterr().out
    assert replay(street_bag, "--again") == 0
    assert file.stat().st_mtime_ns > before


def test_a_result_of_other_settings_is_not_overwritten(replay, street_bag, capsys):
    replay(street_bag)
    assert replay(street_bag, "--min-confidence", "0.9") == 1
    out = capsys.readouterr().out
    assert "another settings" in out and "--again" in out
    assert replay.summary()["fingerprint"]["settings"]["min_confidence"] == DrivableRule.min_confidence


def test_somebody_else_s_folder_is_not_touched(replay, street_bag, capsys):
    (replay.out / "street").mkdir(parents=True)
    (replay.out / "street" / "thesis.tex").write_text("dear")
    assert replay(street_bag) == 1
    assert (replay.out / "street" / "thesis.tex").read_text() == "dear"
    assert "not the result of a replay" in capsys.readouterr().out


def test_one_bad_bag_does_not_end_the_run(replay, tmp_path, capsys):
    archive = tmp_path / "archive"
    for name in ("a", "c"):
        write_bag(archive / name, 4)
    cut(archive / "a" / "a.mcap", archive / "b.mcap")
    assert replay(archive / "*") == 1
    out = capsys.readouterr().out
    assert "2 of 3 bags are fine" in out and "mcap recover" in out
    assert [replay.summary(n)["frames"]["segmented"] for n in ("a", "c")] == [4, 4]
    assert not (replay.out / "b").exists()
    assert [row["ok"] for row in json.loads((replay.out / "bags.json").read_text())] == [True, False, True]


def test_a_bag_that_breaks_off_half_way_keeps_what_came_before(replay, tmp_path, capsys):
    whole = write_bag(tmp_path / "whole", 40, compression=CompressionMode.STORAGE, paint=lambda i: street(i, 240, 400))
    data = bytearray((whole / "whole.mcap").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 500] = bytes(500)  # a bad sector
    (whole / "whole.mcap").write_bytes(data)
    code = replay(whole)
    frames = replay.frames("whole")
    assert code == 1
    assert 0 < len(replay.masks("whole")) == len([f for f in frames if not f["problem"]]) < 40
    assert "whole" in capsys.readouterr().out


@pytest.mark.parametrize("engines", [1, 4])
def test_every_frame_before_the_damage_is_kept(tmp_path, colour_network_path, engines):
    """However many frames are in work when the reader finds it."""
    settings = Settings(network=str(colour_network_path), engine="openvino")
    bag_path = write_bag(tmp_path / "drive", 9)
    several = [Model.open(settings, cores=1) for _ in range(engines)]
    model = Model(several[0].network, [one.engine for one in several], [])
    (tmp_path / "out").mkdir()
    with Bag(bag_path) as bag:
        images = bag.images

        def breaking(topic):
            yield from itertools.islice(images(topic), 7)
            raise BagError("damaged")

        bag.images = breaking
        records = []
        with pytest.raises(BagError, match="damaged"):
            records.extend(stream(bag, bag.image_topic(), Pipeline(settings, model), tmp_path / "out"))
    with ResultReader(tmp_path / "out" / "result") as result:
        assert len(list(result.frames())) == 7
    model.close()


@pytest.mark.parametrize("pattern", ["nothing/*.mcap", "notes.txt"])
def test_a_pattern_without_bags_is_an_error(replay, tmp_path, pattern, capsys):
    (tmp_path / "notes.txt").write_text("hello")
    assert replay(tmp_path / pattern) == 2
    assert "is not a bag and matches none" in capsys.readouterr().err


def test_bags_of_one_name_get_results_of_their_own(replay, tmp_path):
    for day in ("monday", "tuesday"):
        write_bag(tmp_path / "archive" / day / "drive", 2)
    assert replay(tmp_path / "archive" / "**" / "*.mcap") == 0
    assert [len(replay.frames(f"{day}/drive")) for day in ("monday", "tuesday")] == [2, 2]


def test_results_do_not_depend_on_the_number_of_workers(replay, another, tmp_path):
    archive = tmp_path / "archive"
    for name, start in (("a", 0), ("b", 20), ("c", 40)):
        write_bag(archive / name, 5, start=start)
    assert replay(archive / "*") == 0
    assert another(archive / "*", "--workers", 2) == 0
    for name in "abc":
        files = [r.out / name / "result" / "result.mcap" for r in (replay, another)]
        assert files[0].read_bytes() == files[1].read_bytes()


def _command(network, *arguments):
    return [sys.executable, "-m", "drive_seg.cli.main", "replay", *map(str, arguments), "--network", str(network),
            "--engine", "openvino", "--no-report"]


def test_a_killed_run_resumes(replay, tmp_path):
    archive = tmp_path / "archive"
    for name in ("a", "b"):
        write_bag(archive / name, 400 if name == "b" else 2, paint=lambda i: street(i, 240, 400))
    process = subprocess.Popen(_command(replay.network, archive / "*", "--out", replay.out), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (replay.out / ".b.partial" / "frames.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (replay.out / "a" / "summary.json").exists() and not (replay.out / "b").exists()
    done = (replay.out / "a" / "summary.json").stat().st_mtime_ns
    assert replay(archive / "*") == 0
    assert (replay.out / "a" / "summary.json").stat().st_mtime_ns == done
    assert len(replay.frames("b")) == 400
    assert sorted(p.name for p in replay.out.iterdir()) == ["a", "b", "bags.json"]


def test_a_worker_that_is_killed_costs_only_its_bag(replay, tmp_path):
    import psutil

    archive = tmp_path / "archive"
    for name in ("a", "b", "c"):
        write_bag(archive / name, 300 if name == "a" else 3, paint=lambda i: street(i, 240, 400))
    process = subprocess.Popen(_command(replay.network, archive / "*", "--out", replay.out, "--workers", 2),
                               stdout=subprocess.PIPE, text=True)
    victim, deadline = None, time.monotonic() + 120
    while victim is None and time.monotonic() < deadline:
        time.sleep(0.02)
        for child in psutil.Process(process.pid).children(recursive=True):
            if any(".a.partial" in file.path for file in child.open_files()):
                victim = child
    victim.kill()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "2 of 3 bags are fine" in out and "was killed" in out
    assert len(replay.frames("b")) == len(replay.frames("c")) == 3
    assert not (replay.out / "a").exists()


def test_suspicious_moments_are_found(replay, tmp_path):
    def paint(number):
        scene = street(number)
        if number == 40:
            scene[60:] = cv2.cvtColor(np.uint8([[[170, 150, 240]]]), cv2.COLOR_HSV2BGR)  # the road is gone
        return scene

    assert replay(write_bag(tmp_path / "street", 60, paint=paint)) == 0
    first = replay.summary()["suspicious"][0]
    assert first["index"] in (40, 41), first
    assert replay.summary()["suspicious"] == sorted(replay.summary()["suspicious"], key=lambda m: -m["score"])


def test_an_ego_mask_at_home(replay, street_bag, tmp_path, monkeypatch):
    """As the node reads it: ~ is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    cv2.imwrite(str(tmp_path / "ego.png"), np.full((12, 20), 255, np.uint8))
    assert replay(street_bag, "--ego-mask", "~/ego.png") == 0
    assert not any(m.images["drivable_area"].any() for m in replay.masks())


def test_an_ego_mask_and_the_rule_reach_the_core(replay, another, street_bag, tmp_path):
    mask = np.zeros((12, 20), np.uint8)
    mask[-3:] = 255
    cv2.imwrite(str(tmp_path / "ego.png"), mask)
    assert replay(street_bag, "--ego-mask", tmp_path / "ego.png") == 0
    assert another(street_bag, "--min-confidence", "1") == 0
    assert not replay.masks()[0].images["drivable_area"][-30:].any()
    assert replay.masks()[0].images["drivable_area"].any()
