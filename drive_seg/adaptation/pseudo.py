"""Pseudo-labels: which of a teacher's answers a student learns from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from drive_seg.adaptation.flow import follow
from drive_seg.image_file import read_pixels
from drive_seg.training.losses import IGNORE


class Thresholds:
    """The confidence from which a pixel's class is believed, one for each class.

    Each follows the confidence that `keep` of the class's pixels reach, picture by picture: so rare and hard classes,
    which are never as sure as road and sky, get labels too (CBST, Zou et al., ECCV 2018; IAST, Mei et al., ECCV 2020).
    """

    def __init__(self, classes: int, *, sure: float, least: float, follow: float) -> None:
        self.values = np.full(classes, np.nan)
        self._sure, self._least, self._follow = sure, least, follow

    def update(self, classes: np.ndarray, confidence: np.ndarray, keep: float, few: int = 50) -> None:
        """Follow one picture. classes: (H, W) uint8. confidence: (H, W) float, 0..1. few: pixels of a class under which
        it says nothing."""
        for c in np.unique(classes):
            of_class = confidence[classes == c]
            if of_class.size < few:
                continue
            now = float(np.quantile(of_class, 1 - keep))
            before = self.values[c]
            self.values[c] = now if np.isnan(before) else self._follow * before + (1 - self._follow) * now

    def limits(self) -> np.ndarray:
        """(C,) float: `sure` for a class that was not seen yet."""
        return np.clip(np.where(np.isnan(self.values), self._sure, self.values), self._least, self._sure)

    def believed(self, classes: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """Pseudo-labels (H, W) uint8: the class, IGNORE where it is not believed."""
        return np.where(confidence >= self.limits()[classes], classes, np.uint8(IGNORE)).astype(np.uint8)


def write_answer(path: Path, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep what a teacher says of a picture, (C, H, W) float, as a PNG. Returns it as read_answer will. Raises OSError.
    """
    classes, sure = probability.argmax(0).astype(np.uint8), np.rint(255 * probability.max(0)).astype(np.uint8)
    part = path.with_suffix(".part.png")
    if not cv2.imwrite(str(part), np.dstack([classes, sure, np.zeros_like(sure)])):
        raise OSError(f"can't write {path}: is there space, and may you write there?")
    part.replace(path)
    return classes, sure / np.float32(255)


def read_answer(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Classes (H, W) uint8 and their confidence (H, W) float32, 0..1, in steps of 1/255; None where nothing is kept."""
    if not path.is_file() or (kept := read_pixels(path, cv2.IMREAD_COLOR)) is None:
        return None
    return np.ascontiguousarray(kept[..., 0]), kept[..., 1] / np.float32(255)


def steady(labels: np.ndarray, image: np.ndarray, other_labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Labels that stay: IGNORE where the neighbouring frame says another class of the same point.

    labels, other_labels: (h, w) uint8, of pictures (H, W, 3) uint8 RGB. Where a point can't be followed nothing is
    known and the label stays. Classes that are IGNORE in the other frame say nothing either.
    """
    height, width = labels.shape
    x, y, followed = follow(image, other, (height, width))
    theirs = cv2.remap(other_labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=IGNORE)
    contradicted = followed & (theirs != IGNORE) & (theirs != labels)
    return np.where(contradicted, np.uint8(IGNORE), labels)


def mix_in(rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, other: np.ndarray,
           other_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half of the classes of another picture pasted into this one (ClassMix, Olsson et al., WACV 2021; DACS).

    image, other: (H, W, 3) uint8. labels, other_labels: (H/2, W/2) uint8, IGNORE where nothing is said.
    """
    there = np.unique(other_labels[other_labels != IGNORE])
    if len(there) < 2:
        return image, labels
    chosen = np.isin(other_labels, rng.permutation(there)[: len(there) // 2])
    large = np.repeat(np.repeat(chosen, 2, 0), 2, 1)[..., None]
    return np.where(large, other, image), np.where(chosen, other_labels, labels)
