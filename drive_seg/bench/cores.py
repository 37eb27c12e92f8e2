"""How much two processors of this machine really do: virtual ones may share one core, or belong to others as well."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

_WORK = bytes(4 << 20)


def two_over_one(rounds: int = 15) -> float | None:
    """Work that two threads get done at once over that of one in the same time; 2 where each has a core of its own.

    Median of short rounds by turns. None where this process has only one processor.
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
