"""frames.jsonl as columns: the figures of each frame, at little more than their size."""

import json
import tracemalloc

import numpy as np
import pytest

from drive_seg.replay.frames import Columns
from drive_seg.replay.suspicious import suspicious


def record(number, **more):
    return {"index": number, "stamp_ns": 0, "log_ns": 10**9 + 10**8 * number, "health": "READY", "reasons": [],
            "problem": None, "withheld": False, "ms": {"read": 1.5, "infer": 20.25}, **more}


def result(number):
    return {"shares": {"road": 0.25 + number / 1e6, "unknown": 0.125}, "drivable": 0.5, "confidence": 0.75,
            "changed": None, "flicker": None, "digest": "0" * 16}


@pytest.fixture
def write(tmp_path):
    def write(records):
        path = tmp_path / "frames.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps(r) + "\n" for r in records)
        return Columns(path)

    return write


def test_figures_of_frames_with_and_without_result(write):
    columns = write([record(0, problem="broken"), record(1, **result(1)), record(2, ms={"read": 3.0}, problem="again")])
    nan = float("nan")
    assert len(columns) == 3
    assert columns.seconds.tolist() == pytest.approx([0, 0.1, 0.2])
    for name, expected in {"drivable": [nan, 0.5, nan], "ms_read": [1.5, 1.5, 3], "ms_infer": [20.25, 20.25, nan],
                           "latency": [nan, 20.25, nan], "flicker": [nan] * 3, "nothing": [nan] * 3}.items():
        values = columns.get(name)
        assert values.dtype == np.float32
        assert values.tolist() == pytest.approx(expected, nan_ok=True), name
    assert columns.problems == {0: "broken", 2: "again"}


def test_no_frames(write):
    columns = write([])
    assert (len(columns), columns.seconds.tolist(), columns.get("drivable").tolist()) == (0, [], [])
    assert suspicious(columns) == []


def test_a_long_drive_takes_little_memory(write, tmp_path):
    count = 5000
    series = len(write([record(0, **result(0))]).series)
    path = tmp_path / "frames.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps(record(n, **result(n))) + "\n" for n in range(count))
    tracemalloc.start()
    columns = Columns(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(columns) == count
    assert most < 3 * count * (4 * series + 3 * 8), "bytes; a Python float alone has 24, and 8 in its list"
