"""Parameters of the first kernel for a kind of frame: which bytes it reads, between which pixels, in which block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.core.classes import Group
from drive_seg.core.decode import axis
from drive_seg.core.frame import LAYOUTS, Frame, Layout

MOST_HALVINGS = 3  # by the kernel; a larger image is halved on the processor first
WORD = 16  # bytes that the kernel reads at once: each row of a frame begins at a multiple of it
THREADS = 128  # of a block

TAP = np.dtype([("lower", np.int32), ("weight", np.int32)])
PLACE = np.dtype([("lower", np.int32), ("weight", np.float32)])


def taps(pixels: int, source: int) -> np.ndarray:
    """Where each of `pixels` falls between `source` ones, as OpenCV's INTER_LINEAR for uint8 has it: TAP."""
    place = ((np.arange(pixels) + 0.5) * (source / pixels) - 0.5).astype(np.float32)
    lower = np.floor(place)
    weight = np.where((lower < 0) | (lower >= source - 1), np.float32(0), place - lower)
    return np.rec.fromarrays([np.clip(lower, 0, source - 1), np.rint(weight * np.float32(2048))], TAP)


def places(pixels: int, cells: int) -> np.ndarray:
    """Where each pixel centre falls between cell centres, as core/decode.py has it: PLACE."""
    return np.rec.fromarrays(axis(pixels, cells), PLACE)


@dataclass(frozen=True)
class Intake:
    """The way of one kind of frame into a network.

    layout, rows, row_bytes: what the kernel reads, BGR of a Bayer pattern; a row takes `pitch` bytes. height: rows of
    pixels in them. halved: (height, width) after `halvings` on the GPU. on_host: halvings that the processor does
    before, as BGR: of odd sizes and of huge images.
    """

    encoding: str
    size: tuple[int, int]
    layout: Layout
    rows: int
    row_bytes: int
    height: int
    halvings: int
    halved: tuple[int, int]
    on_host: int

    @property
    def pitch(self) -> int:
        """Bytes from a row to the next one."""
        return -(-self.row_bytes // WORD) * WORD

    @property
    def chroma_row(self) -> int:
        """Where the rows of U and V begin, below those of Y; 0 where they don't lie there."""
        return self.height if self.rows > self.height else 0

    @classmethod
    def of(cls, frame: Frame, network_size: tuple[int, int]) -> Intake:
        """The way of this frame and all like it into a network that sees network_size = (height, width)."""
        sizes = [frame.size]
        while sizes[-1][0] >= 2 * network_size[0] and sizes[-1][1] >= 2 * network_size[1]:
            sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
        last = len(sizes) - 1
        odd = [i for i in range(last) if sizes[i][0] % 2 or sizes[i][1] % 2]
        on_host = max(odd[-1] + 1 if odd else 0, last - MOST_HALVINGS)
        height, width = sizes[on_host]
        layout = LAYOUTS[frame.encoding]
        if on_host or not layout.at:
            layout = LAYOUTS["bgr8"]
        rows = height * layout.rows[0] // layout.rows[1]
        return cls(frame.encoding, frame.size, layout, rows, width * layout.channels, height, last - on_host, sizes[-1],
                   on_host)

    def pixels(self, frame: Frame) -> np.ndarray:
        """(rows, row_bytes) uint8 to hand to the kernel; a view of the frame's own unless the processor has work."""
        for _ in range(self.on_host):
            frame = Frame.from_array(frame.resized((frame.height // 2, frame.width // 2), cv2.INTER_AREA))
        data = frame.bgr() if self.layout == LAYOUTS["bgr8"] else frame.data
        return data.reshape(len(data), -1)[:, : self.row_bytes]


@dataclass(frozen=True)
class Tiling:
    """How a kernel shares its pixels among blocks of threads. height, width: pixels of a tile. blocks: tiles (across,
    down). shared: bytes of a block's shared memory."""

    height: int
    width: int
    blocks: tuple[int, int]
    shared: int


def prepare_tiling(columns: np.ndarray, rows: np.ndarray, intake: Intake) -> Tiling:
    """Tiles of the network's input, whose pixels fall on the halved image at these taps."""

    def window_bytes(across: int, down: int) -> int:
        row_bytes = ((across << intake.halvings) * intake.layout.channels + 2 * WORD - 2) // WORD * WORD
        luma = down << intake.halvings
        return row_bytes * (luma + (luma // 2 + 1 if intake.chroma_row else 0)) + 4 * across * down

    return _tiling(columns, rows, intake.halved, window_bytes, (8, 64), 24 << 10)


def decode_tiling(columns: np.ndarray, rows: np.ndarray, grid: tuple[int, int], classes: int) -> Tiling:
    """Tiles of the results, whose pixels fall on a grid of (height, width) cells at these places."""
    cell_bytes = 4 * (classes | 1) + 4 * len(Group) + 4 + 1  # logits, probabilities of the groups, trust, class
    return _tiling(columns, rows, grid, lambda across, down: cell_bytes * across * down, (16, 128), 16 << 10)


def _tiling(columns: np.ndarray, rows: np.ndarray, source: tuple[int, int], window_bytes: Callable[[int, int], int],
            greatest: tuple[int, int], limit: int) -> Tiling:
    """The greatest tiles whose windows of the source fit into `limit` bytes, so that each multiprocessor has room for
    several blocks. What a tile of one pixel needs always fits."""
    height, width = greatest
    while True:
        across, down = _most(columns["lower"], source[1], width), _most(rows["lower"], source[0], height)
        shared = window_bytes(across, down)
        if shared <= limit or height == width == 1:
            return Tiling(height, width, (-(-len(columns) // width), -(-len(rows) // height)), shared)
        if height == 1 or (across >= down and width > 4):
            width //= 2
        else:
            height //= 2


def _most(lower: np.ndarray, source: int, pixels: int) -> int:
    """The most places in a row that so many neighbouring pixels lie between."""
    first = np.arange(0, len(lower), pixels)
    last = np.minimum(first + pixels, len(lower)) - 1
    return int((np.minimum(lower[last] + 1, source - 1) - lower[first] + 1).max())
