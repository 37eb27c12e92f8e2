"""`drive-seg demo`: node, player and listener as processes of their own, over DDS."""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from bags import stamp, transform, write_bag, write_ros1_bag
from colours import paint_scene

from drive_seg.cli.main import main
from drive_seg.core.overlay import draw_grid
from drive_seg.sources.clip import cache_folder
from drive_seg.sources.open import open_source
from drive_seg.sources.write import VideoWriter


def command(source: Path | str | None, out: Path, *options: str) -> list[str]:
    given = [] if source is None else ["--source", str(source)]
    return [sys.executable, "-m", "drive_seg.cli.main", "demo", *given, "--out", str(out), *options]


def alone(*arguments) -> subprocess.CompletedProcess:
    """The demo in a process of its own."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=180)


@pytest.fixture
def demo(capsys):
    """Runs the demo in this process; its own are those of the node and of the player."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments) -> subprocess.CompletedProcess:
        words = command(*arguments)[3:]
        return subprocess.CompletedProcess(words, main(words), *capsys.readouterr())

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def video(tmp_path):
    """Four seconds of a painted street."""
    with VideoWriter(tmp_path / "street.mp4", 10.0) as writer:
        for i in range(40):
            writer.write(paint_scene(240, 320), i * 100_000_000)
    return tmp_path / "street.mp4"


def check(out: Path, done: subprocess.CompletedProcess) -> dict:
    """What holds for every run that succeeds."""
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_in"] == summary["published"] + summary["dropped"]
    assert summary["published"] >= 1
    latency = summary["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    overlay = open_source(out / "overlay.mp4")
    assert summary["published"] <= overlay.count <= summary["frames_in"]
    assert cv2.imread(str(out / "contact.png")) is not None
    assert f"{summary['published']} masks out" in done.stdout
    return summary


def test_video_over_dds(video, tmp_path, colour_network_path):
    done = alone(video, tmp_path / "out", "--duration", "1.5", "--network", str(colour_network_path), "--engine",
                 "openvino")
    summary = check(tmp_path / "out", done)
    assert summary["latency_from"] == "camera stamp"
    assert (summary["frames_in"], summary["network"], summary["engine"]) == (15, "colours", "openvino")
    assert summary["input_size"] == [96, 160]
    patches = [shot.frame.bgr()[190:210, 150:170] for shot in open_source(tmp_path / "out" / "overlay.mp4")]
    green = sum(patch[..., 1].mean() > patch[..., 2].mean() + 20 for patch in patches)
    assert green == summary["published"], "drivable road is green in every answered frame"


def test_bag_of_compressed_images_over_dds(demo, tmp_path, colour_network_path):
    bag = write_bag(tmp_path / "bag", 12, compressed=True)
    check(tmp_path / "out", demo(bag, tmp_path / "out", "--network", str(colour_network_path)))
    log = (tmp_path / "out" / "node.log").read_text()
    assert "waiting for images on /camera/image_raw/compressed" in log, "the bag's own topic"


def test_a_bag_is_played_in_its_own_time_and_latency_is_real_time(demo, tmp_path, colour_network_path):
    bag = write_bag(tmp_path / "bag", 30)
    done = demo(bag, tmp_path / "out", "--network", str(colour_network_path), "--duration", "2", "--rate", "0.5")
    summary = check(tmp_path / "out", done)
    assert (summary["frames_in"], summary["rate"], summary["repeated_stamps"]) == (20, 0.5, 0)
    assert summary["latency_from"] == "publishing"
    assert summary["latency_ms"]["p99"] < 5e3, "the stamps are years old"
    assert summary["fps"] < 7, "10 Hz at half the rate"
    assert set(summary["player_late_ms"]) == {"p50", "p95", "max"} and "late by" in done.stdout


def test_what_the_node_is_reported_of_a_bag(tmp_path):
    from drive_seg.play.feed import open_feed

    turned = transform("base_link", "camera_front", (0, 0, 1.2), (0, 0, 0, 1))
    bag = write_bag(tmp_path / "bag", 5, transforms=[("/tf_static", stamp(0), turned)])
    feed = open_feed(open_source(bag, duration=1), 1, None, 2.0, None)
    assert feed.parameters == {"use_sim_time": True}
    assert list(feed.remappings) == ["image:=/camera/image_raw", "camera_info:=/camera/camera_info"]
    played = feed.command[feed.command.index("--topics") + 1 :]
    assert played == ["/camera/image_raw", "/camera/camera_info", "/tf_static"]
    assert open_feed(open_source(write_ros1_bag(tmp_path / "old.bag")), 1, None, 1.0, None).bag_rate is None


def test_frames_that_repeat_a_stamp_are_no_frames_of_their_own():
    from drive_seg.play.feed import Log, Sent

    log = Log()
    for name, ns in (("000000", 5), ("000001", 5), ("000002", 6)):
        log.on_line(json.dumps({"name": name, "stamp_ns": ns, "sent_ns": 10 * ns}))
    log.on_line('{"name": "0000')  # ended amid a line
    assert log.sent == {"000000": Sent(5, 50), "000002": Sent(6, 60)} and log.repeated == 1


def test_only_a_bag_has_another_rate(demo, video, tmp_path):
    done = demo(video, tmp_path / "out", "--rate", "2")
    assert done.returncode == 2 and "leave out --rate" in done.stderr


def test_the_default_clip_with_the_network_that_ships(demo, tmp_path):
    if not cache_folder().is_dir():
        pytest.skip("the clips are not in the cache: run `make run` once")
    summary = check(tmp_path / "out", demo(None, tmp_path / "out", "--duration", "0.4"))
    assert summary["source"].startswith("clip:")
    assert summary["network"] == "drive_seg"


def test_three_views_of_a_drive_in_one_node(demo, tmp_path, colour_network_path):
    if not cache_folder().is_dir():
        pytest.skip("the clips are not in the cache: run `make run` once")
    out = tmp_path / "out"
    done = demo("views", out, "--duration", "2", "--network", str(colour_network_path), "--engine", "openvino")
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["cameras"]) == ["left", "front", "right"] and summary["joint_grids"] >= 1
    for one in summary["cameras"].values():
        assert one["frames_in"] == one["published"] + one["dropped"] == 50 and one["published"] >= 1
        assert 0 < one["latency_ms"]["p50"] <= one["latency_ms"]["p99"]
    assert open_source(out / "views.mp4").count == 50
    picture = cv2.imread(str(out / "contact.png"))
    assert picture.shape == (850, 1536, 3)
    known = (picture[400:] == draw_grid(np.zeros((1, 1), np.int8))[0, 0]).all(-1) | \
        (picture[400:] == draw_grid(np.full((1, 1), 100, np.int8))[0, 0]).all(-1)
    assert known.mean() > 0.01, "the ground from above is in it"
    assert "grids of all of them together" in done.stdout


@pytest.mark.parametrize(("source", "options", "says"), [
    ("views:hills", [], "this clip's camera is not calibrated"), ("views:nowhere", [], "no clip is called 'nowhere'"),
    ("views", ["--rate", "2"], "--topic and --rate are of a bag")])
def test_views_that_can_not_be_are_refused(demo, source, options, says, tmp_path):
    if not cache_folder().is_dir():
        pytest.skip("the clips are not in the cache: run `make run` once")
    done = demo(source, tmp_path / "out", *options)
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_node_that_cannot_start_says_why(demo, video, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    (tmp_path / "bad.yaml").write_text("format: 1")
    done = demo(video, tmp_path / "out", "--network", str(tmp_path / "bad.onnx"))
    assert done.returncode == 2
    assert "bad.onnx is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "summary.json").exists()


def started(video, tmp_path, network):
    """A demo in the middle of playing: its process, and the processes it started, by module."""
    process = subprocess.Popen(command(video, tmp_path / "out", "--network", str(network)), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 90
    children = {}
    while "drive_seg.play.camera_player" not in children and time.monotonic() < end and process.poll() is None:
        time.sleep(0.1)
        children = {c.cmdline()[2]: c for c in psutil.Process(process.pid).children() if len(c.cmdline()) > 2}
    return process, children


def test_a_node_that_dies_ends_the_demo(video, tmp_path, colour_network_path):
    process, children = started(video, tmp_path, colour_network_path)
    children["drive_seg.ros.main"].kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the node ended (exit code -9); its last words:" in err
    assert "Traceback" not in err
    psutil.wait_procs(children.values(), 5)
    assert not any(child.is_running() for child in children.values())


def test_ctrl_c_ends_every_process(video, tmp_path, colour_network_path):
    process, children = started(video, tmp_path, colour_network_path)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    psutil.wait_procs(children.values(), 5)
    assert len(children) == 2 and not any(child.is_running() for child in children.values())


def test_frames_without_a_mask_are_counted_and_after_a_while_marked(tmp_path):
    pytest.importorskip("rclpy")
    from drive_seg.demo import report
    from drive_seg.demo.listener import Masks
    from drive_seg.play.feed import Sent

    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), paint_scene(240, 320))
    sent = {name: Sent(ns, ns) for name, ns in (("a", 100), ("b", 200), ("c", 600_000_000))}  # b is dropped, but a is
    # still on show
    packed = zlib.compress(np.ones((240, 320), np.uint8))
    masks = {100: Masks({"labels": ((240, 320), packed), "drivable_area": ((240, 320), packed)}, 40_000_100),
             200: Masks({"labels": ((240, 320), packed)}, 50_000_000)}
    log = "network n (160x96) on openvino fp32, A CPU, big; ready after 1.5 s"
    summary = report.summarise("here", sent, masks, log)
    assert (summary["frames_in"], summary["published"], summary["dropped"]) == (3, 1, 2)
    assert summary["latency_ms"] == {"p50": 40.0, "p95": 40.0, "p99": 40.0}
    assert summary["device"] == "A CPU, big"
    report.draw(open_source(tmp_path, rate=3.0), sent, masks, tmp_path)
    with_mask, without = (shot.frame.bgr() for shot in open_source(tmp_path / "overlay.mp4"))
    assert with_mask[200, 20, 1] > with_mask[200, 20, 2] + 20, "green"
    assert np.abs(without[20:, :].astype(int) - paint_scene(240, 320)[20:]).mean() < 30, "the bare frame"
    assert without[2, 2, 2] > 180 and without[2, 2, 1] < 90, "a red mark"
