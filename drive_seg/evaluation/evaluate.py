"""Scores a segmenter on a split of a data set: the node's own core on labelled images."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.classes import LABEL_COLOURS, LABEL_NAMES, UNKNOWN, Group
from drive_seg.core.segmenter import Segmenter
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.pictures import draw_confusion, side_by_side
from drive_seg.evaluation.scores import Scores


def evaluate(segmenter: Segmenter, dataset: Dataset, split: str, pictures: Path | None = None, worst: int = 8,
             progress: Callable[[int, int], None] | None = None) -> dict:
    """Segment every image of a split at its own size and compare with its labels; the keys are Scores.report's.

    pictures: folder for confusion.png and the `worst` images (least pixel accuracy) beside truth and prediction.
    progress: called with (images done, images in all). Raises DatasetError, FrameError or EngineError.
    """
    pairs = dataset.pairs(split)
    scores = Scores(dataset, segmenter.table)
    poorest: list[tuple[float, str, np.ndarray]] = []
    for index, pair in enumerate(pairs):
        image, truth = pair.read()
        result = segmenter.segment(image)
        accuracy = scores.add(result, truth)
        if pictures is not None:
            picture = _compare(image, truth, result, dataset, segmenter, scores)
            heapq.heappush(poorest, (-accuracy, pair.name, picture))
            if len(poorest) > worst:
                heapq.heappop(poorest)
        if progress is not None:
            progress(index + 1, len(pairs))
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(pictures / "confusion.png"), _draw_matrix(scores))
        for rank, (accuracy, name, picture) in enumerate(sorted(poorest, key=lambda one: -one[0]), 1):
            cv2.imwrite(str(pictures / f"worst_{rank:02d}_{name}_{-100 * accuracy:.1f}.png"), picture)
    return scores.report()


def _draw_matrix(scores: Scores) -> np.ndarray:
    if scores.on_classes:
        return draw_confusion(scores.class_matrix[:-1], scores.names, [*scores.names, "none of these"])
    groups = [LABEL_NAMES[g] for g in Group]
    return draw_confusion(scores.group_matrix, [*groups, "one of several"], [*groups, "unknown"])


def _compare(image: np.ndarray, truth: np.ndarray, result, dataset: Dataset, segmenter: Segmenter,
             scores: Scores) -> np.ndarray:
    if (common := scores.common) is not None:
        ids = np.append(common.ids, np.full(256 - len(common.ids), UNKNOWN, np.uint8))[common.truth]
        return side_by_side(image, ids[truth], result.classes, segmenter.table.colour_lut)
    colours = np.zeros((256, 3), np.uint8)
    for label, colour in LABEL_COLOURS.items():
        colours[label] = colour
    group = np.full(256, 254, np.uint8)  # black: unlabelled, or labelled as one of several
    for c in dataset.classes:
        if c.id != dataset.ignore and len(c.groups) == 1:
            group[c.id] = c.groups[0]
    return side_by_side(image, group[truth], result.labels, colours)
