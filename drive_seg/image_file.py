"""Image files: pixels, or a plain answer that there are none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.frame import FrameError, decode
from drive_seg.errors import DriveSegError


class EgoMaskError(DriveSegError, ValueError):
    """An ego mask that can't be read; the message names the file."""


def read_pixels(path: str | Path, flags: int) -> np.ndarray | None:
    """cv2.imread, which is None for a file that is not a whole image (see `decode`)."""
    try:
        return decode(np.fromfile(path, np.uint8), flags)
    except (OSError, FrameError):
        return None


def read_ego_mask(path: str | None) -> np.ndarray | None:
    """(h, w) uint8, non-zero where the camera sees the vehicle itself; None without a path. Raises EgoMaskError."""
    if not path:
        return None
    mask = read_pixels(Path(path).expanduser(), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise EgoMaskError(f"the ego mask {path} can't be read as an image", "give a PNG")
    return mask
