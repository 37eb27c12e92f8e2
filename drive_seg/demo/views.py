"""The demo with three cameras: views cut from one wide drive, one node for all of them, and the ground they share."""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from drive_seg.core.overlay import draw_grid
from drive_seg.demo import report
from drive_seg.demo.child import Child, DemoError
from drive_seg.demo.listener import NODE, Listener
from drive_seg.demo.run import play, wait_until_active
from drive_seg.play.feed import Feed, Log, Sent
from drive_seg.play.graph import private_domain
from drive_seg.ros import transport
from drive_seg.sources.frame_source import FrameSource
from drive_seg.sources.views import SIZE, View, open_wide, views_of
from drive_seg.sources.write import VideoWriter

_GRID = {"grid_resolution": 0.2, "grid_front": 30.0, "grid_back": 0.0, "grid_width": 40.0, "max_pixel_length": 1.0}
_SCALE, _GAP = 3, 8  # pixels: a cell's side in the picture, and between its parts
_HOLD_NS = 500_000_000
_DARK = 24


def run(source: str, duration: float, out: Path, *, parameters: Mapping[str, Any] | None = None,
        check: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run one node on three views and write views.mp4, contact.png and summary.json into `out`.

    source: see drive_seg.sources.views.NAME. For the others and the errors see drive_seg.demo.run.run.
    """
    footage = open_wide(source, duration)
    assert footage.camera is not None and footage.mounting is not None  # open_wide asks for them
    views = views_of(footage.camera, footage.mounting)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="drive_seg-") as name, ExitStack() as opened:
        scratch = Path(name)
        domain = opened.enter_context(private_domain(scratch / "log"))
        settings = scratch / "node.yaml"
        settings.write_text(yaml.safe_dump({NODE: {"ros__parameters": _parameters(footage, views, parameters or {},
                                                                                 scratch)}}))
        listeners = {}
        for view in views:
            listeners[view.name] = Listener(domain, grid=view is views[0], camera=view.name)
            opened.callback(listeners[view.name].close)
        log = Log()
        with Child("node", [sys.executable, "-m", "drive_seg.ros.main", "--ros-args", "--params-file", str(settings)],
                   transport.environment(), out / "node.log") as node:
            wait_until_active(node, listeners[views[0].name], check)
            feed = Feed(footage, ["drive_seg.play.views_player", "--source", source, "--duration", str(duration)])
            play(feed, footage.count, node, lambda: min(one.complete for one in listeners.values()), log, out, check)
        for listener in listeners.values():
            listener.close()
        silent = [name for name, listener in listeners.items() if not listener.complete]
        if silent:
            raise DemoError(f"the node answered none of {len(log.sent)} frames of {', '.join(silent)}; its last"
                            f" words:\n{node.said()}")
        said = (out / "node.log").read_text()
        summary = {"source": source, "cameras": {name: report.summarise(source, log.sent, listener.masks, said)
                                                 for name, listener in listeners.items()},
                   "joint_grids": len(listeners[views[0].name].grids)}
        draw(footage, views, log.sent, listeners, out)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _parameters(footage: FrameSource, views: Sequence[View], given: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """The node's parameters: what the user gave for all cameras, and each one's pose and ego mask."""
    mounting = footage.mounting
    assert mounting is not None
    out: dict[str, Any] = {**_GRID, **given, "cameras": [view.name for view in views]}
    for view in views:
        own: dict[str, Any] = {"camera_height": mounting.height, "camera_pitch": mounting.pitch,
                               "camera_roll": mounting.roll, "camera_yaw": view.yaw}
        if footage.ego_mask is not None and "ego_mask" not in given:
            own["ego_mask"] = str(scratch / f"{view.name}_ego.png")
            cv2.imwrite(own["ego_mask"], view.cut_mask(footage.ego_mask))
        out[view.name] = own
    return out


def draw(footage: FrameSource, views: Sequence[View], sent: Mapping[str, Sent], listeners: Mapping[str, Listener],
         out: Path) -> None:
    """Draw views.mp4: the views side by side, each with its own newest masks, and below them the newest joint grid.
    contact.png: the last frame whose views all have masks, or the last one.

    As in drive_seg.demo.report.draw an answered frame stays on show for a while, and none gets another's masks.
    """
    grids = listeners[views[0].name].grids
    panels: dict[str, tuple[int, np.ndarray]] = {}
    ground: np.ndarray | None = None
    best = None
    first_ns: int | None = None
    with VideoWriter(out / "views.mp4", footage.rate) as video:
        for shot in footage:
            if shot.name not in sent:
                continue
            wide, stamp = shot.frame.bgr(), sent[shot.name].stamp_ns
            first_ns = shot.stamp_ns if first_ns is None else first_ns
            seconds = (shot.stamp_ns - first_ns) / 1e9
            complete = True
            for view in views:
                masks = listeners[view.name].masks
                answered = stamp in masks and masks[stamp].complete
                if answered or view.name not in panels or shot.stamp_ns - panels[view.name][0] >= _HOLD_NS:
                    picture = report.picture(view.cut(wide), sent[shot.name], masks, seconds, None, f"{view.name}   ")
                    panels[view.name] = shot.stamp_ns if answered else -_HOLD_NS, picture
                complete &= panels[view.name][0] >= 0
            if stamp in grids:
                shape, cells = grids[stamp]
                ground = draw_grid(np.frombuffer(zlib.decompress(cells), np.int8).reshape(shape))
            frame = _canvas([panels[view.name][1] for view in views], ground)
            if best is None or complete:
                best = frame
            video.write(frame, shot.stamp_ns)
    if best is not None:
        cv2.imwrite(str(out / "contact.png"), best)


def _canvas(panels: Sequence[np.ndarray], ground: np.ndarray | None) -> np.ndarray:
    """The panels in a row, the ground below. Returns (H, W, 3) uint8 BGR of one size whatever there is."""
    height, width = SIZE
    cells = round((_GRID["grid_front"] - _GRID["grid_back"]) / _GRID["grid_resolution"])
    out = np.full((height + cells * _SCALE + 2 * _GAP, width * len(panels), 3), _DARK, np.uint8)
    for i, panel in enumerate(panels):
        out[:height, i * width:(i + 1) * width] = panel
    if ground is not None:
        room = cells * _SCALE
        scale = min(_SCALE, room / ground.shape[0], out.shape[1] / ground.shape[1])
        size = (round(ground.shape[1] * scale), round(ground.shape[0] * scale))
        picture = cv2.resize(ground, size, interpolation=cv2.INTER_NEAREST)
        left = (out.shape[1] - size[0]) // 2
        out[height + _GAP:height + _GAP + size[1], left:left + size[0]] = picture
    return out


def table(summary: Mapping[str, Any], out: Path) -> str:
    """The summary for people."""
    rows = [("source", f"{summary['source']}: three cameras, one node")]
    for name, one in summary["cameras"].items():
        rate = f"{one['fps']} results a second" if one["fps"] else "one result"
        rows.append((name, f"{one['frames_in']} in, {one['published']} masks out, {one['dropped']} dropped, {rate},"
                           f" p50 {one['latency_ms']['p50']} ms, p95 {one['latency_ms']['p95']} ms"))
    rows += [("ground", f"{summary['joint_grids']} grids of all of them together"),
             ("results", ", ".join(str(out / name) for name in ("views.mp4", "contact.png", "summary.json")))]
    return "\n".join(f"  {name:9}{value}" for name, value in rows)
