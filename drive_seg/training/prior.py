"""Corrects the class prior that training bent: rare classes are shown, and walls and things drawn, far more often than
they occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from drive_seg.core.classes import ClassTable
from drive_seg.training.data import Source, family
from drive_seg.training.model import Segmenter

STEPS = (0.4, 0.2, 0.1)
ROUNDS = 2
COST = 0.0015
"""What an offset must earn: score for its square, so that no class is moved for next to nothing."""
_FAMILIES = 0.25
"""What the classes' IoU counts against the planner groups'."""
_MANY = 0.7
"""Classes that a set must show, as a share of the most that any shows, for their IoU to count."""
_FEWEST = 100
"""Cells below which a set does not show a class."""
_LEAST_GAIN = 2e-5
"""Of the score, below which an offset is not changed."""


@dataclass(frozen=True)
class Cells:
    """What the network says of pictures of one data set, and what is true.

    logits: (C, P) float32. codes: (P,) uint8, rows of `allowed`, (codes, C) bool: the classes that a cell may be.
    share: what the set counts.
    """

    logits: np.ndarray
    codes: np.ndarray
    allowed: np.ndarray
    share: float = 1.0

    def shown(self) -> set[int]:
        """The classes that the set labels by themselves."""
        counts = np.bincount(self.codes, minlength=len(self.allowed))
        return {int(row.argmax()) for row, count in zip(self.allowed, counts, strict=True)
                if row.sum() == 1 and count >= _FEWEST}

    def iou(self, offsets: np.ndarray, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """For each way to part the classes, (C,) of part numbers: the IoU of the parts that the set shows.

        A cell that may be of several parts is left out where it is called one of them, and is else a false one.
        """
        best, predicted = self.logits[0] + offsets[0], np.zeros(self.logits.shape[1], np.uint8)
        for c in range(1, len(offsets)):
            value = self.logits[c] + offsets[c]
            predicted[value > best] = c
            np.maximum(best, value, out=best)
        classes = len(offsets)
        counts = np.bincount(self.codes.astype(np.int64) * classes + predicted, minlength=classes * len(self.allowed))
        matrix = counts.reshape(len(self.allowed), classes)
        return [_iou(matrix, part, self.allowed) for part in parts]


def _iou(matrix: np.ndarray, part: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    of_code = np.array([part[row.argmax()] if len(set(part[row])) == 1 else -1 for row in allowed])
    counted = np.where((of_code < 0)[:, None] & allowed, 0, matrix)
    found = []
    for one in np.unique(part):
        true = counted[of_code == one].sum()
        if true >= _FEWEST:
            hit = counted[of_code == one][:, part == one].sum()
            found.append(hit / (true + counted[:, part == one].sum() - hit))
    return np.array(found)


@torch.no_grad()
def fit_prior(network: Segmenter, sources: Sequence[Source], allowed: np.ndarray, table: ClassTable,
              size: tuple[int, int], images: int = 60, shares: Sequence[float] | None = None) -> list[float]:
    """Offsets of the class logits with the greatest IoU on training pictures as they are, unaugmented.

    sources, allowed: see data.load_sources. shares: what each source counts, alike by default. Taken are `images`
    evenly spread pictures of each, scored on the logits' cells; for what counts see ascend.
    """
    cells = []
    for source, share in zip(sources, shares or [1 / len(sources)] * len(sources), strict=True):
        logits, codes = [], []
        for index in np.linspace(0, len(source.images) - 1, min(images, len(source.images))).astype(int):
            small = cv2.resize(source.images[index], size[::-1], interpolation=cv2.INTER_LINEAR)
            out = network(torch.from_numpy(small).permute(2, 0, 1)[None].float())[0].numpy()
            code = cv2.resize(source.codes[index], out.shape[:0:-1], interpolation=cv2.INTER_NEAREST).ravel()
            labelled = code < len(allowed)
            logits.append(out.reshape(len(out), -1)[:, labelled])
            codes.append(code[labelled])
        cells.append(Cells(np.concatenate(logits, 1), np.concatenate(codes), allowed, share))
    return ascend(cells, table)


def ascend(sets: Sequence[Cells], table: ClassTable) -> list[float]:
    """The offsets, one a class, found by coordinate ascent from nought in ever smaller steps.

    What counts is the mean IoU of the planner groups, the vehicle itself apart, and a little that of the classes, where
    a set shows nearly as many of them as any; a class with those within it, as a set's tree may be terrain. A class is
    moved by the sets alone that label it: where walls are labelled building, it costs nothing to see more of them.
    """
    groups = np.array([c.group + (256 if c.ego else 0) for c in table.classes])
    families = family(table)
    shows = [one.shown() for one in sets]
    told = [len(one.iou(np.zeros(len(table), np.float32), (families,))[0]) for one in sets]

    def score(index: int, offsets: np.ndarray) -> float:
        of_groups, of_families = sets[index].iou(offsets, (groups, families))
        value = float(of_groups.mean()) if len(of_groups) else 0.0
        if told[index] and told[index] >= _MANY * max(told):
            value += _FAMILIES * float(of_families.mean())
        return sets[index].share * value

    offsets = np.zeros(len(table), np.float32)
    scores = [score(i, offsets) for i in range(len(sets))]
    for step in STEPS:
        for _ in range(ROUNDS):
            before = offsets
            for c in range(len(table)):
                concerned = [i for i, shown in enumerate(shows) if c in shown]
                for change in (-step, step) if concerned else ():
                    tried = offsets.copy()
                    tried[c] += change
                    found = {i: score(i, tried) for i in concerned}
                    gain = sum(found[i] - scores[i] for i in concerned)
                    if gain - COST * float((tried ** 2).sum() - (offsets ** 2).sum()) > _LEAST_GAIN:
                        offsets = tried
                        scores = [found[i] if i in found else score(i, offsets) for i in range(len(sets))]
                        break
            if offsets is before:
                break
    return [round(float(v), 4) for v in offsets]
