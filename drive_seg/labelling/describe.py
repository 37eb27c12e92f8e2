"""How alike two frames are: what the network sees where, and the colours, each pooled over a coarse grid."""

from __future__ import annotations

import cv2
import numpy as np

from drive_seg.core.segmentation import Segmentation

GRID = (4, 8)
"""Rows and columns of the grid."""

_SAMPLES = (8 * GRID[0], 8 * GRID[1])
_COLOUR_WEIGHT = 0.5


def describe(bgr: np.ndarray, result: Segmentation, classes: int) -> np.ndarray:
    """The descriptor of a frame, (cells * (classes + 3),) float16: shares of each class in each cell of the grid, and
    the mean colour (CIE L*a*b*).

    bgr: (H, W, 3) uint8. classes: of the network. The Euclidean distance of two descriptors is 0 for the same frame
    and at most about 1.2: half the squared difference of the shares, mean over the cells, plus that of the colours.
    """
    cells = GRID[0] * GRID[1]
    ids = cv2.resize(result.classes, _SAMPLES[::-1], interpolation=cv2.INTER_NEAREST)
    blocks = ids.reshape(GRID[0], 8, GRID[1], 8).transpose(0, 2, 1, 3).reshape(cells, 64)
    shares = np.zeros((cells, classes), np.float32)
    for cell in range(cells):
        shares[cell] = np.bincount(blocks[cell][blocks[cell] < classes], minlength=classes)[:classes] / 64
    small = cv2.resize(bgr, GRID[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB).reshape(cells, 3) / 100
    return np.concatenate([shares.ravel() * np.sqrt(0.5 / cells),
                           lab.ravel() * np.sqrt(_COLOUR_WEIGHT / cells)]).astype(np.float16)


def distances(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances of a descriptor (D,) to each of others (N, D): (N,) float32."""
    difference = others.astype(np.float32) - one.astype(np.float32)
    return np.sqrt(np.einsum("nd,nd->n", difference, difference))
