"""Runs two networks over labelled data sets and over drives, and measures what the second changed.

Everything is summed picture by picture; only the pictures that changed most are kept.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from drive_seg.comparison.changes import BETTER, SAME, WORSE, Judge, Region, change_codes, regions, transitions
from drive_seg.core.classes import LABEL_NAMES, Group
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.health.network import NetworkHealth
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.scores import Scores
from drive_seg.network import Network
from drive_seg.replay.measure import Measure
from drive_seg.sources.frame_source import FrameSource

PLANNING = (Group.ROAD, Group.PAVEMENT, Group.OBSTACLE)
"""The groups whose mean IoU decides."""

KEPT = 12
"""Pictures that are kept of each data set and drive."""

TOLERANCE = 0.005
"""IoU that a network may lose without being called worse: less than that is noise."""

SURE = 250
"""Confidence, 0..255, from which a label of the former network is hardly ever wrong, and should stay."""

LEAST_PAIRS = 10
"""Pairs of neighbouring frames below which nothing is said of labels that stay: the mean of a few is chance."""

_WIDTH = 480  # pixels of a kept picture
_GAP_NS = 1_000_000_000  # between two frames that are not neighbours
_APART = 10  # frames between two kept pictures of a drive


@dataclass(frozen=True)
class Side:
    """One of the two networks."""

    network: Network
    segmenter: Segmenter


@dataclass(frozen=True)
class Example:
    """A picture that changed, shrunk: image (h, w, 3) uint8 BGR, labels and drivable of both, (h, w) uint8, and codes
    (see changes). changed: share of its pixels; better, worse: likewise where truth is known. full_width: of the
    picture before, in pixels, which the boxes of `regions` are in."""

    name: str
    image: np.ndarray
    former: np.ndarray
    new: np.ndarray
    former_drivable: np.ndarray
    new_drivable: np.ndarray
    codes: np.ndarray
    changed: float
    better: float | None
    worse: float | None
    regions: list[Region]
    full_width: int


@dataclass
class Compared:
    """What came of one data set or drive. kind: `labelled` or `drive`. former, new: figures by name, 0..1 (in standard
    deviations: domain_shift), None where they say nothing. reports: Scores.report of both, of a labelled set. changed:
    share of the pixels; better, worse: of those that truth is known of. agreement: `labels`, share of the pixels that
    kept theirs; `sure`, of those that the former network was sure of; `drivable`, IoU of the drivable areas."""

    name: str
    kind: str
    pictures: int = 0
    skipped: list[str] = field(default_factory=list)
    former: dict[str, float | None] = field(default_factory=dict)
    new: dict[str, float | None] = field(default_factory=dict)
    reports: tuple[dict, dict] | None = None
    changed: float = 0.0
    better: float | None = None
    worse: float | None = None
    agreement: dict[str, float] = field(default_factory=dict)
    transitions: np.ndarray = field(default_factory=lambda: np.zeros((5, 5), np.int64))
    examples: list[Example] = field(default_factory=list)

    @property
    def gain(self) -> float | None:
        """Change of the mean IoU of road, pavement and obstacle; None without truth."""
        former, new = self.former.get("planning_iou"), self.new.get("planning_iou")
        return None if former is None or new is None else new - former

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "kind": self.kind, "pictures": self.pictures, "skipped": len(self.skipped),
                "former": self.former, "new": self.new, "gain": self.gain, "changed": self.changed,
                "better": self.better, "worse": self.worse, "agreement": self.agreement,
                "transitions": self.transitions.tolist(),
                "examples": [{"name": e.name, "changed": e.changed, "better": e.better, "worse": e.worse,
                              "regions": [str(r) for r in e.regions]} for e in self.examples]}


def compare_labelled(former: Side, new: Side, dataset: Dataset, split: str,
                     progress: Callable[[], None] = lambda: None) -> Compared:
    """Both networks on a split of a data set. Raises DatasetError, FrameError or EngineError."""
    result = Compared(f"{dataset.name}, {split}", "labelled")
    judge, collected = Judge(dataset), _Collected(apart=1)
    scores = (Scores(dataset, former.segmenter.table), Scores(dataset, new.segmenter.table))
    labelled = better = worse = 0
    for index, pair in enumerate(dataset.pairs(split)):
        image, truth = pair.read()
        answers = (former.segmenter.segment(image), new.segmenter.segment(image))
        for score, answer in zip(scores, answers, strict=True):
            score.add(answer, truth)
        codes = change_codes(answers[0].labels, answers[1].labels, truth, judge)
        collected.add(index, pair.name, image, *answers, codes, judged=True)
        labelled += int(judge.labelled(truth).sum())
        better += int((codes == BETTER).sum())
        worse += int((codes == WORSE).sum())
        progress()
    result.reports = reports = (scores[0].report(), scores[1].report())
    result.former, result.new = (_figures(report) for report in reports)
    result.better, result.worse = better / max(1, labelled), worse / max(1, labelled)
    return collected.into(result)


def _figures(report: dict) -> dict[str, float | None]:
    groups, drivable = report["group_iou"], report["drivable"]
    return {"planning_iou": planning_iou(report), **{f"{LABEL_NAMES[g]}_iou": groups[LABEL_NAMES[g]] for g in PLANNING},
            "miou": report["miou"], "pixel_accuracy": report["pixel_accuracy"],
            "boundary_iou": report["boundary_iou"]["mean"],
            **{f"drivable_{name}": drivable[name] for name in ("iou", "false_drivable", "false_drivable_obstacle",
                                                               "missed")}}


def planning_iou(report: dict) -> float | None:
    """Mean IoU of road, pavement and obstacle in a Scores.report, of those that truth shows; None without any."""
    values = [report["group_iou"][LABEL_NAMES[g]] for g in PLANNING]
    shown = [value for value in values if value is not None]
    return sum(shown) / len(shown) if shown else None


def compare_drive(former: Side, new: Side, source: FrameSource | Iterable, name: str, *, every: int = 1,
                  progress: Callable[[], None] = lambda: None) -> Compared:
    """Both networks on every `every`-th frame of a drive. Raises SourceError or EngineError."""
    result, collected = Compared(name, "drive"), _Collected(apart=_APART)
    watchers = tuple(_Watcher(side.network) for side in (former, new))
    before = None
    for index, shot in enumerate(itertools.islice(source, 0, None, every)):
        progress()
        if before is not None and not 0 <= shot.stamp_ns - before <= _GAP_NS:
            for watcher in watchers:
                watcher.gap()
        before = shot.stamp_ns
        try:
            frame = shot.frame
            answers = (former.segmenter.segment(frame), new.segmenter.segment(frame))
        except FrameError as error:
            result.skipped.append(f"frame {shot.name}: {error}")
            for watcher in watchers:
                watcher.gap()
            continue
        for watcher, answer in zip(watchers, answers, strict=True):
            watcher.add(answer, shot.stamp_ns)
        codes = change_codes(answers[0].labels, answers[1].labels)
        collected.add(index, shot.name, frame, *answers, codes, judged=False)
    result.former, result.new = (watcher.figures() for watcher in watchers)
    return collected.into(result)


class _Watcher:
    """Sums what one network says of a drive."""

    def __init__(self, network: Network) -> None:
        self._measure, self._network = Measure(), network
        self._records: list[tuple[float, float, float]] = []  # confidence, unknown, drivable
        self._changed: list[float] = []
        self._last: dict | None = None
        self._flicker: list[float] = []
        self._health = NetworkHealth(network.typical)
        self._shifts: list[float] = []

    def add(self, answer: Segmentation, stamp_ns: int) -> None:
        record = self._measure.add(answer)
        if self._last is not None and self._last["flicker"] is not None:
            self._flicker.append(self._last["flicker"])
        self._last = record
        self._records.append((record["confidence"], record["shares"]["unknown"], record["drivable"]))
        if record["changed"] is not None:
            self._changed.append(record["changed"])
        self._health.observe(answer.labels, answer.confidence, stamp_ns / 1e9)
        if self._health.shift is not None:
            self._shifts.append(self._health.shift)

    def gap(self) -> None:
        self._measure.gap()
        self._last = None

    def figures(self) -> dict[str, float | None]:
        confidence, unknown, drivable = np.mean(self._records, axis=0) if self._records else (None,) * 3
        return {"confidence": _number(confidence), "unknown": _number(unknown), "drivable": _number(drivable),
                "steadiness": 1 - float(np.mean(self._changed)) if len(self._changed) >= LEAST_PAIRS else None,
                "flicker": float(np.mean(self._flicker)) if self._flicker else None,
                "domain_shift": float(np.mean(self._shifts)) if self._shifts else None}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


class _Collected:
    """Sums of the changes, and the pictures that changed most: of each `apart` that follow each other one."""

    def __init__(self, apart: int) -> None:
        self._apart = apart
        self._pictures = self._pixels = self._changed = 0
        self._both = self._either = self._sure = self._sure_same = 0
        self._transitions = np.zeros((5, 5), np.int64)
        self._heap: list[tuple[float, int, Example]] = []

    def add(self, index: int, name: str, image: Frame | np.ndarray, former: Segmentation, new: Segmentation,
            codes: np.ndarray, *, judged: bool) -> None:
        share = float((codes != SAME).mean())
        self._pictures += 1
        self._pixels += codes.size
        self._changed += int((codes != SAME).sum())
        self._transitions += transitions(former.labels, new.labels)
        sure = former.confidence >= SURE
        self._sure += int(sure.sum())
        self._sure_same += int((sure & (codes == SAME)).sum())
        one, other = former.drivable_mask > 0, new.drivable_mask > 0
        self._both += int((one & other).sum())
        self._either += int((one | other).sum())
        if share == 0:
            return
        near = next((entry for entry in self._heap if abs(entry[1] - index) < self._apart), None)
        if near is not None:
            if near[0] >= share:
                return
            self._heap.remove(near)
            heapq.heapify(self._heap)
        elif len(self._heap) == KEPT and self._heap[0][0] >= share:
            return
        bgr = image.bgr() if isinstance(image, Frame) else image
        example = _example(name, bgr, former, new, codes, share, judged)
        heapq.heappush(self._heap, (share, index, example))
        if len(self._heap) > KEPT:
            heapq.heappop(self._heap)

    def into(self, result: Compared) -> Compared:
        result.pictures = self._pictures
        result.changed = self._changed / max(1, self._pixels)
        result.transitions = self._transitions
        result.agreement = {"labels": 1 - result.changed,
                            "sure": self._sure_same / self._sure if self._sure else 1.0,
                            "drivable": self._both / self._either if self._either else 1.0}
        result.examples = [example for _, _, example in sorted(self._heap, key=lambda entry: -entry[0])]
        return result


def _example(name: str, image: np.ndarray, former: Segmentation, new: Segmentation, codes: np.ndarray, share: float,
             judged: bool) -> Example:
    def small(picture: np.ndarray, how: int = cv2.INTER_NEAREST) -> np.ndarray:
        if picture.shape[1] <= _WIDTH:
            return picture.copy()
        return cv2.resize(picture, (_WIDTH, max(1, round(_WIDTH * picture.shape[0] / picture.shape[1]))),
                          interpolation=how)

    return Example(name, small(image, cv2.INTER_AREA), small(former.labels), small(new.labels),
                   small(former.drivable_mask), small(new.drivable_mask), small(codes), share,
                   float((codes == BETTER).mean()) if judged else None,
                   float((codes == WORSE).mean()) if judged else None,
                   regions(former.labels, new.labels, codes), codes.shape[1])


def worse_sets(compared: Iterable[Compared], tolerance: float = TOLERANCE) -> list[Compared]:
    """The labelled sets on which the new network is worse."""
    return [one for one in compared if one.gain is not None and one.gain < -tolerance]

