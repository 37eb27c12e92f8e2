"""What the walks through all kinds of JPEG scans share: what they can find, and the bytes between two markers."""

from __future__ import annotations

from numba import njit

(WHOLE, UNKNOWN_CODE, TOO_LONG, TOO_LARGE, LEFT_OVER, RUNS_OUT, NO_RESTART, LONG_RUN, WRONG_SCAN, NO_SCAN, SPLIT_RUN,
 ZEROS) = range(12)

FAULTS = {
    UNKNOWN_CODE: "an unknown code", TOO_LONG: "a block of too many values",
    TOO_LARGE: "a value that no picture has", LEFT_OVER: "data is left over at its end",
    RUNS_OUT: "its data ends too early", NO_RESTART: "a restart marker is missing",
    LONG_RUN: "empty blocks beyond its end", WRONG_SCAN: "a scan that does not follow from those before",
    SPLIT_RUN: "empty blocks are counted in two parts", NO_SCAN: "a scan is missing",
    ZEROS: "a stretch of zeros",
}

SLACK = 512
"""Bytes of zeros behind those that `unstuffed` gives: the most that the codes of a block run over the end."""


@njit(cache=True, nogil=True)
def unstuffed(data, at, plain):
    """Copy the bytes (N,) uint8 from data[at] to the next marker, without the zeros that are stuffed behind FF.

    plain: (at least as many + SLACK,) uint8, gets them. Returns (how many, where the marker is).
    """
    size, end = len(data), 0
    while at < size:
        byte = data[at]
        if byte == 0xFF:
            if at + 1 >= size or data[at + 1] != 0:
                break
            at += 1
        plain[end] = byte
        end += 1
        at += 1
    plain[end : end + SLACK] = 0
    return end, at


@njit(cache=True, nogil=True)
def left_over(plain, end, bits):
    """Whether `bits` are too many to be left of the bytes plain[:end]."""
    return bits >= 8 and (bits > 16 or plain[end - 1] not in (0, 0xFF))  # encoders fill the last byte, some add one


@njit(cache=True, nogil=True)
def past_restart(data, at, number):
    """Where it goes on behind the restart marker of this number, which should be at data[at]; -1: it is not there."""
    size = len(data)
    while at + 1 < size and data[at] == 0xFF and data[at + 1] == 0xFF:
        at += 1
    return at + 2 if at + 1 < size and data[at] == 0xFF and data[at + 1] == 0xD0 + number else -1
