"""What one image says about the lens and the exposure, from a few thousand of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive_seg.core.frame import Frame

TILE_ROWS, TILE_COLUMNS = 6, 8
_PATCH = 32  # pixels of full resolution looked at in the middle of each tile

# Of interleaved encodings, the byte of a pixel that is nearest to brightness.
_BRIGHT_BYTE = {"yuv422": 1, "uyvy": 1, "yuv422_yuy2": 0, "yuyv": 0}


@dataclass(frozen=True)
class Look:
    """One image in brief. mean, high, low: mean brightness 0..255, shares of pixels >= 250 and <= 16. tile_mean,
    tile_contrast: (6, 8) float32, mean and mean absolute step between neighbouring pixels of each tile. sharpness:
    step between neighbours over step between pixels six apart, of the tiles that show structure; NaN without any.
    thumb: (rows, columns) uint8, every n-th pixel.
    """

    mean: float
    high: float
    low: float
    tile_mean: np.ndarray
    tile_contrast: np.ndarray
    sharpness: float
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
    """Look at one frame; about 0.1 ms whatever its size."""
    bright = brightness(frame)
    step = max(1, bright.shape[0] // 72)
    thumb = np.ascontiguousarray(bright[step // 2::step, step // 2::step])
    mean, contrast, wide = _tiles(bright, TILE_ROWS, TILE_COLUMNS, min(_PATCH, bright.shape[0] // TILE_ROWS,
                                                                       bright.shape[1] // TILE_COLUMNS))
    structured = wide > 6.0
    sharpness = float(np.median(contrast[structured] / wide[structured])) if structured.any() else float("nan")
    return Look(float(thumb.mean()), float((thumb >= 250).mean()), float((thumb <= 16).mean()), mean, contrast,
                sharpness, thumb)


@njit(cache=True, nogil=True)
def _tiles(bright, rows, columns, patch):
    height, width = bright.shape
    mean = np.zeros((rows, columns), np.float32)
    near = np.zeros((rows, columns), np.float32)
    wide = np.zeros((rows, columns), np.float32)
    for r in range(rows):
        for c in range(columns):
            top = (2 * r + 1) * height // (2 * rows) - patch // 2
            left = (2 * c + 1) * width // (2 * columns) - patch // 2
            total, small, large, wide_count = 0, 0, 0, 0
            for y in range(max(top, 0), min(top + patch, height)):
                for x in range(max(left, 0), min(left + patch, width - 1)):
                    value = np.int32(bright[y, x])
                    total += value
                    small += abs(value - np.int32(bright[y, x + 1]))
                    if x + 6 < width:
                        large += abs(value - np.int32(bright[y, x + 6]))
                        wide_count += 1
            count = max(1, patch * patch)
            mean[r, c] = total / count
            near[r, c] = small / count
            wide[r, c] = large / max(1, wide_count)
    return mean, near, wide
