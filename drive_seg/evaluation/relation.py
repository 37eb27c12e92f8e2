"""How the classes of a data set relate to a network's: the same, finer, coarser, or known only as planner groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive_seg.core.classes import UNKNOWN, ClassTable
from drive_seg.evaluation.dataset import Dataset, LabelClass


def possible_classes(dataset: Dataset, table: ClassTable) -> dict[int, tuple[int, ...]]:
    """For each class id of a data set that is not ignored, the network classes that its pixels may be.

    A class with a network class's name (or one of its `also`) and group is that class; and each class `within` it that
    the data set does not tell by itself, as a `tree` may be terrain where nothing is labelled terrain. Any other class
    may be every class of its groups, without the ego vehicle and without finer ones that the data set tells by
    themselves. Empty where the network has none.
    """
    declared = [c for c in dataset.classes if c.id != dataset.ignore]
    own = {c.id: _named(c, table) for c in declared}
    labelled = labelled_classes(dataset, table)
    allowed = {}
    for c in declared:
        if (same := own[c.id]) is not None:
            name = table.classes[same].name
            finer = [n.id for n in table.classes if n.within == name and n.id not in labelled]
            allowed[c.id] = tuple(sorted([same, *finer]))
        else:
            allowed[c.id] = tuple(n.id for n in table.classes if n.group in c.groups and not n.ego
                                  and not (n.within and n.id in labelled))
    return allowed


def labelled_classes(dataset: Dataset, table: ClassTable) -> set[int]:
    """Ids of the network's classes that a data set labels by themselves."""
    own = {_named(c, table) for c in dataset.classes if c.id != dataset.ignore}
    return {id_ for id_ in own if id_ is not None}


def _named(label: LabelClass, table: ClassTable) -> int | None:
    """The network class with the name and group of a data set's class."""
    return next((n.id for n in table.classes if label.name in (n.name, *n.also) and n.group in label.groups), None)


@dataclass(frozen=True)
class CommonClasses:
    """The classes that a data set and a network can both tell, 0..n-1.

    names: n of them, each a network class's. ids: that class's id in the network. truth: by class id of the data set,
    (256,) uint8: the common class, n for "one of several", UNKNOWN where it is ignored. predicted: by class id of the
    network, (256,) uint8: the common class, n for one that the data set never tells. possible: (256, 256) bool, class
    id of the data set x class id of the network.
    """

    names: list[str]
    ids: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    possible: np.ndarray


def common_classes(dataset: Dataset, table: ClassTable) -> CommonClasses | None:
    """What both can tell, None where the data set lacks one of the network's classes that are within no other (but for
    the ego vehicle): then only the planner groups are common."""
    allowed = possible_classes(dataset, table)
    own = {c.id: _named(c, table) for c in dataset.classes if c.id in allowed}
    labelled = labelled_classes(dataset, table)
    if not {n.id for n in table.classes if not n.within and not n.ego} <= labelled:
        return None
    by_name = {n.name: n.id for n in table.classes}
    common = [n.id for n in table.classes if n.id in labelled]
    truth, predicted = np.full(256, UNKNOWN, np.uint8), np.full(256, len(common), np.uint8)
    for n in table.classes:
        whole = n.id if n.id in labelled else by_name.get(n.within)
        if whole is not None:
            predicted[n.id] = common.index(whole)
    possible = np.zeros((256, 256), np.bool_)
    for id_, same in own.items():
        truth[id_] = len(common) if same is None else common.index(same)
        possible[id_, list(allowed[id_])] = True
    names = [table.classes[id_].name for id_ in common]
    return CommonClasses(names, np.array(common, np.uint8), truth, predicted, possible)
