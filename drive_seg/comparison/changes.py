"""What changed between two networks' labels of one picture, and whether that is better where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.core.classes import LABEL_NAMES, UNKNOWN, Group
from drive_seg.evaluation.dataset import Dataset

SAME, BETTER, WORSE, OTHER = 0, 1, 2, 3
"""Codes of a change picture: not changed; changed from wrong to right; from right to wrong; changed, and neither or not
known which."""

CODE_COLOURS = {BETTER: (40, 190, 90), WORSE: (235, 50, 50), OTHER: (250, 190, 30)}
"""RGB."""

LABELS = (*(int(g) for g in Group), UNKNOWN)
"""Rows and columns of a matrix of transitions."""

_INDEX = np.full(256, len(Group), np.uint8)
_INDEX[: len(Group)] = np.arange(len(Group))


class Judge:
    """Knows which labels are right for the classes of a data set."""

    def __init__(self, dataset: Dataset) -> None:
        self._may_be = np.zeros((256, 256), np.bool_)  # class id of the data set x planner label
        self._told = np.zeros(256, np.bool_)
        for c in dataset.classes:
            if c.id != dataset.ignore:
                self._told[c.id] = True
                self._may_be[c.id, list(c.groups)] = True

    def labelled(self, truth: np.ndarray) -> np.ndarray:
        """Where truth (H, W) uint8, class ids of the data set, says something: (H, W) bool."""
        return self._told[truth]

    def right(self, truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Where labels (H, W) uint8 are right, (H, W) bool."""
        return self._may_be[truth, labels]


def change_codes(former: np.ndarray, new: np.ndarray, truth: np.ndarray | None = None,
                 judge: Judge | None = None) -> np.ndarray:
    """(H, W) uint8 of SAME, BETTER, WORSE and OTHER. former, new: (H, W) uint8 planner labels."""
    changed = former != new
    codes = np.where(changed, np.uint8(OTHER), np.uint8(SAME))
    if truth is not None and judge is not None:
        was, is_ = judge.right(truth, former), judge.right(truth, new)
        labelled = changed & judge.labelled(truth)
        codes[labelled & is_ & ~was] = BETTER
        codes[labelled & was & ~is_] = WORSE
    return codes


def transitions(former: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Pixels by former label (rows) and new label (columns), (5, 5) int64 in the order of LABELS."""
    count = len(LABELS)
    index = _INDEX[former].astype(np.int64) * count + _INDEX[new]
    return np.bincount(index.ravel(), minlength=count * count).reshape(count, count)


@dataclass(frozen=True)
class Region:
    """A connected part of a picture that changed. share: of the picture, 0..1. box: (left, top, width, height) in
    pixels. former, new: the label that most of it had and has. verdict: `better`, `worse` or `` where neither is most.
    """

    share: float
    box: tuple[int, int, int, int]
    former: str
    new: str
    verdict: str

    def __str__(self) -> str:
        said = f" ({self.verdict})" if self.verdict else ""
        return f"{self.former} -> {self.new}, {self.share:.1%}{said}"


def regions(former: np.ndarray, new: np.ndarray, codes: np.ndarray, most: int = 4,
            least: float = 0.002) -> list[Region]:
    """The largest connected changes of a picture, at least `least` of it each."""
    changed = (codes != SAME).astype(np.uint8)
    changed = cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))  # not the seams of moved outlines
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(changed, connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    found = []
    for index in np.argsort(-areas)[:most] + 1:
        area = int(stats[index, cv2.CC_STAT_AREA])
        if index >= count or area < least * codes.size:
            break
        left, top, wide, high = (int(v) for v in stats[index, :4])
        box = np.s_[top:top + high, left:left + wide]
        inside = pieces[box] == index
        better, worse = (int((codes[box][inside] == code).sum()) for code in (BETTER, WORSE))
        verdict = "better" if better > area / 2 else "worse" if worse > area / 2 else ""
        found.append(Region(area / codes.size, (left, top, wide, high), _most(former[box][inside]),
                            _most(new[box][inside]), verdict))
    return found


def _most(labels: np.ndarray) -> str:
    return LABEL_NAMES[int(np.bincount(labels, minlength=256).argmax())]
