"""What the demo leaves behind: overlay.mp4, contact.png and summary.json."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from drive_seg.core.frame import FrameError
from drive_seg.core.overlay import draw_grid, draw_overlay
from drive_seg.demo.listener import Masks
from drive_seg.play.feed import Sent
from drive_seg.sources.frame_source import FrameSource
from drive_seg.sources.write import VideoWriter

_CONTACT = (3, 3)
_CONTACT_WIDTH = 640
_HOLD_NS = 500_000_000
_READY = re.compile(r"network (\S+) \((\d+)x(\d+)\) on (\S+) (\S+), (.*); ready after ([\d.]+) s")


def summarise(source: str, sent: Mapping[str, Sent], masks: Mapping[int, Masks], node_log: str) -> dict[str, Any]:
    """The figures of a run.

    sent: the frames that the camera published, by name of the shot. In the summary, frames_in counts those, published
    the frames whose masks arrived, dropped the others. Latency is real time, from when the player published the frame
    to the moment when labels and drivable area have both arrived. That is from the camera stamp, unless a bag is
    played, whose frames keep their recorded stamps. fps is that of complete results.
    """
    answered = [(shot.sent_ns, masks[shot.stamp_ns]) for shot in sent.values()
                if shot.stamp_ns in masks and masks[shot.stamp_ns].complete]
    latency = [(m.received_ns - sent_ns) / 1e6 for sent_ns, m in answered]
    arrivals = sorted(m.received_ns for _, m in answered)
    seconds = (arrivals[-1] - arrivals[0]) / 1e9 if len(arrivals) > 1 else 0.0
    return {
        "source": source,
        "frames_in": len(sent),
        "published": len(answered),
        "dropped": len(sent) - len(answered),
        "fps": round((len(arrivals) - 1) / seconds, 2) if seconds else None,
        "latency_from": "camera stamp" if all(s.sent_ns == s.stamp_ns for s in sent.values()) else "publishing",
        "latency_ms": {f"p{q}": round(float(np.percentile(latency, q)), 1) for q in (50, 95, 99)} if latency else None,
    } | _what_ran(node_log)


def draw(footage: FrameSource, sent: Mapping[str, Sent], masks: Mapping[int, Masks], out: Path,
         grids: Mapping[int, tuple[tuple[int, int], bytes]] | None = None) -> None:
    """Draw the received masks over the published frames: overlay.mp4, and nine of them in contact.png.

    An answered frame stays on show, with its own masks, while newer ones were dropped; after _HOLD_NS the bare frame
    says so. grids: bird's-eye grids by stamp, shown as an inset. No mask is ever drawn over another frame than its own.
    """
    answered = {name: shot.stamp_ns for name, shot in sent.items()
                if shot.stamp_ns in masks and masks[shot.stamp_ns].complete}
    names = list(answered)
    tiles = {names[i] for i in np.linspace(0, len(answered) - 1, _CONTACT[0] * _CONTACT[1]).round().astype(int)}
    contact: list[np.ndarray] = []
    first_ns: int | None = None
    left = len(sent)
    answered_ns = -_HOLD_NS
    with VideoWriter(out / "overlay.mp4", footage.rate) as video:
        for shot in tqdm(footage, "drawing", len(sent), unit="frame", disable=None, file=sys.stderr, leave=False):
            if not left:  # the rest of a bag may be hours
                break
            if shot.name not in sent:
                continue
            left -= 1
            stamp = sent[shot.name].stamp_ns
            if shot.name in answered:
                answered_ns = shot.stamp_ns  # of the footage: those of headers may jump
            elif shot.stamp_ns - answered_ns < _HOLD_NS:
                continue
            try:
                image = shot.frame.bgr()
            except FrameError:  # a damaged image in a bag: the node got it and said so
                continue
            first_ns = shot.stamp_ns if first_ns is None else first_ns
            drawn = picture(image, sent[shot.name], masks, (shot.stamp_ns - first_ns) / 1e9, (grids or {}).get(stamp))
            video.write(drawn, shot.stamp_ns)
            if shot.name in tiles:
                contact.append(drawn)
    cv2.imwrite(str(out / "contact.png"), _contact_sheet(contact))


def table(summary: Mapping[str, Any], out: Path) -> str:
    """The summary for people."""
    rows = [
        ("source", summary["source"]),
        ("network", f"{summary['network']}, {summary['input_size'][1]}x{summary['input_size'][0]}"),
        ("engine", f"{summary['engine']} {summary['precision']}, {summary['device']}"),
        ("frames", f"{summary['frames_in']} in, {summary['published']} masks out, {summary['dropped']} dropped"),
        ("rate", f"{summary['fps']} results a second" if summary["fps"] else "one result"),
        ("latency", "p50 {p50} ms, p95 {p95} ms, p99 {p99} ms, ".format(**summary["latency_ms"])
         + summary["latency_from"] + " to masks received"),
        ("results", ", ".join(str(out / name) for name in ("overlay.mp4", "contact.png", "summary.json"))),
    ]
    if late := summary.get("player_late_ms"):
        rows.insert(-1, ("player", f"{summary['player']}, rate {summary['rate']:g}, late by {late['p50']:.1f} ms"
                         f" (median), {late['max']:.1f} ms (most)"))
    return "\n".join(f"  {name:9}{value}" for name, value in rows)


def _what_ran(node_log: str) -> dict[str, Any]:
    """What the node says about itself in its log."""
    match = _READY.search(node_log)
    if match is None:
        raise ValueError("the node's log does not say which network and engine it runs")
    network, width, height, engine, precision, device, seconds = match.groups()
    return {"network": network, "input_size": [int(height), int(width)], "engine": engine, "precision": precision,
            "device": device, "ready_after_s": float(seconds)}


def picture(image: np.ndarray, sent: Sent, masks: Mapping[int, Masks], seconds: float,
            grid: tuple[tuple[int, int], bytes] | None, who: str = "") -> np.ndarray:
    """A published frame with its masks, if they came. seconds: of the footage, for the caption. grid: shape and packed
    cells, for an inset. who: leads the caption. Returns (H, W, 3) uint8 BGR."""
    found = masks.get(sent.stamp_ns)
    if found is None or not found.complete:
        return draw_overlay(image, None, caption=f"{who}{seconds:.1f} s")
    labels, drivable = found.image("labels"), found.image("drivable_area")
    if labels.shape != image.shape[:2]:  # the parameter output_size: network
        size = (image.shape[1], image.shape[0])
        labels, drivable = (cv2.resize(m, size, interpolation=cv2.INTER_NEAREST) for m in (labels, drivable))
    inset = None
    if grid is not None:
        shape, cells = grid
        inset = draw_grid(np.frombuffer(zlib.decompress(cells), np.int8).reshape(shape))
    return draw_overlay(image, labels, drivable, inset=inset,
                        caption=f"{who}{seconds:.1f} s   masks after {(found.received_ns - sent.sent_ns) / 1e6:.0f} ms")


def _contact_sheet(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Up to nine pictures in rows of three, on a dark ground. Returns (H, W, 3) uint8 BGR."""
    rows, columns = _CONTACT
    gap, height = 6, round(_CONTACT_WIDTH * pictures[0].shape[0] / pictures[0].shape[1])
    sheet = np.full((rows * (height + gap) + gap, columns * (_CONTACT_WIDTH + gap) + gap, 3), 24, np.uint8)
    for i, picture in enumerate(pictures[: rows * columns]):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (_CONTACT_WIDTH + gap)
        sheet[top : top + height, left : left + _CONTACT_WIDTH] = cv2.resize(
            picture, (_CONTACT_WIDTH, height), interpolation=cv2.INTER_AREA)
    return sheet[: gap + -(-len(pictures) // columns) * (height + gap)]
