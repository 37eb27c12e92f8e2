"""What one image says about the lens and the exposure, from a few thousand of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive_seg.core.frame import Frame
from drive_seg.core.health.coverage import THUMB_COLUMNS, THUMB_ROWS

TILE_ROWS, TILE_COLUMNS = 6, 8
_PATCH = 32  # pixels of full resolution looked at in the middle of each tile

# Of interleaved encodings, the byte of a pixel that is nearest to brightness.
_BRIGHT_BYTE = {"yuv422": 1, "uyvy": 1, "yuv422_yuy2": 0, "yuyv": 0}


_EVERY = 2  # rows of a patch: neighbouring rows say the same
_LEAST_HEIGHT, _LEAST_WIDTH = 180, 320  # below, neighbouring pixels of the small picture are means of the same pixels
_MEANT = 4  # pixels, both ways, whose mean is a pixel of the small picture: less noise
_ONE = np.uint64(1)


@dataclass(frozen=True)
class Look:
    """One image in brief. mean, deviation: of the brightness, 0..255. high: share of pixels >= 250. tile_mean,
    tile_contrast: (6, 8) float32, mean and mean absolute step between neighbouring pixels of each tile. sharpness:
    step between neighbours over step between pixels six apart, of the tiles that show structure; NaN without any.
    structure: share of the small picture's variance that is left in the means of 4x4 of its pixels; of mere noise 1/16,
    to 0.22 in 320x180, of scenes 0.5 and more; NaN where the image is so small that its pixels say nothing of that.
    thumb: (THUMB_ROWS, THUMB_COLUMNS) float32, the image made small.
    """

    mean: float
    deviation: float
    high: float
    tile_mean: np.ndarray
    tile_contrast: np.ndarray
    sharpness: float
    structure: float
    thumb: np.ndarray


def brightness(frame: Frame) -> np.ndarray:
    """A view (H, W) uint8 of the frame's bytes that follows its brightness; no copy."""
    data = frame.data
    if data.ndim == 3:
        return data[..., _BRIGHT_BYTE.get(frame.encoding, min(1, data.shape[2] - 1))]
    if frame.encoding.startswith("bayer"):
        return data[::2, ::2]  # one colour of the pattern: neighbours then compare
    return data[:frame.height]


def look(frame: Frame) -> Look:
    """Look at one frame, from 1x1 pixels up; a fraction of a millisecond whatever its size."""
    bright = brightness(frame)
    height, width = bright.shape
    thumb, total, squares, high, structure = _thumb(bright, THUMB_ROWS, THUMB_COLUMNS, min(_MEANT, height, width))
    mean, contrast, sharpness = _tiles(bright, TILE_ROWS, TILE_COLUMNS,
                                       min(_PATCH, height // TILE_ROWS, width // TILE_COLUMNS), _EVERY)
    average = total / thumb.size
    if height < _LEAST_HEIGHT or width < _LEAST_WIDTH:
        structure = np.nan
    return Look(average, max(squares / thumb.size - average * average, 0.0) ** 0.5, high / thumb.size, mean, contrast,
                sharpness, structure, thumb)


def warm_up() -> None:
    """Compile `look` for interleaved and for planar images."""
    look(Frame.from_array(np.zeros((64, 64, 3), np.uint8)))
    look(Frame.from_array(np.zeros((64, 64), np.uint8), "mono8"))


@njit(cache=True, nogil=True)
def _thumb(bright, rows, columns, meant):
    """The small picture; sum, sum of squares and count of bright ones of its middle pixels; Look.structure."""
    height, width = bright.shape
    thumb = np.empty((rows, columns), np.float32)
    scale = np.float32(1.0 / (meant * meant))
    left, centre = np.empty(columns, np.uint64), np.empty(columns, np.uint64)  # unsigned: an index needs no check
    for c in range(columns):
        middle = (2 * c + 1) * width // (2 * columns)
        centre[c] = middle
        left[c] = min(max(middle - meant // 2, 0), width - meant)
    amount, block = np.empty(columns, np.int32), np.zeros((columns + 3) // 4, np.int64)
    total, squares, high = 0, 0, 0
    whole, whole_squares, blocks_squares = 0, 0, 0  # integers, so that nothing is rounded
    for r in range(rows):
        middle = (2 * r + 1) * height // (2 * rows)
        top = min(max(middle - meant // 2, 0), height - meant)
        if meant == 4:
            _sums_of_16(bright[top], bright[top + 1], bright[top + 2], bright[top + 3], left, amount)
        else:
            for c in range(columns):
                first = np.int64(left[c])
                amount[c] = 0
                for y in range(top, top + meant):
                    for x in range(first, first + meant):
                        amount[c] += bright[y, x]
        line = bright[middle]
        for c in range(columns):
            value = np.int32(line[centre[c]])
            total += value
            squares += value * value
            high += value >= 250
        for c in range(columns):
            thumb[r, c] = amount[c] * scale
            whole += amount[c]
            whole_squares += amount[c] * amount[c]
            block[c // 4] += amount[c]
        if r % 4 == 3:
            for k in range(block.shape[0]):
                blocks_squares += block[k] * block[k]
                block[k] = 0
    count = rows * columns
    variance = count * whole_squares - whole * whole
    of_blocks = count // 16 * blocks_squares - whole * whole
    return thumb, total, squares, high, (of_blocks / variance if variance > 0 else np.nan)


@njit(cache=True, nogil=True)
def _sums_of_16(a, b, c, d, left, out):
    """Sums of four pixels of each of four rows, from column `left` on."""
    for i in range(left.shape[0]):
        x = left[i]
        total = np.uint32(a[x]) + np.uint32(b[x]) + np.uint32(c[x]) + np.uint32(d[x])
        for _ in range(3):
            x += _ONE
            total += np.uint32(a[x]) + np.uint32(b[x]) + np.uint32(c[x]) + np.uint32(d[x])
        out[i] = total


@njit(cache=True, nogil=True)
def _tiles(bright, rows, columns, patch, every):
    height, width = bright.shape
    mean = np.zeros((rows, columns), np.float32)
    near = np.zeros((rows, columns), np.float32)
    ratios = np.empty(rows * columns, np.float32)
    structured = 0
    row = np.empty(patch + 6, np.int32)  # a row of the patch side by side, and the six pixels behind it
    for r in range(rows):
        for c in range(columns):
            top = max((2 * r + 1) * height // (2 * rows) - patch // 2, 0)
            left = max((2 * c + 1) * width // (2 * columns) - patch // 2, 0)
            across = min(patch, width - 1 - left)
            far = max(min(patch, width - 6 - left), 0)
            total, small, large, seen = 0, 0, 0, 0
            for y in range(top, min(top + patch, height), every):
                for i in range(min(patch + 6, width - left)):
                    row[i] = bright[y, left + i]
                for i in range(across):
                    total += row[i]
                    small += abs(row[i] - row[i + 1])
                for i in range(far):
                    large += abs(row[i] - row[i + 6])
                seen += 1
            mean[r, c] = total / max(1, seen * across)
            near[r, c] = small / max(1, seen * across)
            wide = large / max(1, seen * far)
            if wide > 6.0:
                ratios[structured] = near[r, c] / wide
                structured += 1
    if structured == 0:
        return mean, near, np.nan
    return mean, near, float(np.median(ratios[:structured]))
