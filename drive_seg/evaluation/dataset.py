"""The `dataset.yaml` format: images with class labels, and what each class means to a planner.

    name: lums_road
    licence: CC BY 4.0
    ignore: 255                 # pixels with this id are left out of every score and every loss
    classes:
      0: {name: background_or_unlabelled, group: [background, obstacle]}   # one of these, not known which
      2: {name: road, group: road}

What a network that learns on from a file (`drive-seg train --start-from`) should get and lose, where --classes does not
say:

    heads:
      add: [crate]              # classes of this list that the network lacks, each of one group
      drop: [guard_rail]        # classes of the network

Beside it lie SPLIT/images/NAME.jpg (or .png) and SPLIT/labels/NAME.png (8-bit class ids) for each split. An id in
a label picture that is neither a class nor `ignore` is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.classes import Group
from drive_seg.errors import DriveSegError
from drive_seg.image_file import read_pixels
from drive_seg.yaml_file import YamlError, read_yaml

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class DatasetError(DriveSegError, ValueError):
    """A data set that can't be used; the message names the file and the fix."""


@dataclass(frozen=True)
class LabelClass:
    """One class of a data set. groups: the planner groups that it may be; more than one = not known which."""

    id: int
    name: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Pair:
    """One image and its labels on disk. ids: those that the data set describes."""

    name: str
    image: Path
    labels: Path
    ids: frozenset[int]

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The image (H, W, 3) uint8 BGR and its class ids (H, W) uint8. Raises DatasetError."""
        image, labels = _picture(self.image, cv2.IMREAD_COLOR), _picture(self.labels, cv2.IMREAD_UNCHANGED)
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise DatasetError(f"{self.labels} must be an 8-bit picture with one channel of class ids")
        if labels.shape != image.shape[:2]:
            raise DatasetError(f"{self.labels} is {labels.shape[::-1]}, its image {image.shape[1::-1]}")
        self._check_ids(labels)
        return image, labels

    def _check_ids(self, labels: np.ndarray) -> None:
        """Pixels that nothing is known about would drop out of losses and scores unseen."""
        counts = np.bincount(labels.ravel(), minlength=256)
        strange = [int(id_) for id_ in np.flatnonzero(counts) if int(id_) not in self.ids]
        if strange:
            share = counts[strange].sum() / labels.size
            raise DatasetError(f"{self.labels} has the id{'s' if len(strange) > 1 else ''}"
                               f" {', '.join(map(str, strange))} ({share:.1%} of its pixels), which dataset.yaml does"
                               " not name",
                               "add to `classes`, or make it `ignore`")


def _picture(path: Path, flags: int) -> np.ndarray:
    pixels = read_pixels(path, flags)
    if pixels is None:
        raise DatasetError(f"{path} is missing or is not an image")
    return pixels


@dataclass(frozen=True)
class Dataset:
    """A data set on disk. ignore: the id that is left out, None when there is none. add, drop: names of classes that a
    network that learns on from a file should get and lose."""

    root: Path
    name: str
    licence: str
    ignore: int | None
    classes: tuple[LabelClass, ...]
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    @classmethod
    def load(cls, root: str | Path) -> Dataset:
        """Read DIR/dataset.yaml. Raises DatasetError."""
        root = Path(root).expanduser()
        file = root / "dataset.yaml"
        if not file.is_file():
            raise DatasetError(f"no data set at {root}", "it needs a dataset.yaml (see drive-seg evaluate --help)")
        try:
            facts = read_yaml(file)
        except YamlError as error:
            raise DatasetError(error.reason, error.fix) from error
        try:
            classes = tuple(_read_class(int(id_), row) for id_, row in facts["classes"].items())
            ignore = facts.get("ignore")
            dataset = cls(root, str(facts.get("name", root.name)), str(facts.get("licence", "not stated")),
                          None if ignore is None else int(ignore), classes, *_read_heads(facts.get("heads") or {}))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DatasetError(f"{file}: `classes` must map ids to {{name, group}}: {error!r}") from error
        if not classes or len({c.id for c in classes}) != len(classes):
            raise DatasetError(f"{file}: `classes` is empty or an id appears twice")
        return dataset

    @property
    def splits(self) -> list[str]:
        return sorted(p.parent.name for p in self.root.glob("*/images") if p.is_dir())

    def pairs(self, split: str) -> list[Pair]:
        """The images of a split, sorted by name. Raises DatasetError for a split or a label file that is missing."""
        folder = self.root / split / "images"
        if not folder.is_dir():
            raise DatasetError(f"{self.root} has no split {split!r}; it has: {', '.join(self.splits) or 'none'}")
        images = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise DatasetError(f"{folder} has no images")
        ids = frozenset(c.id for c in self.classes) | ({self.ignore} if self.ignore is not None else frozenset())
        pairs = [Pair(p.stem, p, self.root / split / "labels" / f"{p.stem}.png", ids) for p in images]
        for pair in pairs:
            if not pair.labels.is_file():
                raise DatasetError(f"{pair.image} has no labels: {pair.labels} is missing")
        return pairs


def _read_class(id_: int, row: dict) -> LabelClass:
    groups = row["group"] if isinstance(row["group"], list) else [row["group"]]
    if not 0 <= id_ <= 255:
        raise ValueError(f"class id {id_} is not in 0..255")
    unknown = [g for g in groups if str(g).upper() not in Group.__members__]
    if unknown or not groups:
        raise ValueError(f"group {row['group']!r} of class {id_} must be among"
                         " background, road, pavement, obstacle")
    return LabelClass(id_, str(row["name"]), tuple(Group[str(g).upper()] for g in groups))


def _read_heads(row: dict) -> tuple[tuple[str, ...], tuple[str, ...]]:
    lists = {name: row.get(name) or [] for name in ("add", "drop")}
    if set(row) - set(lists) or not all(isinstance(one, list) for one in lists.values()):
        raise ValueError(f"`heads` must be {{add: [names], drop: [names]}}, it is {row!r}")
    return tuple(map(str, lists["add"])), tuple(map(str, lists["drop"]))


def ego_region(ignored: np.ndarray, least_width: float = 0.3) -> np.ndarray:
    """The vehicle itself among the ignored pixels: what hangs together, reaches the lower edge and is at least that
    share of the picture wide. Slivers, as the frame that rectification leaves, are not part of it.

    ignored: (H, W) bool. Returns (H, W) bool.
    """
    whole = cv2.morphologyEx(ignored.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=4)
    wide = stats[:, cv2.CC_STAT_WIDTH] >= least_width * ignored.shape[1]
    low = np.zeros(len(stats), np.bool_)
    low[np.unique(pieces[-1])] = True
    low[0] = False  # what is not ignored
    return (low & wide)[pieces]
