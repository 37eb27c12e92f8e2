"""frames.jsonl: one line a frame, read back as columns."""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from drive_seg.outputs.health import kind_of

STAGES = ("read", "receive", "health", "resize", "infer", "decode", "surface", "temporal", "drivable", "grid", "scan",
          "points", "write")
"""The stages of a frame, in their order. A GPU engine has stages of its own beside them."""

OUTSIDE_LATENCY = ("read", "write")
"""Stages that a replay has and the node has not."""


def read_frames(path: Path) -> Iterator[dict]:
    """The records of frames.jsonl, one by one."""
    with path.open() as file:
        for line in file:
            yield json.loads(line)


class Columns:
    """The figures of every frame as float32 arrays of length n, NaN where a frame has none.

    series: drivable, confidence, unknown, changed, flicker, the share of each label as share_NAME, each stage as
    ms_NAME, and their sum as latency: what this replay needed, with several frames at a time. index: (n,) int64.
    log_ns: (n,) int64, when the frames were recorded: the axis of time. stamp_ns: (n,) int64, of their headers, which
    may be anything. problems: text by row of the frames that failed. withheld: the same of the frames at which the
    camera can't be believed. health: (state, reasons) of the frames at which it changes, by row.
    """

    def __init__(self, path: Path) -> None:
        rows: dict[str, array[float]] = {}
        index, stamps, times = array("q"), array("q"), array("q")
        self.problems: dict[int, str] = {}
        self.withheld: dict[int, str] = {}
        self.health: dict[int, tuple[str, tuple[str, ...]]] = {}
        self.health_counts: dict[str, int] = {}
        state: tuple[str, tuple[str, ...]] | None = None
        for row, record in enumerate(read_frames(path)):
            index.append(record["index"])
            stamps.append(record["stamp_ns"])
            times.append(record["log_ns"])
            if record["problem"] is not None:
                self.problems[row] = record["problem"]
            if record.get("withheld"):
                self.withheld[row] = "; ".join(record["reasons"])
            self.health_counts[record["health"]] = self.health_counts.get(record["health"], 0) + 1
            if (record["health"], tuple(kind_of(r) for r in record["reasons"])) != state:
                state = (record["health"], tuple(kind_of(r) for r in record["reasons"]))
                self.health[row] = (record["health"], tuple(record["reasons"]))
            for name, value in _figures(record).items():
                column = rows.setdefault(name, array("f"))
                _fill(column, row)
                column.append(np.nan if value is None else value)
        for column in rows.values():
            _fill(column, len(index))
        self.index, self.stamp_ns, self.log_ns = (np.array(values, np.int64) for values in (index, stamps, times))
        self.series = {name: np.frombuffer(column, np.float32) for name, column in rows.items()}

    def __len__(self) -> int:
        return len(self.index)

    def get(self, name: str) -> np.ndarray:
        """A series by name; all NaN where no frame has it."""
        return self.series.get(name, np.full(len(self), np.nan, np.float32))

    @property
    def seconds(self) -> np.ndarray:
        """(n,) float64 since the first frame was recorded."""
        return (self.log_ns - self.log_ns[:1]) / 1e9

    @property
    def stages(self) -> list[str]:
        """Names of the stages that occur, in their order."""
        present = [name[3:] for name in self.series if name.startswith("ms_")]
        known = [name for name in STAGES if name in present]
        return known[:-1] + [s for s in present if s not in known] + known[-1:] if "write" in known else present


def _fill(column: array[float], length: int) -> None:
    column.extend(itertools.repeat(np.nan, length - len(column)))


def _figures(record: dict) -> dict[str, float | None]:
    figures = {f"ms_{name}": value for name, value in record["ms"].items()}
    if "digest" not in record:
        return figures
    figures["latency"] = sum(v for k, v in record["ms"].items() if k not in OUTSIDE_LATENCY)
    for name in ("drivable", "confidence", "changed", "flicker"):
        figures[name] = record[name]
    for name, share in record["shares"].items():
        figures[f"share_{name}"] = share
    figures["unknown"] = record["shares"]["unknown"]
    if record.get("truth"):
        figures["accuracy"] = record["truth"]["pixel_accuracy"]
    return figures
