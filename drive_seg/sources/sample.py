"""Some frames of footage at one size, for benchmarks and checks: how long decoding takes depends on the picture."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np

from drive_seg.sources.frame_source import SourceError
from drive_seg.sources.open import open_source

SIZE = (720, 1280)
"""(height, width) of the camera that is measured."""

_EVERY = 5  # neighbouring frames of a video are too alike


def load_frames(source: str, count: int) -> list[np.ndarray]:
    """Up to `count` frames of some footage, scaled to SIZE: (720, 1280, 3) uint8 BGR each. Raises SourceError."""
    shots = islice(open_source(source), 0, count * _EVERY, _EVERY)
    frames = [cv2.resize(shot.frame.bgr(), SIZE[::-1], interpolation=cv2.INTER_LINEAR) for shot in shots]
    if not frames:
        raise SourceError(f"{source} has no frames to measure with", "give --source another video or folder")
    return frames
