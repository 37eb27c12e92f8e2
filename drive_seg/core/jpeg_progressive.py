"""Walking through the Huffman codes of a progressive JPEG's scans (ITU-T T.81, Annex G)."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive_seg.core.jpeg_scan import (
    LEFT_OVER,
    LONG_RUN,
    NO_RESTART,
    RUNS_OUT,
    SPLIT_RUN,
    TOO_LARGE,
    TOO_LONG,
    UNKNOWN_CODE,
    WHOLE,
    ZEROS,
    left_over,
    past_restart,
    unstuffed,
)

_SHORT = 9  # bits of the codes that are looked up at once

# Encoders count all blocks in a row that have nothing more in one run. They begin another one where its number gets too
# large (libjpeg: above 0x7FFF) or the bits of known coefficients too many that go with it (libjpeg: above 937; jpegli:
# above 255 with those of the next block, at most 63).
_LONG_RUN, _MANY_KNOWN = 1024, 255 - 63

_SAME = 63  # equal codes of nothing but zeros in a row, each for a coefficient: more are not a picture, but lost data

DC_FIRST, DC_REFINE, AC_FIRST, AC_REFINE = range(4)


@njit(cache=True, nogil=True)
def walk(data, at, plain, units, restart, kind, blocks, codes, band, limits, sizes, known):
    """Walk through a scan whose codes begin at data[at].

    plain: (N + SLACK,) uint8, room for the bytes. kind: DC_FIRST or another. units: how many times `blocks` (n,), the
    component of each block of a unit, come. restart: units from one restart marker to the next. codes: (components,
    272) uint8, Huffman tables as they stand in the file, the sixteen counts and then the values. band: first and last
    coefficient, and how many bits of each the scan leaves out. limits, sizes: of jpeg_entropy._limits. known: (units,)
    uint64, for each block the coefficients that are not zero as far as is known, as bits; updated. Returns (what is
    wrong, where the scan ends).
    """
    start, stop, below = band[0], band[1], band[2]
    short = np.zeros((len(codes), 1 << _SHORT), np.int32)
    ends = np.zeros((len(codes), 18), np.int64)
    offsets = np.zeros((len(codes), 17), np.int64)
    for number in range(len(codes)):
        if not _look_up(codes[number], short[number], ends[number], offsets[number]):
            return UNKNOWN_CODE, at
    table = codes[0], short[0], ends[0], offsets[0]
    merges = False  # does its encoder count empty blocks at all? One with the tables of T.81, K.3 can't
    for value in codes[0, 16:]:
        merges |= value & 15 == 0 and 0 < value < 0xF0
    done, number = 0, 0
    while True:
        end, at = unstuffed(data, at, plain)
        upto = min(units, done + restart) if restart else units
        if kind == DC_REFINE:
            bit = (upto - done) * len(blocks)
            found = RUNS_OUT if bit > 8 * end else WHOLE
        elif kind == DC_FIRST:
            found, bit = _dc_first(plain, end, upto - done, blocks, (codes, short, ends, offsets), below, limits)
        elif kind == AC_FIRST:
            found, bit = _ac_first(plain, end, known[done:upto], table, start, stop, below, sizes[0], merges)
        else:
            found, bit = _ac_refine(plain, end, known[done:upto], table, start, stop, merges)
        if found != WHOLE:
            return found, at
        if left_over(plain, end, 8 * end - bit):
            return LEFT_OVER, at
        done = upto
        if done == units:
            return WHOLE, at
        at = past_restart(data, at, number)
        if at < 0:
            return NO_RESTART, at
        number = (number + 1) & 7


@njit(cache=True, nogil=True)
def _look_up(codes, short, ends, offsets):
    """Make the tables of _symbol. Returns whether there is such a code.

    short: the value and its code's bits << 8, by the next _SHORT bits; 0 where the code is longer. ends: by bits, the
    first 16 bits that are beyond the codes so long. offsets: what to add to a code for the number of its value.
    """
    code, number = 0, 0
    for length in range(1, 17):
        offsets[length] = 16 + number - code
        for _ in range(codes[length - 1]):
            if code >= 1 << length or 16 + number >= len(codes):
                return False
            if length <= _SHORT:
                first = code << (_SHORT - length)
                short[first : first + (1 << (_SHORT - length))] = length << 8 | codes[16 + number]
            code += 1
            number += 1
        ends[length] = code << (16 - length)
        code <<= 1
    return True


@njit(cache=True, nogil=True)
def _next16(plain, bit):
    """The 16 bits from this one on, as a number."""
    at = bit >> 3
    word = np.int64(plain[at]) << 16 | np.int64(plain[at + 1]) << 8 | np.int64(plain[at + 2])
    return word >> (8 - (bit & 7)) & 0xFFFF


@njit(cache=True, nogil=True)
def _symbol(plain, bit, table):
    """(value of the code at this bit, where the next begins); a value of -1: no such code."""
    codes, short, ends, offsets = table
    bits = _next16(plain, bit)
    entry = short[bits >> (16 - _SHORT)]
    if entry:
        return entry & 0xFF, bit + (entry >> 8)
    for length in range(_SHORT + 1, 17):
        if bits < ends[length]:
            return np.int64(codes[offsets[length] + (bits >> (16 - length))]), bit + length
    return -1, bit


@njit(cache=True, nogil=True)
def _dc_first(plain, end, units, blocks, tables, below, limits):
    codes, short, ends, offsets = tables
    previous = np.zeros(len(limits), np.int64)
    bit = 0
    for _ in range(units):
        for component in blocks:
            more, bit = _symbol(plain, bit, (codes[component], short[component], ends[component], offsets[component]))
            if more < 0:
                return UNKNOWN_CODE, bit
            if more > 11:
                return TOO_LARGE, bit
            if more:
                raw = _next16(plain, bit) >> (16 - more)
                if raw < 1 << (more - 1):
                    raw += 1 - (1 << more)
                bit += more
                previous[component] += raw << below
                if abs(previous[component]) > limits[component] + (1 << below):
                    return TOO_LARGE, bit
            if bit > 8 * end:
                return RUNS_OUT, bit
    return WHOLE, bit


@njit(cache=True, nogil=True)
def _run(plain, bit, bits):
    """(How many blocks have nothing more, with this one; where the next code begins)."""
    return (1 << bits) + (_next16(plain, bit) >> (16 - bits)), bit + bits


@njit(cache=True, nogil=True)
def _ac_first(plain, end, known, table, start, stop, below, sizes, merges):
    bit, block, same, again = 0, 0, 0, False
    while block < len(known):
        k = start
        while k <= stop:
            value, bit = _symbol(plain, bit, table)
            if value < 0:
                return UNKNOWN_CODE, bit
            skip, more = value >> 4, value & 15
            if more:
                k += skip
                if k > stop:
                    return TOO_LONG, bit
                if more + below > sizes[k + 1]:
                    return TOO_LARGE, bit
                known[block] |= np.uint64(1) << np.uint64(k)
                same = same + 1 if value == table[0][16] and _next16(plain, bit) >> (16 - more) == 0 else 0
                if same > _SAME:
                    return ZEROS, bit
                bit += more
                k += 1
            elif skip == 15:
                k += 16
                if k > stop + 1:
                    return TOO_LONG, bit
            else:
                if merges and again and k == start:
                    return SPLIT_RUN, bit
                run, bit = _run(plain, bit, skip)
                block += run - 1
                again = run < _LONG_RUN
                break
        else:
            again = False
        if bit > 8 * end:
            return RUNS_OUT, bit
        block += 1
    return (WHOLE if block == len(known) else LONG_RUN), bit


@njit(cache=True, nogil=True)
def _ac_refine(plain, end, known, table, start, stop, merges):
    bit, run, same, again, brought = 0, 0, 0, False, 0
    for block in range(len(known)):
        k, nonzero = start, known[block]
        while run == 0 and k <= stop:
            value, bit = _symbol(plain, bit, table)
            if value < 0:
                return UNKNOWN_CODE, bit
            skip, more = value >> 4, value & 15
            if more > 1:
                return TOO_LARGE, bit
            if more == 0 and skip < 15:
                if merges and again and k == start:
                    return SPLIT_RUN, bit
                run, bit = _run(plain, bit, skip)
                again, brought = run < _LONG_RUN, 0
                break
            if more:
                same = same + 1 if value == table[0][16] and _next16(plain, bit) >> 15 == 0 else 0
                if same > _SAME:
                    return ZEROS, bit
                bit += 1  # its sign
            while k <= stop:
                if nonzero >> np.uint64(k) & np.uint64(1):
                    bit += 1
                elif skip == 0:
                    break
                else:
                    skip -= 1
                k += 1
            if k > stop:
                return TOO_LONG, bit
            known[block] |= np.uint64(more) << np.uint64(k)
            k += 1
        if run:  # each coefficient that is known has its next bit all the same
            more = _ones(nonzero >> np.uint64(k) & ((np.uint64(2) << np.uint64(stop - k)) - np.uint64(1)))
            bit += more
            brought += more
            again = again and brought <= _MANY_KNOWN
            run -= 1
        else:
            again = False
        if bit > 8 * end:
            return RUNS_OUT, bit
    return (WHOLE if run == 0 else LONG_RUN), bit


@njit(cache=True, nogil=True)
def _ones(bits):
    count = 0
    while bits:
        bits &= bits - np.uint64(1)
        count += 1
    return count
