"""Corrects the class prior that training's sampling bent: rare classes are shown far more often than they occur."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from drive_seg.core.classes import ClassTable
from drive_seg.evaluation.metrics import confusion, iou
from drive_seg.training.data import Source, family
from drive_seg.training.model import Segmenter

STEPS = (0.6, 0.3, 0.15)
ROUNDS = 2
COST = 0.003
"""What an offset must earn: mean IoU for its square, so that no class is moved for next to nothing."""


@torch.no_grad()
def fit_prior(network: Segmenter, sources: Sequence[Source], allowed: np.ndarray, table: ClassTable,
              size: tuple[int, int], images: int = 60) -> list[float]:
    """Offsets of the class logits with the greatest mean IoU on training pictures as they are, unaugmented.

    sources, allowed: see data.load_sources. A class is scored with those within it, as CamVid's tree may be terrain;
    all of one family get one offset. Taken are the sources that show as many families as the first one does, `images`
    evenly spread pictures of each, scored on the logits' cells. Found by coordinate ascent, from nought, in ever
    smaller steps.
    """
    families = family(table)
    heads, place = np.unique(families, return_inverse=True)
    truth_of = np.full(256, len(heads), np.uint8)
    for code, row in enumerate(allowed):
        if len(set(place[row])) == 1:
            truth_of[code] = place[row][0]
    shown = [{int(one) for codes in source.codes for one in np.unique(truth_of[codes])} - {len(heads)}
             for source in sources]
    logits, truth = [], []
    for source in (source for source, families_shown in zip(sources, shown, strict=True) if families_shown >= shown[0]):
        for index in np.linspace(0, len(source.images) - 1, min(images, len(source.images))).astype(int):
            small = cv2.resize(source.images[index], size[::-1], interpolation=cv2.INTER_LINEAR)
            out = network(torch.from_numpy(small).permute(2, 0, 1)[None].float())[0]
            cells = cv2.resize(source.codes[index], out.shape[:0:-1], interpolation=cv2.INTER_NEAREST)
            highest = [out[torch.from_numpy(place == family_)].amax(0) for family_ in range(len(heads))]
            logits.append(torch.stack(highest, -1).reshape(-1, len(heads)).numpy())
            truth.append(truth_of[cells.ravel()])
    offsets = ascend(np.concatenate(logits), np.concatenate(truth))
    return [offsets[index] for index in place]


def ascend(logits: np.ndarray, truth: np.ndarray) -> list[float]:
    """logits: (P, C). truth: (P,) uint8 class ids; ids from C on are left out. Returns C offsets; nought for a class
    that truth never shows."""
    classes = logits.shape[1]
    keep = truth < classes
    logits, truth = logits[keep], truth[keep]

    def score(offsets: np.ndarray) -> float:
        predicted = (logits + offsets.astype(logits.dtype)).argmax(1).astype(np.uint8)
        mean = float(np.nanmean(iou(confusion(truth, predicted, classes, classes))))
        return mean - COST * float((offsets ** 2).sum())

    shown = np.unique(truth)
    offsets = np.zeros(classes)
    best = score(offsets)
    for step in STEPS:
        for _ in range(ROUNDS):
            for c in shown:
                for change in (-step, step):
                    tried = offsets.copy()
                    tried[c] += change
                    if (value := score(tried)) > best + 1e-4:
                        offsets, best = tried, value
                        break
    return [round(float(v), 4) for v in offsets]
