"""Measuring several things side by side, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Stages = Mapping[str, float]
"""Milliseconds by stage, and `whole` for all of them."""

_WORK = bytes(4 << 20)
_BLOCK = 3
_PAUSE = 0.03  # seconds between two ways: the threads of the one before stop spinning


def interleave(ways: Mapping[str, Callable[[int], Stages]], frames: int) -> dict[str, list[Stages]]:
    """Run every way on about `frames` frames, in short turns (A B A B ...).

    Each way takes the number of a frame. The first round and the first frame of each turn warm up and don't count.
    """
    samples: dict[str, list[Stages]] = {name: [] for name in ways}
    for turn in range(-(-frames // _BLOCK) + 1):
        for name, way in ways.items():
            time.sleep(_PAUSE)
            for i in range(_BLOCK + 1):
                stages = way(turn * _BLOCK + i)
                if turn and i:
                    samples[name].append(stages)
    return samples


def inference(stages: Stages) -> float:
    """Milliseconds of inference among a frame's; of a GPU's whole frame, where that is one piece of work."""
    return stages["infer"] if "infer" in stages else stages["gpu"]


def summary(samples: Sequence[Stages]) -> dict[str, dict[str, float]]:
    """Median and 99th percentile of each stage, in milliseconds."""
    columns = {name: [sample[name] for sample in samples] for name in samples[0]}
    return {name: {"median": percentile(column, 50), "p99": percentile(column, 99)} for name, column in columns.items()}


def percentile(values: Sequence[float], q: float) -> float:
    """A percentile, to a hundredth of a millisecond."""
    return round(float(np.percentile(values, q)), 2)


def two_over_one(rounds: int = 15) -> float | None:
    """Work that two threads get done at once over that of one in the same time; 2 where each has a core of its own.

    Virtual processors may share one core, or belong to others as well. Median of short rounds by turns. None where
    this process has only one processor.
    """
    if len(os.sched_getaffinity(0)) < 2:
        return None
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_work, range(2)))
        ratios = sorted(2 * _seconds(pool, 1) / _seconds(pool, 2) for _ in range(rounds))
    return round(ratios[rounds // 2], 2)


def _work(_: int) -> None:
    hashlib.sha256(_WORK)  # without the GIL


def _seconds(pool: ThreadPoolExecutor, threads: int) -> float:
    start = time.perf_counter()
    list(pool.map(_work, range(threads)))
    return time.perf_counter() - start
