"""summary.json: the figures of one replay."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

from drive_seg.core.segmenter import Segmenter
from drive_seg.replay.frames import Columns
from drive_seg.replay.suspicious import suspicious

_EVENTS = 200  # changes of health that a summary lists

_LIBRARIES = ("numpy", "opencv-python-headless", "numba", "openvino", "onnxruntime", "tensorrt", "rosbags")


def summarise(columns: Columns, facts: dict, segmenter: Segmenter, seconds: float) -> dict:
    """The summary of a result folder's frames. facts: what the replay knows itself. seconds: how long it took."""
    failed, withheld = len(columns.problems), len(columns.withheld)
    return {
        **facts,
        "frames": {"total": len(columns), "segmented": len(columns) - failed - withheld, "failed": failed,
                   "withheld": withheld},
        "start_ns": int(columns.log_ns[0]) if len(columns) else 0,
        "duration_s": round(float(columns.seconds[-1]), 6) if len(columns) else 0.0,
        "replay_s": round(seconds, 3),
        "frames_per_s": round(len(columns) / seconds, 2),
        "drivable": _spread(columns.get("drivable")),
        "confidence": _spread(columns.get("confidence")),
        "unknown": _spread(columns.get("unknown")),
        "changed": _spread(columns.get("changed")),
        "flicker": _spread(columns.get("flicker")),
        "shares": {name[6:]: _mean(values) for name, values in columns.series.items() if name.startswith("share_")},
        "latency_ms": _spread(columns.get("latency")),
        "stages_ms": {name: _spread(columns.get(f"ms_{name}")) for name in columns.stages},
        "health": {"frames": columns.health_counts, "changes": len(columns.health),
                   "events": _events(columns)[:_EVENTS]},
        "suspicious": suspicious(columns),
        "engine": describe(segmenter),
        "machine": machine(),
    }


def _events(columns: Columns) -> list[dict]:
    return [{"row": row, "index": int(columns.index[row]), "stamp_ns": int(columns.stamp_ns[row]), "state": state,
             "reasons": list(reasons)} for row, (state, reasons) in columns.health.items()]


def describe(segmenter: Segmenter) -> dict:
    """Network and engine, by name and hash."""
    engine = segmenter.engine
    return {
        "engine": engine.name, "device": engine.device, "precision": engine.precision,
        "runtime": engine.loaded.runtime, "file": engine.loaded.file, "file_sha256": engine.loaded.sha256,
        "input_size": list(engine.input_size),
        "network": engine.network.name, "network_sha256": engine.network.sha256,
        "classes": list(segmenter.table.names),
    }


def machine() -> dict:
    """The machine and the versions of what counts on it."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"system": f"{platform.system()} {platform.machine()}", "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)), "versions": versions}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
                platform.processor() or platform.machine())


def _spread(values: np.ndarray) -> dict | None:
    """Mean, least, median, 95th percentile and greatest; None without values."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size:
        return None
    low, median, high, top = np.percentile(values, (0, 50, 95, 100))
    return {"mean": _round(values.mean()), "min": _round(low), "median": _round(median), "p95": _round(high),
            "max": _round(top)}


def _mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return _round(values.mean()) if values.size else None


def _round(value: float) -> float:
    return round(float(value), 6)
