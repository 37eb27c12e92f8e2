"""How the kernels share their pixels among blocks of threads: in tiles whose surroundings fit their shared memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drive_seg.core.classes import Group
from drive_seg.runtimes.tensorrt.intake import WORD, Intake

THREADS = 128
"""Threads of a block."""

STRIP = 4
"""Pixels that a thread decodes side by side."""

_PREPARED = (8, 64)  # greatest (height, width) of a tile before the network,
_DECODED = (16, 128)  # and after it: a row of it is 32 threads' strips, one store of 128 bytes
_BEFORE, _AFTER = 24 << 10, 16 << 10  # bytes a block may take: each multiprocessor then has room for several blocks


@dataclass(frozen=True)
class Tiling:
    """height, width: pixels of a tile. blocks: tiles (across, down). shared: bytes of a block's shared memory."""

    height: int
    width: int
    blocks: tuple[int, int]
    shared: int

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.blocks[0] * self.blocks[1]


def prepare_tiling(columns: np.ndarray, rows: np.ndarray, intake: Intake) -> Tiling:
    """Tiles of the network's input, whose pixels fall on the halved image at these intake.taps."""

    def window_bytes(across: int, down: int) -> int:
        row_bytes = ((across << intake.halvings) * intake.layout.step + 2 * WORD - 2) // WORD * WORD
        luma = down << intake.halvings
        return row_bytes * (luma + (luma // 2 + 1 if intake.layout.chroma_below else 0)) + 4 * across * down

    return _tiling(columns, rows, intake.halved, window_bytes, _PREPARED, _BEFORE)


def decode_tiling(columns: np.ndarray, rows: np.ndarray, grid: tuple[int, int], classes: int) -> Tiling:
    """Tiles of the results, whose pixels fall on a grid of (height, width) cells at these intake.places."""

    def window_bytes(across: int, down: int) -> int:  # logits, probabilities of the groups, trust, class
        return across * down * (4 * (classes | 1) + 4 * len(Group) + 4 + 1)

    return _tiling(columns, rows, grid, window_bytes, _DECODED, _AFTER)


def _tiling(columns: np.ndarray, rows: np.ndarray, source: tuple[int, int], window_bytes: Callable[[int, int], int],
            greatest: tuple[int, int], limit: int) -> Tiling:
    """The greatest tiles that fit. What a tile of one pixel needs always does."""
    height, width = greatest
    while True:
        across = _most(columns["lower"], source[1], width)
        down = _most(rows["lower"], source[0], height)
        shared = window_bytes(across, down)
        if shared <= limit or height == width == 1:
            return Tiling(height, width, (-(-len(columns) // width), -(-len(rows) // height)), shared)
        if height == 1 or (across >= down and width > STRIP):
            width //= 2
        else:
            height //= 2


def _most(lower: np.ndarray, source: int, pixels: int) -> int:
    """The most places in a row that so many neighbouring pixels lie between."""
    first = np.arange(0, len(lower), pixels)
    last = np.minimum(first + pixels, len(lower)) - 1
    return int((np.minimum(lower[last] + 1, source - 1) - lower[first] + 1).max())
