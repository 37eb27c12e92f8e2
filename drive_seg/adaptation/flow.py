"""Points followed from one frame to another, by dense optical flow (DIS, Kroeger et al., ECCV 2016) there and back."""

from __future__ import annotations

import cv2
import numpy as np

_RETURNED = 1.0  # pixels within which a point must come back to where it was


def follow(image: np.ndarray, other: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each pixel of a picture is in another one: x and y, (h, w) float32, and (h, w) bool whether that is known;
    it is not where there and back don't agree, as behind something that moved.

    image, other: (H, W, 3) uint8. size: (h, w), of what is compared and returned.
    """
    height, width = size
    grey, other_grey = (cv2.resize(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), (width, height), interpolation=cv2.INTER_AREA)
                        for p in (image, other))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    nothing = np.zeros((height, width, 2), np.float32)
    there, back = flow.calc(grey, other_grey, nothing.copy()), flow.calc(other_grey, grey, nothing)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + there[..., 0], y + there[..., 1]
    returned = cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1e3)
    return x, y, np.hypot(*(there + returned).transpose(2, 0, 1)) < _RETURNED
