"""How the kernel after the network shares the pixels among blocks of threads: in tiles whose cells fit a block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive_seg.core.classes import Group

THREADS = 128
"""Of a block."""

STRIP = 4
"""Pixels that a thread decodes side by side."""

_GREATEST = (16, 128)  # (height, width) of a tile: a row of it is 32 threads' strips, one store of 128 bytes
_SHARED = 16 << 10  # bytes a block may take: every GPU then has room for several blocks on each multiprocessor


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


def tiling(columns: np.ndarray, rows: np.ndarray, grid: tuple[int, int], classes: int) -> Tiling:
    """Tiles for results whose pixels fall on a grid of (height, width) cells at these intake.places.

    A tile of one pixel needs four cells, which always fit: where there are more cells than pixels, tiles get so small.
    """
    height, width = _GREATEST
    while True:
        across = _most_cells(columns["lower"], grid[1], width)
        down = _most_cells(rows["lower"], grid[0], height)
        shared = window_bytes(across * down, classes)
        if shared <= _SHARED or height == width == 1:
            blocks = (-(-len(columns) // width), -(-len(rows) // height))
            return Tiling(height, width, blocks, shared)
        if height == 1 or (across >= down and width > STRIP):
            width //= 2
        else:
            height //= 2


def window_bytes(cells: int, classes: int) -> int:
    """Bytes of shared memory for so many cells: logits, probabilities of the groups, trust, class. See kernels.h."""
    return cells * (4 * (classes | 1) + 4 * len(Group) + 4 + 1)


def _most_cells(lower: np.ndarray, cells: int, pixels: int) -> int:
    """The most cells in a row that so many neighbouring pixels lie between."""
    first = np.arange(0, len(lower), pixels)
    last = np.minimum(first + pixels, len(lower)) - 1
    return int((np.minimum(lower[last] + 1, cells - 1) - lower[first] + 1).max())
