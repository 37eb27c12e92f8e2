"""Camera frame to network input."""

from __future__ import annotations

import cv2
import numpy as np

from drive_seg.core.frame import Frame


def network_input(frame: Frame, size: tuple[int, int]) -> np.ndarray:
    """Scale a frame to the network's input size.

    size: (height, width) of the network. Returns (height, width, 3) uint8, RGB, contiguous. A frame at least twice as
    large both ways is first halved (mean of 2x2), so that thin poles don't fall between samples; the rest is bilinear
    with half-pixel centres. A full area average takes several times as long.
    """
    if frame.height >= 2 * size[0] and frame.width >= 2 * size[1]:
        half = frame.resized((frame.height // 2, frame.width // 2), cv2.INTER_AREA)
        return network_input(Frame.from_array(half), size)
    small = frame.resized(size, cv2.INTER_LINEAR)
    return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
