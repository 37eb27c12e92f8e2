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

    @property
    def drivable_mask(self) -> np.ndarray:
        """`drivable`, for those who asked for it. Raises ValueError where nobody did."""
        if self.drivable is None:
            raise ValueError("the drivable area was not asked for: segment with drivable=True")
        return self.drivable

    @classmethod
    def unknown(cls, size: tuple[int, int]) -> Segmentation:
        """The answer for an image (height, width) that can't be believed: nothing is known, nothing drivable."""
        unknown, nothing = np.full(size, UNKNOWN, np.uint8), np.zeros(size, np.uint8)
        return cls(unknown, unknown, nothing, nothing)
