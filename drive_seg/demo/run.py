"""The demo: the real node, a camera and a planner, as three processes on a ROS graph of their own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import yaml
from tqdm import tqdm

from drive_seg.demo import report
from drive_seg.demo.child import Child, DemoError
from drive_seg.demo.listener import NODE, Listener
from drive_seg.play.feed import Feed, Log, Sent, open_feed
from drive_seg.play.graph import private_domain
from drive_seg.ros import transport
from drive_seg.sources.frame_source import FrameSource
from drive_seg.sources.images import ImageSource
from drive_seg.sources.open import open_source


def run(source: str, duration: float, out: Path, *, topic: str | None = None, rate: float = 1.0,
        parameters: dict[str, Any] | None = None, check: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run the node on some footage and write overlay.mp4, contact.png and summary.json into `out`.

    rate: how fast a rosbag2 is played. parameters: of the node, beyond what the footage asks for. check: asked now and
    then, may raise to end it all. Returns the summary. Raises DemoError, SourceError.
    """
    footage = open_source(source, duration=duration, topic=topic)
    out.mkdir(parents=True, exist_ok=True)
    with (tempfile.TemporaryDirectory(prefix="drive_seg-") as scratch_name,
          private_domain(Path(scratch_name) / "log") as domain):
        scratch = Path(scratch_name)
        kept = None
        if footage.live:
            kept = scratch / "frames"
            kept.mkdir()
        feed = open_feed(footage, duration, topic, rate, kept)
        if feed.bag_rate is None and rate != 1:
            raise DemoError("only a rosbag2 is played at another rate", f"leave out --rate for {source}")
        parameters = {**(parameters or {}), **feed.parameters}
        if footage.ego_mask is not None and "ego_mask" not in parameters:
            parameters["ego_mask"] = str(scratch / "ego_mask.png")
            cv2.imwrite(parameters["ego_mask"], footage.ego_mask)
        if footage.mounting is not None and not any(name.startswith("camera_") for name in parameters):
            parameters |= {f"camera_{name}": value for name, value in asdict(footage.mounting).items()}
        settings = scratch / "node.yaml"
        settings.write_text(yaml.safe_dump({NODE: {"ros__parameters": parameters}}))
        log = Log()
        listener = Listener(domain, grid=footage.mounting is not None or feed.ground)
        try:
            node = Child("node", [sys.executable, "-m", "drive_seg.ros.main", "--ros-args", "--params-file",
                                  str(settings), *(word for pair in feed.remappings for word in ("-r", pair))],
                         transport.environment(), out / "node.log")
            with node:
                wait_until_active(node, listener, check)
                play(feed, footage.count, node, lambda: listener.complete, log, out, check)
        finally:
            listener.close()
        masks = listener.masks
        if not any(masks[sent.stamp_ns].complete for sent in log.sent.values() if sent.stamp_ns in masks):
            raise DemoError(f"the node answered none of {len(log.sent)} frames; its last words:\n{node.said()}")
        summary = report.summarise(source, log.sent, masks, (out / "node.log").read_text())
        if feed.bag_rate is not None:
            summary |= {"rate": rate, "player": log.player, "player_late_ms": log.late_ms,
                        "repeated_stamps": log.repeated}
        report.draw(_seen(feed.footage, kept, log.sent), log.sent, masks, out, listener.grids)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def wait_until_active(node: Child, listener: Listener, check: Callable[[], None]) -> None:
    """Building an engine may take minutes: there is no time limit while the node works on it."""
    with tqdm(bar_format="starting the node {elapsed}", disable=None, file=sys.stderr, leave=False) as bar:
        while (state := listener.node_state()) != "active":
            check()
            node.check()
            bar.update()
            if state == "unconfigured" and any("[ERROR]" in line for line in node.last_lines):
                raise DemoError(f"the node can't start:\n{node.said()}")
            time.sleep(0.1)


def play(feed: Feed, count: int | None, node: Child, complete: Callable[[], int], log: Log, out: Path,
         check: Callable[[], None]) -> None:
    """Let the player play to its end, and wait for the last masks. count: of the frames, where it is known. complete:
    how many have all of their masks."""
    command = [sys.executable, "-m", *feed.command]
    with Child("player", command, transport.environment(), out / "player.log", log.on_line) as player, \
            tqdm(desc="playing", total=count, unit="frame", disable=None, file=sys.stderr, leave=False) as bar:
        while player.exit_code is None:
            check()
            node.check()
            bar.n = len(log.sent)
            bar.set_postfix_str(f"{complete()} answered")
            time.sleep(0.2)
        if player.exit_code != 0:
            player.check()
    patience = time.monotonic() + 2.0
    while complete() < len(log.sent) and time.monotonic() < patience:
        before = complete()
        time.sleep(0.1)
        node.check()
        if complete() > before:
            patience = time.monotonic() + 2.0


def _seen(footage: FrameSource, kept: Path | None, sent: dict[str, Sent]) -> FrameSource:
    """The frames that were played; a live camera's from the files that the player kept."""
    if kept is None:
        return footage
    stamps = sorted(shot.stamp_ns for shot in sent.values())
    seconds = (stamps[-1] - stamps[0]) / 1e9
    return ImageSource(kept, (len(stamps) - 1) / seconds if seconds else footage.rate)
