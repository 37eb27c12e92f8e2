"""The scores of a network on a data set, summed image by image."""

from __future__ import annotations

import numpy as np

from drive_seg.core.classes import LABEL_NAMES, UNKNOWN, ClassTable, Group
from drive_seg.core.segmentation import Segmentation
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.metrics import boundary_counts, confusion, iou
from drive_seg.evaluation.relation import common_classes

GROUPS = len(Group)
PARTLY = GROUPS
"""Row of the group matrix for pixels labelled only as "one of several groups"."""


class Scores:
    """Adds up images and gives the report.

    Class scores are of the classes that both can tell (see relation.common_classes): where the data set does not label
    terrain, what the network calls terrain counts as tree. A data set without the network's classes is scored on the
    planner groups; then `iou`, `boundary_iou` and `pixel_accuracy` are those of the groups.

    A pixel that is labelled only as one of several groups is right with any of them, and then left out of the IoU,
    which would have to say which. Called anything else, it is a false pixel of the group it was called.

    Where the network tells more than the data set, and its class lies in another group than the truth's (a wall within
    what is labelled building), the pixel is left out of the groups' IoU.

    Groups are scored on `labels`, classes on `classes`. In both a pixel can be unknown, and that is never right:
    class_matrix and group_matrix have a last column for it.
    """

    def __init__(self, dataset: Dataset, table: ClassTable) -> None:
        self.common = common_classes(dataset, table)
        self.on_classes = self.common is not None
        self.names = self.common.names if self.common is not None else [LABEL_NAMES[g] for g in Group]
        self._row = np.full(256, UNKNOWN, np.uint8)  # of the group matrix, by class id of the data set
        self._may_be = np.zeros((256, 256), np.bool_)  # class id of the data set x label
        for c in dataset.classes:
            if c.id == dataset.ignore:
                continue
            self._row[c.id] = c.groups[0] if len(c.groups) == 1 else PARTLY
            self._may_be[c.id, list(c.groups)] = True
        self.images = 0
        self.class_matrix = np.zeros((len(self.names) + 1, len(self.names) + 1), np.int64)
        self.group_matrix = np.zeros((GROUPS + 1, GROUPS + 1), np.int64)
        self._boundary = np.zeros((len(self.names), 2), np.int64)
        self._right = self._labelled = 0
        self._drivable = dict.fromkeys(("called", "wrong", "obstacle", "road", "hit"), 0)

    def add(self, result: Segmentation, truth: np.ndarray) -> float:
        """Add one image. truth: (H, W) uint8 class ids of the data set. Returns the image's pixel accuracy."""
        rows = self._row[truth]
        labelled = rows != UNKNOWN
        settled = self._may_be[truth, result.labels]
        partly_right = (rows == PARTLY) & settled
        count, common = len(self.names), self.common
        if common is not None:
            true = common.truth[truth]
            # A pixel without an answer (UNKNOWN) is none of the classes, as is one that truth never shows.
            predicted = np.where(result.classes == UNKNOWN, np.uint8(count), common.predicted[result.classes])
            fits = common.possible[truth, result.classes] & labelled
            settled_class = fits & (true == count)
            right = ((true == predicted) | settled_class) & labelled
            self.class_matrix += confusion(np.where(settled_class, np.uint8(UNKNOWN), true), predicted,
                                           count + 1, count + 1)
            left_out = partly_right | (fits & ~settled & (result.labels != UNKNOWN))
        else:
            true, predicted, right, settled_class = rows, result.labels, settled & labelled, partly_right
            left_out = partly_right
        columns = np.where(result.labels == UNKNOWN, np.uint8(GROUPS), result.labels)
        self.group_matrix += confusion(np.where(left_out, np.uint8(UNKNOWN), rows), columns, GROUPS + 1, GROUPS + 1)
        self._boundary += boundary_counts(true, predicted, count, ~labelled, settled_class)
        if result.drivable is not None:
            self.add_drivable(result.drivable, truth)
        self.images += 1
        self._right += int(right.sum())
        self._labelled += int(labelled.sum())
        return float(right.sum() / max(1, labelled.sum()))

    def add_drivable(self, drivable: np.ndarray, truth: np.ndarray) -> None:
        """Add the mask of one image alone; `add` does so with the rest. drivable: (H, W) uint8, 0 where it is not.
        truth: (H, W) uint8 class ids of the data set."""
        rows = self._row[truth]
        road = rows == Group.ROAD
        maybe_road = (rows == PARTLY) & self._may_be[truth, Group.ROAD]
        called = (drivable > 0) & (rows != UNKNOWN) & ~maybe_road
        obstacle = rows == Group.OBSTACLE
        for name, pixels in (("called", called), ("wrong", called & ~road), ("obstacle", called & obstacle),
                             ("road", road), ("hit", called & road)):
            self._drivable[name] += int(pixels.sum())

    def report(self) -> dict:
        """The scores: shares of 0..1, None where the data set gives no answer.

        boundary_iou: Cheng et al. 2021, over the whole split. drivable: `iou` of the mask with the true road;
        `false_drivable`, `false_drivable_obstacle`: shares of the pixels called drivable; `missed`: share of true road.
        """
        groups = iou(self.group_matrix)[:GROUPS]
        values = iou(self.class_matrix)[:-1] if self.on_classes else groups
        union = self._boundary[:, 1]
        bands = np.divide(self._boundary[:, 0], union, out=np.full(len(self.names), np.nan), where=union > 0)
        bands[np.isnan(values)] = np.nan  # a class that truth never shows has no score, whatever was called so
        count = self._drivable
        return {
            "scored_on": "classes" if self.on_classes else "groups",
            "miou": _mean(values),
            "iou": _by_name(self.names, values),
            "boundary_iou": {**_by_name(self.names, bands), "mean": _mean(bands)},
            "group_iou": _by_name([LABEL_NAMES[g] for g in Group], groups),
            "drivable": {
                "iou": _ratio(count["hit"], count["called"] + count["road"] - count["hit"]),
                "false_drivable": _ratio(count["wrong"], count["called"]),
                "false_drivable_obstacle": _ratio(count["obstacle"], count["called"]),
                "missed": _ratio(count["road"] - count["hit"], count["road"]),
            },
            "pixel_accuracy": _ratio(self._right, self._labelled),
            "images": self.images,
        }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: np.ndarray) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _by_name(names: list[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: float(v) if np.isfinite(v) else None for name, v in zip(names, values, strict=True)}
