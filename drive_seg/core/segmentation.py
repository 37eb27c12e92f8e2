"""What the core says about one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drive_seg.core.classes import UNKNOWN


@dataclass(frozen=True)
class Segmentation:
    """Images of one frame, each (H, W) uint8 and pixel-aligned with it.

    labels: planner ids (drive_seg.core.classes.Group, 255 unknown). classes: the network's own ids. drivable: 255 where
    the vehicle can drive, else 0; None when not asked for. confidence: probability of the label, 255 = certain.
    stages: milliseconds spent, by stage.
    """

    labels: np.ndarray
    classes: np.ndarray
    drivable: np.ndarray | None
    confidence: np.ndarray
    stages: dict[str, float] = field(default_factory=dict)

    @classmethod
    def unknown(cls, size: tuple[int, int]) -> Segmentation:
        """The answer for an image (height, width) that can't be believed: nothing is known, nothing drivable."""
        unknown, nothing = np.full(size, UNKNOWN, np.uint8), np.zeros(size, np.uint8)
        return cls(unknown, unknown, nothing, nothing)
