"""Ground truth for a replay: labelled frames of the bag, scored exactly as `drive-seg evaluate` scores images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.classes import ClassTable
from drive_seg.core.segmentation import Segmentation
from drive_seg.errors import DriveSegError, reason_and_fix
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.evaluation.scores import Scores
from drive_seg.image_file import read_pixels
from drive_seg.sources.bag import BagImage

_NONE_BELONGS = "no labels of {} belong to a frame of the bag: name them by stamp (nanoseconds) or by frame index"


class TruthError(DriveSegError, ValueError):
    """Labels that do not fit the bag; the message names the fix."""


def label_files(folder: Path) -> tuple[Path, list[Path]]:
    """The folder of dataset.yaml, and the PNGs of labels, sorted. folder: see Truth. Raises TruthError."""
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise TruthError(f"there is no folder of labels at {folder}")
    root = next((p for p in (folder, *list(folder.parents)[:2]) if (p / "dataset.yaml").is_file()), None)
    if root is None:
        raise TruthError(f"{folder} has no dataset.yaml in it or above", "it says what the class ids mean")
    where = folder / "labels" if (folder / "labels").is_dir() else folder
    files = sorted(where.glob("*.png"))
    if not files:
        raise TruthError(f"{where} has no PNG files", "name them by stamp (nanoseconds) or by frame index")
    return root, files


class Truth:
    """Labels by frame, and the scores so far.

    The folder holds one PNG of class ids a frame (or has them in labels/); its dataset.yaml lies in it or above. A PNG
    belongs to a frame by its name: the frame's index in the bag, or the header stamp in nanoseconds, whichever the
    names fit. Any other names are taken in their order when there are as many as frames. Not every frame needs
    labels, unless by order.
    """

    def __init__(self, dataset: Dataset, files: dict[int, Path], by_stamp: bool, table: ClassTable) -> None:
        self.dataset = dataset
        self._files = files
        self._by_stamp = by_stamp
        self._scores = Scores(dataset, table)
        self._steady = self._kept = 0
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._problem: str | None = None

    @classmethod
    def open(cls, folder: Path, table: ClassTable, frames: int, stamps: tuple[int, int] | None = None) -> Truth:
        """Labels for a bag with so many frames. stamps: of its first and its last frame in nanoseconds, None where they
        are not known. Raises TruthError."""
        root, files = label_files(folder)
        try:
            dataset = Dataset.load(root)
        except DatasetError as error:
            raise TruthError(*reason_and_fix(error)) from error
        _read(files[0])
        where = files[0].parent
        numbers = [int(p.stem) for p in files if p.stem.isdecimal()]
        if len(set(numbers)) == len(files):
            by_stamp = not _are_indices(numbers, frames, stamps)
            if not by_stamp and max(numbers) >= frames:
                raise TruthError(f"{where} has labels for frame {max(numbers)}, the bag has {frames} frames",
                                 "indices begin at 0")
            if by_stamp and stamps is not None and not _between(numbers, stamps):
                raise TruthError(_NONE_BELONGS.format(root))
            return cls(dataset, dict(zip(numbers, files, strict=True)), by_stamp, table)
        if len(files) != frames:
            raise TruthError(f"{where} has {len(files)} labels, the bag {frames} frames",
                             "name them by stamp (nanoseconds) or by frame index")
        return cls(dataset, dict(enumerate(files)), False, table)

    def check(self, first: BagImage, size: tuple[int, int]) -> None:
        """Compare the labels of a bag's first frame, if it has any, with the (height, width) of its masks. Raises
        TruthError."""
        file = self._file(first)
        if file is not None:
            _read(file, size)

    def add(self, source: BagImage, segmentation: Segmentation) -> dict | None:
        """Score one frame; None when it has no labels. Labels that are none end the scoring, see `scores`."""
        file = self._file(source)
        if file is None or self._problem is not None:
            self.skip()
            return None
        try:
            truth = _read(file, segmentation.labels.shape)
        except TruthError as error:
            self._problem = str(error)
            return None
        accuracy = self._scores.add(segmentation, truth)
        if self._before is not None and self._before[0].shape == truth.shape:
            steady = truth == self._before[0]
            if self.dataset.ignore is not None:
                steady &= truth != self.dataset.ignore
            self._steady += int(np.count_nonzero(steady))
            self._kept += int(np.count_nonzero(steady & (segmentation.labels == self._before[1])))
        self._before = (truth, segmentation.labels)
        return {"pixel_accuracy": round(accuracy, 5)}

    def skip(self) -> None:
        """A frame without labels or result."""
        self._before = None

    def _file(self, source: BagImage) -> Path | None:
        return self._files.get(source.stamp_ns if self._by_stamp else source.index)

    def scores(self) -> dict:
        """What `drive-seg evaluate` reports, and `temporal_consistency`: of the pixels whose true class stays the same
        from one labelled frame to the next, the share whose planner label does too. Raises TruthError for labels
        that were none, or when none belonged to any frame.
        """
        if self._problem is not None:
            raise TruthError(self._problem)
        if not self._scores.images:
            raise TruthError(_NONE_BELONGS.format(self.dataset.root))
        consistency = self._kept / self._steady if self._steady else None
        return {**self._scores.report(), "temporal_consistency": consistency, "dataset": self.dataset.name}


def _are_indices(numbers: list[int], frames: int, stamps: tuple[int, int] | None) -> bool:
    """Whether the names of labels are indices, some of which the bag may lack, and not stamps."""
    fit = sum(number < frames for number in numbers)
    if fit == len(numbers):
        return True
    if fit > 1 and 2 * fit >= len(numbers):  # of stamps, also of a simulation, two are never so close
        return True
    return fit > 0 and stamps is not None and not _between(numbers, stamps)


def _between(numbers: list[int], stamps: tuple[int, int]) -> int:
    return sum(stamps[0] <= number <= stamps[1] for number in numbers)


def _read(file: Path, size: tuple[int, ...] | None = None) -> np.ndarray:
    """Class ids (H, W) uint8, of the (height, width) of a frame. Raises TruthError."""
    truth = read_pixels(file, cv2.IMREAD_UNCHANGED)
    if truth is None or truth.ndim != 2 or truth.dtype != np.uint8:
        raise TruthError(f"{file} is not an 8-bit picture with one channel of class ids")
    if size is not None and truth.shape != size:
        raise TruthError(f"{file} is {truth.shape[1]}x{truth.shape[0]}, the frame is {size[1]}x{size[0]}",
                         "these are not the labels of this bag")
    return truth
