"""report.html: one file to look at, with everything in it. The page itself is in drive_seg/replay/page/."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Collection
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from drive_seg.core.classes import LABEL_COLOURS, LABEL_NAMES, UNKNOWN
from drive_seg.core.overlay import DRIVABLE_COLOUR, OUTLINE_COLOUR, draw_grid
from drive_seg.replay.compare import Comparison, Limits, draw_worst
from drive_seg.replay.frames import Columns, read_frames
from drive_seg.replay.pictures import Picture, pictures

PICTURES = 120
"""Pictures along the drive, besides the suspicious moments: what bounds the size of the page."""

_WIDTH = 480  # pixels of a picture
_POINTS = 1200  # of a curve
_BINS = 40

# Grey values of the masks in the page: the label, unknown moved next to the others, and whether it is drivable.
_UNKNOWN_CODE, _DRIVABLE_CODE, _OUTLINE_CODE = 4, 8, 9
_STRENGTH = {0: 0.35, 1: 0.9, 2: 0.95, 3: 1.0, UNKNOWN: 1.0}  # opacity of each label, times the slider's

_GREATEST = ("latency", "flicker", "changed", "unknown")
"""Series of which a thinned curve keeps the greatest value, where the others keep the mean."""


def write_report(folder: Path, columns: Columns, summary: dict, bag: Path, golden: Path | None = None) -> None:
    """Write folder/report.html from the folder's result bag and frames, and the camera's images in `bag`."""
    page = _part("report.html")
    data = json.dumps(_data(folder, columns, summary, bag, golden), separators=(",", ":"), allow_nan=False)
    parts = {"title": html.escape(f"{summary['bag']['name']} · drive_seg replay"), "style": _part("report.css"),
             "data": data.replace("<", "\\u003c"), "script": _part("report.js")}
    # In one pass: a part may hold what looks like the place of another.
    page = re.sub(r"/\*(title|style|data|script)\*/", lambda place: parts[place[1]], page)
    file = folder / "report.html"
    try:
        file.write_text(page, encoding="utf-8", errors="replace")  # the name of a file need not be UTF-8
    except OSError:  # on a full disk, half a page
        file.unlink(missing_ok=True)
        raise


@cache
def _part(name: str) -> str:
    return (resources.files("drive_seg.replay") / "page" / name).read_text(encoding="utf-8")


def _data(folder: Path, columns: Columns, summary: dict, bag: Path, golden: Path | None) -> dict:
    seconds = columns.seconds
    moments = [{"row": m["row"], "index": m["index"], "t": round(float(seconds[m["row"]]), 3), "why": m["why"],
                "problem": m["row"] in columns.problems} for m in summary["suspicious"]]
    every, points = _thin(len(columns))
    differences = {w["index"] for w in summary["golden"]["worst"]} if summary["golden"] else set()
    rows = _chosen_rows(columns, [m["row"] for m in moments], differences)
    return {
        "name": summary["bag"]["name"],
        "subtitle": _subtitle(summary),
        "verdict": _verdict(summary),
        "tiles": _tiles(summary),
        "palette": _palette(),
        "legend": [["drivable", list(DRIVABLE_COLOUR)],
                   *([name, list(LABEL_COLOURS[label])] for label, name in LABEL_NAMES.items())],
        "pictures": _pictures(folder, bag, summary["bag"]["topic"], columns, rows, seconds),
        "moments": moments,
        "health": _health(summary, columns),
        "times": [round(float(seconds[group].mean()), 3) for group in points],
        "series_note": "Click or drag in a curve to go there." + (
            f" Each point is {every} frames: their mean, or their greatest for time, flicker, jumps and unknown."
            if every > 1 else ""),
        "charts": _charts(columns, points),
        "histograms": _histograms(columns),
        "truth": _truth(summary["truth"]),
        "golden": _golden(summary, golden, folder, bag),
        "origin": _origin(summary),
    }


def _thin(rows: int) -> tuple[int, list[np.ndarray]]:
    """Frames per point of a curve, and the rows of each point."""
    every = max(1, -(-rows // _POINTS))
    return every, [np.arange(first, min(first + every, rows)) for first in range(0, rows, every)]


def _chosen_rows(columns: Columns, moments: Collection[int], indices: set[int]) -> list[int]:
    count = len(columns)
    along = np.linspace(0, count - 1, min(PICTURES, count)).round().astype(int).tolist() if count else []
    different = np.flatnonzero(np.isin(columns.index, list(indices))).tolist()
    return sorted({*along, *moments, *different})


def _pictures(folder: Path, bag: Path, topic: str, columns: Columns, rows: list[int],
              seconds: np.ndarray) -> list[dict]:
    wanted = set(rows)
    records = {row: record for row, record in enumerate(read_frames(folder / "frames.jsonl")) if row in wanted}
    rows_at: dict[int, list[int]] = {}
    for row, record in records.items():
        rows_at.setdefault(record["log_ns"], []).append(row)
    out: dict[int, dict] = {}
    for picture in pictures(folder, bag, topic, list(rows_at), ("labels", "drivable_area", "confidence", "grid")):
        for row in rows_at[picture.log_ns]:
            out[row] = {"row": row, "index": records[row]["index"], "t": round(float(seconds[row]), 3),
                        "problem": _notice(columns, row), "facts": _facts(records[row]), **_encoded(picture)}
    return [out[row] for row in sorted(out)]


def _notice(columns: Columns, row: int) -> str | None:
    if row in columns.withheld:
        return f"The camera can't be believed: {columns.withheld[row]}"
    return columns.problems.get(row)


def _encoded(picture: Picture) -> dict[str, str | None]:
    images: dict[str, str | None] = {"image": None, "masks": None, "confidence": None, "birdseye": None}
    if picture.image is not None:
        images["image"] = jpeg(_shrunk(picture.image, cv2.INTER_AREA), 72)
    if picture.masks is not None:
        labels = _shrunk(picture.masks.images["labels"], cv2.INTER_NEAREST)
        drivable = _shrunk(picture.masks.images["drivable_area"], cv2.INTER_NEAREST)
        codes = np.where(labels == UNKNOWN, np.uint8(_UNKNOWN_CODE), labels)
        inner = cv2.erode(drivable, np.ones((3, 3), np.uint8), borderValue=255)
        codes[drivable > 0] = _OUTLINE_CODE
        codes[inner > 0] = _DRIVABLE_CODE
        images["masks"] = _png(codes)
        if "grid" in picture.masks.images:
            images["birdseye"] = _png(draw_grid(picture.masks.images["grid"]))
        if "confidence" in picture.masks.images:
            small = _shrunk(picture.masks.images["confidence"], cv2.INTER_AREA, _WIDTH // 3)
            images["confidence"] = jpeg(small, 60)
    return images


def _shrunk(image: np.ndarray, interpolation: int, width: int = _WIDTH) -> np.ndarray:
    if image.shape[1] <= width:
        return image
    height = max(1, round(width * image.shape[0] / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=interpolation)


def jpeg(image: np.ndarray, quality: int) -> str:
    """An image as a data URI."""
    return _uri("jpeg", cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1])


def _png(image: np.ndarray) -> str:
    return _uri("png", cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 9))[1])


def _uri(kind: str, data: np.ndarray) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"


def _palette() -> dict[int, list[float]]:
    looks = {(_UNKNOWN_CODE if label == UNKNOWN else int(label)): [*colour, _STRENGTH[label]]
             for label, colour in LABEL_COLOURS.items()}
    return looks | {_DRIVABLE_CODE: [*DRIVABLE_COLOUR, 0.9], _OUTLINE_CODE: [*OUTLINE_COLOUR, 1.4]}


def _facts(record: dict) -> dict[str, str]:
    health = {"health": ": ".join([record["health"], "; ".join(record["reasons"])][: 1 + bool(record["reasons"])])}
    if "digest" not in record:
        return health | {"stamp": _stamp(record["stamp_ns"])}
    shares = record["shares"]
    facts = {
        "drivable": _percent(record["drivable"]), "road": _percent(shares["road"]),
        "pavement": _percent(shares["pavement"]), "obstacle": _percent(shares["obstacle"]),
        "unknown": _percent(shares["unknown"]), "confidence": f"{record['confidence']:.3f}",
    }
    if record["flicker"] is not None:
        facts["flicker"] = f"{100 * record['flicker']:.2f} %"
    if record.get("truth"):
        facts["pixels right"] = _percent(record["truth"]["pixel_accuracy"])
    return facts | health | {"stamp": _stamp(record["stamp_ns"])}


def _charts(columns: Columns, points: list[np.ndarray]) -> list[dict]:
    stages = [name for name in columns.stages if name not in ("read", "write")]
    road = {"name": "drivable", "values": _curve(columns, "drivable", points), "rgb": list(DRIVABLE_COLOUR)}
    shares = [{"name": name, "values": _curve(columns, f"share_{name}", points), "rgb": list(LABEL_COLOURS[label])}
              for label, name in LABEL_NAMES.items() if name in ("road", "pavement", "obstacle", "unknown")]
    charts: list[dict[str, Any]] = [
        {"title": "Share of the picture", "format": "share", "lines": [road, *shares], "events": True},
        {"title": "Confidence", "format": "number", "zoom": True,
         "lines": [{"name": "mean", "values": _curve(columns, "confidence", points)}], "events": True},
        {"title": "Steadiness", "format": "share",
         "lines": [{"name": "changed label", "values": _curve(columns, "changed", points)},
                   {"name": "flicker", "values": _curve(columns, "flicker", points)}]},
        {"title": "Time of a frame by stage", "format": "ms",
         "lines": [{"name": "all", "values": _curve(columns, "latency", points)},
                   *({"name": s, "values": _curve(columns, f"ms_{s}", points)} for s in stages)]},
    ]
    if "accuracy" in columns.series:
        charts.insert(1, {"title": "Pixels right", "format": "share", "zoom": True,
                          "lines": [{"name": "of those labelled", "values": _curve(columns, "accuracy", points)}]})
    return charts


def _curve(columns: Columns, name: str, points: list[np.ndarray]) -> list[float | None]:
    values = columns.get(name)
    reduce = np.max if name in _GREATEST or name.startswith("ms_") else np.mean
    curve: list[float | None] = []
    for group in points:
        there = values[group][np.isfinite(values[group])]
        curve.append(float(f"{reduce(there):.4g}") if there.size else None)
    return curve


def _health(summary: dict, columns: Columns) -> list[dict]:
    """Stretches of the drive in which the node would not have been ready: {from, to, state, reasons}, in seconds."""
    seconds = columns.seconds  # made again each time
    changes = seconds[list(columns.health)].tolist()  # the summary may have but the first
    ends = [*changes[1:], *seconds[-1:].tolist()]
    return [{"from": round(start, 3), "to": round(end, 3), "state": e["state"], "reasons": "; ".join(e["reasons"])}
            for e, start, end in zip(summary["health"]["events"], changes, ends, strict=False)
            if e["state"] != "READY"]


def _histograms(columns: Columns) -> list[dict]:
    out = []
    for name, title, unit in (("latency", "Time of a frame", "ms"), ("drivable", "Drivable share", "%"),
                              ("confidence", "Confidence", ""), ("changed", "Changed label", "%")):
        values = columns.get(name)
        values = values[np.isfinite(values)].astype(np.float64)
        if not values.size:
            continue
        factor = 100.0 if unit == "%" else 1.0
        top = np.percentile(values, 99.5) if name == "latency" else values.max()  # one hiccup must not flatten the rest
        low, high = float(values.min()), float(max(top, values.min() + 1e-6))
        counts, _ = np.histogram(np.minimum(values, high), _BINS, (low, high))
        digits = 3 if not unit else 1
        note, least, most = (f"{value * factor:.{digits}f} {unit}" for value in (np.median(values), low, high))
        out.append({"title": title, "counts": counts.tolist(), "note": f"median {note}", "low": least, "high": most})
    return out


def _verdict(summary: dict) -> dict[str, str]:
    if summary["problem"]:
        return {"kind": "bad", "text": "not all went well"}
    if summary["frames"]["failed"]:
        return {"kind": "bad", "text": f"{_frames(summary['frames']['failed'])} failed"}
    if summary["golden"]:
        same = summary["golden"]["same"]
        return {"kind": "good" if same else "bad", "text": "as the golden result" if same else "differs from golden"}
    if summary["frames"]["withheld"]:
        return {"kind": "bad", "text": f"camera at fault for {_frames(summary['frames']['withheld'])}"}
    return {"kind": "good", "text": "every frame segmented"}


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _tiles(summary: dict) -> list[list[str]]:
    tiles = [[str(summary["frames"]["segmented"]), "frames segmented"],
             [_duration(summary["duration_s"]), "of driving"]]
    latency = summary["latency_ms"]
    if latency:
        tiles += [[f"{latency['median']:.1f} ms", "a frame, median"], [f"{latency['p95']:.1f} ms", "95th percentile"]]
    if summary["drivable"]:
        tiles += [[_percent(summary["drivable"]["mean"]), "drivable, mean"],
                  [f"{summary['confidence']['mean']:.3f}", "confidence, mean"]]
    if summary["flicker"]:
        tiles.append([f"{100 * summary['flicker']['mean']:.2f} %", "flicker, mean"])
    if summary["truth"]:
        miou = summary["truth"]["miou"]
        tiles.append(["–" if miou is None else _percent(miou), "mIoU"])
    return tiles


def _truth(truth: dict | None) -> dict[str, Any] | None:
    if truth is None:
        return None
    rows = [[name, "–" if v is None else _percent(v), v] for name, v in truth["iou"].items()]
    if truth["scored_on"] == "classes":
        rows += [[f"{name} (group)", "–" if v is None else _percent(v), v] for name, v in truth["group_iou"].items()]
    drivable = truth["drivable"]
    named = {"mIoU": truth["miou"], "pixels right": truth["pixel_accuracy"],
             "boundary IoU": truth["boundary_iou"]["mean"], "drivable area, IoU with true road": drivable["iou"],
             "called drivable, is not road": drivable["false_drivable"],
             "called drivable, is an obstacle": drivable["false_drivable_obstacle"],
             "true road that is not drivable": drivable["missed"],
             "temporal consistency": truth["temporal_consistency"]}
    figures = [[name, "–" if v is None else f"{100 * v:.2f} %", v] for name, v in named.items()]
    return {"note": f"{truth['images']} labelled frames of {truth['dataset']}", "iou": rows, "figures": figures}


def _golden(summary: dict, golden: Path | None, folder: Path, bag: Path) -> dict[str, Any] | None:
    comparison = summary["golden"]
    if comparison is None or golden is None:
        return None
    facts = Comparison(**{k: v for k, v in comparison.items() if k not in ("same", "limits")},
                       limits=Limits(**comparison["limits"]))
    shown = [[f"frame {frame['index']}: labels {100 * frame['labels']:.2f} %, drivable {100 * frame['drivable']:.2f} %"
              " (top: camera, differences; bottom: A golden, B this replay)", jpeg(picture, 70)]
             for frame, picture in draw_worst(facts, golden, folder, bag, summary["bag"]["topic"])]
    return {"lines": [f"A: {comparison['a']}", *list(facts.lines())[:3]], "pictures": shown}


def _origin(summary: dict) -> list[list[list[str]]]:
    bag, engine, machine = summary["bag"], summary["engine"], summary["machine"]
    settings = summary["fingerprint"]["settings"]
    rule = ", ".join(f"{name} {settings[name]:g}" for name in ("min_confidence", "start_width", "start_height",
                                                                  "speck_size"))
    first = [["bag", bag["path"]], ["topic", f"{bag['topic']} ({bag['type']})"], ["start", _date(summary["start_ns"])],
             ["network", f"{engine['network']}, SHA-256 {engine['network_sha256']}"],
             ["input", f"{engine['input_size'][1]}x{engine['input_size'][0]}"], ["drivable area", rule],
             ["masks, SHA-256", summary["masks_sha256"]]]
    ran = f"{engine['file']}, SHA-256 {engine['file_sha256']}" if engine["file"] else "the engine can't say"
    second = [["engine", f"{engine['engine']} {engine['precision']}"], ["runtime", engine["runtime"] or "unknown"],
              ["ran", ran], ["on", engine["device"]],
              ["machine", f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"],
              ["replayed in", f"{summary['replay_s']:.1f} s ({summary['frames_per_s']:.1f} frames a second)"],
              ["drive_seg", summary["version"]],
              ["versions", ", ".join(f"{name} {version}" for name, version in machine["versions"].items())]]
    return [first, second]


def _subtitle(summary: dict) -> str:
    parts = [summary["bag"]["topic"], _date(summary["start_ns"]), _duration(summary["duration_s"]), summary["problem"]]
    return " · ".join(part for part in parts if part)


def _date(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _stamp(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9:09d}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02.0f} s" if minutes else f"{rest:.1f} s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
