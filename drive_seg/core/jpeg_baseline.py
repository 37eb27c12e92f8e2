"""Walking through the Huffman codes of a sequential JPEG's scan (ITU-T T.81, Annex F)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

from drive_seg.core.jpeg_scan import (
    LEFT_OVER,
    NO_RESTART,
    RUNS_OUT,
    TOO_LARGE,
    TOO_LONG,
    UNKNOWN_CODE,
    WHOLE,
    left_over,
    past_restart,
    unstuffed,
)

_SHORT = 10  # bits of the codes that the small table has: it stays in the processor's nearest cache
_BELOW_SHORT = (1 << _SHORT) - 1
END_OF_BLOCK = 128
"""Coefficients that the code for it goes on by, in `tables`."""


@lru_cache(maxsize=8)
def tables(*chosen: tuple[bytes, bytes]) -> np.ndarray:
    """The look-up tables of the components, (2 n, entries): for the first coefficient and for the others of each."""
    return np.stack([_lookup(*table, bool(number % 2)) for number, table in enumerate(chosen)])


def _lookup(bits: bytes, values: bytes, ac: bool) -> np.ndarray:
    """(65536 + 2 ** _SHORT,) int32: what a code means, by the next 16 bits; by the next _SHORT where it is not longer.

    Each is bits to go on by (of the code and of the number behind it) | bits of that number << 8 | coefficients to go
    on by << 16; the last are 64 at the end of a block. -1: no such code (by few bits: or a longer one).
    """
    table = np.full(1 << 16, -1, np.int32)
    code, number = 0, 0
    for length, count in enumerate(bits, 1):
        for _ in range(count):
            run, more = (values[number] >> 4, values[number] & 15) if ac else (0, values[number])
            step = run + 1 if more or not ac else {0: END_OF_BLOCK, 15: 16}.get(run, 0)
            if step and more <= 11:
                first = code << (16 - length)
                table[first : first + (1 << (16 - length))] = length + more | more << 8 | step << 16
            code, number = code + 1, number + 1
        code <<= 1
    blocks = table.reshape(1 << _SHORT, -1)
    return np.concatenate([table, np.where((blocks == blocks[:, :1]).all(1), blocks[:, 0], -1).astype(np.int32)])


@njit(cache=True, nogil=True)
def walk(data, at, plain, mcus, restart, blocks, tables, limits, sizes):
    """Walk through a scan whose codes begin at data[at].

    plain: (N + SLACK,) uint8, room for the bytes. mcus: how many units of `blocks` (n,), the component of each.
    restart: units from one restart marker to the next. tables: (2 components, entries). limits, sizes: of
    jpeg_entropy._limits. Returns (what is wrong, where the scan ends).
    """
    previous = np.zeros(len(limits), np.int64)
    done, number = 0, 0
    while True:
        end, at = unstuffed(data, at, plain)
        previous[:] = 0
        bits, count, position = np.uint64(0), 0, 0
        upto = min(mcus, done + restart) if restart else mcus
        while done < upto:
            for component in blocks:
                codes, largest, k = tables[2 * component], sizes[component], 0
                while k < 64:
                    if count < 32:
                        bits = (bits << np.uint64(32) | np.uint64(plain[position]) << np.uint64(24)
                                | np.uint64(plain[position + 1]) << np.uint64(16)
                                | np.uint64(plain[position + 2]) << np.uint64(8) | np.uint64(plain[position + 3]))
                        position += 4
                        count += 32
                    entry = codes[np.uint64(65536) + (bits >> np.uint64(count - _SHORT) & np.uint64(_BELOW_SHORT))]
                    if entry < 0:
                        entry = codes[bits >> np.uint64(count - 16) & np.uint64(0xFFFF)]
                        if entry < 0:
                            return UNKNOWN_CODE, at
                    count -= entry & 0xFF
                    more = entry >> 8 & 0xFF
                    if k:
                        k += entry >> 16
                        if more > largest[k]:
                            return (TOO_LARGE if k <= 64 else TOO_LONG), at
                        continue
                    codes, k = tables[2 * component + 1], 1  # the first is the difference to the block before
                    if more:
                        raw = np.int64(bits >> np.uint64(count)) & ((1 << more) - 1)
                        if raw < 1 << (more - 1):
                            raw += 1 - (1 << more)
                        previous[component] += raw
                        if abs(previous[component]) > limits[component]:
                            return TOO_LARGE, at
                if 64 < k < END_OF_BLOCK:
                    return TOO_LONG, at
                if 8 * position - count > 8 * end:
                    return RUNS_OUT, at
            done += 1
        if left_over(plain, end, 8 * (end - position) + count):
            return LEFT_OVER, at
        if done == mcus:
            return WHOLE, at
        at = past_restart(data, at, number)
        if at < 0:
            return NO_RESTART, at
        number = (number + 1) & 7
