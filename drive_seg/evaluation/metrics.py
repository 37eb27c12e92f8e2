"""Measures on label images: confusion matrix, IoU, Boundary IoU."""

from __future__ import annotations

import cv2
import numpy as np

BOUNDARY_SHARE = 0.02
"""Width of the boundary band as a share of the image diagonal, the default of Cheng et al."""


def confusion(truth: np.ndarray, predicted: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Counts (rows, columns) int64: truth down, prediction across. Pixels outside either range are left out.

    truth, predicted: uint8 of equal shape.
    """
    keep = (truth < rows) & (predicted < columns)
    index = truth[keep].astype(np.int64) * columns + predicted[keep]
    return np.bincount(index, minlength=rows * columns).reshape(rows, columns)


def iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, (n,) for a matrix (n, n); NaN where truth never shows it.

    A row or column may stand for pixels without a class on that side: it adds to the unions of the others, and its own
    value means nothing.
    """
    hit = np.diag(matrix).astype(float)
    true, called = matrix.sum(1), matrix.sum(0)
    return np.divide(hit, true + called - hit, out=np.full(len(hit), np.nan), where=true > 0)


def boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels of a mask within `distance` pixels of its contour, as seen from inside; the image's edge is contour.

    mask: (H, W) uint8 of 0 and 1. Cheng, Girshick, Dollar, Berg and Kirillov, "Boundary IoU", CVPR 2021.
    """
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask - inner


def boundary_counts(truth: np.ndarray, predicted: np.ndarray, classes: int, void: np.ndarray) -> np.ndarray:
    """Pixels in the intersection and the union of the boundary bands of each class, (classes, 2) int64.

    truth, predicted: (H, W) uint8. void: (H, W) bool, pixels that count for nothing. A void region cuts both masks
    alike, so its outline is no mistake.
    """
    distance = max(1, round(BOUNDARY_SHARE * float(np.hypot(*truth.shape))))
    counts = np.zeros((classes, 2), np.int64)
    for c in range(classes):
        real = ((truth == c) & ~void).astype(np.uint8)
        called = ((predicted == c) & ~void).astype(np.uint8)
        if not real.any() and not called.any():
            continue
        real, called = boundary(real, distance), boundary(called, distance)
        counts[c] = np.count_nonzero(real & called), np.count_nonzero(real | called)
    return counts
