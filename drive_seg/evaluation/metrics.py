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


def boundary(mask: np.ndarray, distance: int, void: np.ndarray | None = None) -> np.ndarray:
    """The pixels of a mask within `distance` pixels of its contour, as seen from inside; the image's edge is contour.

    mask: (H, W) bool. void: (H, W) bool, pixels of which nothing is said: no part of the band, and what borders on
    them is not a contour. Returns (H, W) bool. Cheng, Girshick, Dollar, Berg and Kirillov, "Boundary IoU", CVPR 2021.
    """
    void = np.zeros_like(mask) if void is None else void
    padded = cv2.copyMakeBorder((mask | void).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & ~void & (inner == 0)


def boundary_counts(truth: np.ndarray, predicted: np.ndarray, classes: int, void: np.ndarray,
                    settled: np.ndarray | None = None) -> np.ndarray:
    """Pixels in the intersection and the union of the boundary bands of each class, (classes, 2) int64.

    truth, predicted: (H, W) uint8. void: (H, W) bool, pixels that count for nothing. settled: (H, W) bool, pixels whose
    truth is one of several classes and that are called one of them: void for that class.
    """
    distance = max(1, round(BOUNDARY_SHARE * float(np.hypot(*truth.shape))))
    counts = np.zeros((classes, 2), np.int64)
    for c in range(classes):
        real, called = truth == c, predicted == c
        if not (real & ~void).any() and not (called & ~void).any():
            continue
        unlabelled = void if settled is None else void | (settled & called)
        real, called = boundary(real, distance, unlabelled), boundary(called, distance, unlabelled)
        counts[c] = np.count_nonzero(real & called), np.count_nonzero(real | called)
    return counts
