"""The demo: the real node, a camera and a planner, as three processes on a ROS graph of their own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import yaml
from domain_coordinator import domain_id
from tqdm import tqdm

from drive_seg.demo import report
from drive_seg.demo.child import Child, DemoError
from drive_seg.demo.listener import NODE, Listener
from drive_seg.footage.footage import Footage
from drive_seg.footage.images import ImageFootage
from drive_seg.footage.open import open_footage
from drive_seg.ros import transport


def run(source: str, duration: float, out: Path, *, topic: str | None = None,
        parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run the node on some footage and write overlay.mp4, contact.png and summary.json into `out`.

    parameters: of the node, beyond what the footage asks for. Returns the summary. Raises DemoError, FootageError.
    """
    footage = open_footage(source, duration=duration, topic=topic)
    out.mkdir(parents=True, exist_ok=True)
    parameters = dict(parameters or {})
    with tempfile.TemporaryDirectory(prefix="drive_seg-") as scratch_name, _private_graph(Path(scratch_name)) as domain:
        scratch = Path(scratch_name)
        if footage.compressed:
            parameters["image_transport"] = "compressed"
        if footage.ego_mask is not None:
            parameters["ego_mask"] = str(scratch / "ego_mask.png")
            cv2.imwrite(parameters["ego_mask"], footage.ego_mask)
        if footage.mounting is not None:
            parameters |= {f"camera_{name}": value for name, value in asdict(footage.mounting).items()}
        settings = scratch / "node.yaml"
        settings.write_text(yaml.safe_dump({NODE: {"ros__parameters": parameters}}))
        kept = scratch / "frames" if footage.live else None
        if footage.live:
            kept.mkdir()
        published: dict[str, int] = {}
        listener = Listener(domain, grid=footage.mounting is not None)
        try:
            node = Child("node", [sys.executable, "-m", "drive_seg.ros.main", "--ros-args", "--params-file",
                                  str(settings)], transport.environment(), out / "node.log")
            with node:
                _wait_until_active(node, listener)
                _play(footage, duration, topic, kept, node, listener, published, out)
        finally:
            listener.close()
        masks = listener.masks
        if not any(masks[stamp].complete for stamp in published.values() if stamp in masks):
            raise DemoError(f"the node answered none of {len(published)} frames; its last words:\n{node.said()}")
        summary = report.summarise(source, published, masks, (out / "node.log").read_text())
        report.draw(_seen(footage, kept, published), published, masks, out, listener.grids)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


@contextmanager
def _private_graph(scratch: Path) -> Iterator[int]:
    """A ROS domain that nobody else on this machine uses, for this process and its children."""
    with domain_id() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        os.environ["ROS_LOG_DIR"] = str(scratch / "log")
        yield domain


def _wait_until_active(node: Child, listener: Listener) -> None:
    """Building an engine may take minutes: there is no time limit while the node works on it."""
    with tqdm(bar_format="starting the node {elapsed}", disable=None, file=sys.stderr, leave=False) as bar:
        while (state := listener.node_state()) != "active":
            node.check()
            bar.update()
            if state == "unconfigured" and any("[ERROR]" in line for line in node.last_lines):
                raise DemoError(f"the node can't start:\n{node.said()}")
            time.sleep(0.1)


def _play(footage: Footage, duration: float, topic: str | None, kept: Path | None, node: Child, listener: Listener,
          published: dict[str, int], out: Path) -> None:
    """Let the player play to its end, and wait for the last masks."""
    command = [sys.executable, "-m", "drive_seg.demo.player", "--source", footage.source, "--duration", str(duration),
               "--report", *(["--topic", topic] if topic else []), *(["--keep", str(kept)] if kept else [])]

    def on_line(line: str) -> None:
        frame = json.loads(line)
        published[frame["name"]] = frame["stamp_ns"]

    with Child("player", command, transport.environment(), out / "player.log", on_line) as player, \
            tqdm(desc="playing", total=footage.count, unit="frame", disable=None, file=sys.stderr, leave=False) as bar:
        while player.exit_code is None:
            node.check()
            bar.n = len(published)
            bar.set_postfix_str(f"{listener.complete} answered")
            time.sleep(0.2)
        if player.exit_code != 0:
            player.check()
    patience = time.monotonic() + 2.0
    while listener.complete < len(published) and time.monotonic() < patience:
        before = listener.complete
        time.sleep(0.1)
        node.check()
        if listener.complete > before:
            patience = time.monotonic() + 2.0


def _seen(footage: Footage, kept: Path | None, published: dict[str, int]) -> Footage:
    """The frames that were played; a live camera's from the files that the player kept."""
    if kept is None:
        return footage
    stamps = sorted(published.values())
    seconds = (stamps[-1] - stamps[0]) / 1e9
    return ImageFootage(kept, (len(stamps) - 1) / seconds if seconds else footage.rate)
