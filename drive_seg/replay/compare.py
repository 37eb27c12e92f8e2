"""Two results of the same drive: do they say the same, and where do they differ most?"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from drive_seg.replay.frames import read_frames
from drive_seg.replay.pictures import pictures, side_by_side
from drive_seg.replay.resultbag import Masks, ResultReader
from drive_seg.replay.settings import ReplayError

WORST = 10


@dataclass(frozen=True)
class Limits:
    """From when on two frames count as different.

    labels: least share of the pixels with the same label, 0..1. drivable: least IoU of the two drivable masks, 0..1.
    frames: how many frames may be under a limit, or be missing on one side.
    """

    labels: float = 1.0
    drivable: float = 1.0
    frames: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.labels <= 1 and 0 <= self.drivable <= 1 and self.frames >= 0):
            raise ReplayError("limits are shares of 0..1 and a number of frames of 0 or more, not"
                              f" {self.labels}, {self.drivable} and {self.frames}")

    def to_dict(self) -> dict:
        """For summary.json."""
        return asdict(self)


@dataclass
class Comparison:
    """What came of it. worst: the frames that agree least, {index, stamp_ns, log_ns, labels, drivable}, worst first.

    labels, drivable: mean and least agreement over the frames that both have. different: frames under a limit.
    """

    a: str
    b: str
    limits: Limits
    frames: int = 0
    identical: int = 0
    different: int = 0
    only_in_a: int = 0
    only_in_b: int = 0
    labels: dict[str, float] = field(default_factory=dict)
    drivable: dict[str, float] = field(default_factory=dict)
    worst: list[dict] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether no more frames differ or are missing than the limits allow."""
        return self.different + self.only_in_a + self.only_in_b <= self.limits.frames

    def to_dict(self) -> dict:
        """For summary.json and compare.json."""
        return {**asdict(self), "same": self.same}

    def lines(self) -> Iterator[str]:
        """What a person reads."""
        yield (f"{self.frames} frames in both, {self.identical} identical, {self.different} under a limit"
               f" (labels {self.limits.labels:g}, drivable {self.limits.drivable:g})")
        if self.only_in_a or self.only_in_b:
            yield f"only in A: {self.only_in_a} frames, only in B: {self.only_in_b}"
        if self.frames:
            yield (f"labels agree on {_percent(self.labels['mean'])} of the pixels (worst frame"
                   f" {_percent(self.labels['min'])}), drivable IoU {_percent(self.drivable['mean'])}"
                   f" (worst {_percent(self.drivable['min'])})")
        for frame in self.worst[:WORST]:
            yield (f"  frame {frame['index']}: labels {_percent(frame['labels'])},"
                   f" drivable {_percent(frame['drivable'])}")


def find_results(root: Path) -> dict[str, Path]:
    """Result folders by name: of one bag, or of a whole --out folder. Raises ReplayError when there is none."""
    root = root.expanduser()
    found = {}
    for file in [root / "summary.json", *sorted(root.glob("**/summary.json"))]:
        if file.is_file() and (file.parent / "frames.jsonl").is_file() and ".partial" not in str(file):
            found.setdefault(str(file.parent.relative_to(root)), file.parent)
    if not found:
        raise ReplayError(f"{root} is no result of `drive-seg replay`: it has no summary.json and frames.jsonl")
    return found


def find_result(root: Path) -> Path:
    """The one result in a folder. Raises ReplayError for none or several."""
    found = find_results(root)
    if len(found) > 1:
        raise ReplayError(f"{root} holds {len(found)} results: name one of {', '.join(found)}")
    return next(iter(found.values()))


def compare(a: Path, b: Path, limits: Limits) -> Comparison:
    """Compare two result folders frame by frame. Raises ReplayError when they can't be compared, BagError when their
    masks can't be read."""
    result = Comparison(str(a.resolve()), str(b.resolve()), limits)
    ours, theirs = (_digests(folder) for folder in (a, b))
    result.only_in_a = len(ours.keys() - theirs.keys())
    result.only_in_b = len(theirs.keys() - ours.keys())
    common = [key for key in ours if key in theirs]
    result.frames = len(common)
    changed = {key for key in common if ours[key][1] != theirs[key][1]}
    result.identical = len(common) - len(changed)
    worst: list[tuple[float, int, dict]] = []
    sums = np.zeros(2)
    least = np.ones(2)
    for log_ns, one, other in _pairs(a, b, changed):
        labels, drivable = _agreement(one, other)
        index = ours[log_ns, one.stamp_ns][0]
        result.different += labels < limits.labels or drivable < limits.drivable
        sums += (1 - labels, 1 - drivable)
        least = np.minimum(least, (labels, drivable))
        row = {"index": index, "stamp_ns": one.stamp_ns, "log_ns": log_ns, "labels": labels, "drivable": drivable}
        heapq.heappush(worst, (-min(labels, drivable), -index, row))
        if len(worst) > WORST:
            heapq.heappop(worst)
    if common:
        mean = 1 - sums / len(common)
        result.labels = {"mean": float(mean[0]), "min": float(least[0])}
        result.drivable = {"mean": float(mean[1]), "min": float(least[1])}
    result.worst = [row for _, _, row in sorted(worst, key=lambda entry: entry[:2], reverse=True)]
    return result


def draw_worst(comparison: Comparison, a: Path, b: Path, bag: Path, topic: str) -> Iterator[tuple[dict, np.ndarray]]:
    """Side-by-side pictures (BGR) of the worst frames, in the order of the drive.

    bag, topic: where the camera's images are; a bag that is gone leaves them out.
    """
    by_time = {frame["log_ns"]: frame for frame in comparison.worst}
    if not by_time:
        return
    with ResultReader(b / "result") as other:
        for picture in pictures(a, bag, topic, list(by_time)):
            twin = next(other.frames(picture.log_ns, picture.log_ns + 1), None)
            if picture.masks is not None and twin is not None:
                yield by_time[picture.log_ns], side_by_side(picture.image, picture.masks, twin)


def _digests(folder: Path) -> dict[tuple[int, int], tuple[int, str]]:
    """(time of recording, stamp) -> index and digest of every frame that has masks."""
    return {(r["log_ns"], r["stamp_ns"]): (r["index"], r["digest"])
            for r in read_frames(folder / "frames.jsonl") if "digest" in r}


def _pairs(a: Path, b: Path, keys: set[tuple[int, int]]) -> Iterator[tuple[int, Masks, Masks]]:
    if not keys:
        return
    with ResultReader(a / "result") as reader_a, ResultReader(b / "result") as reader_b:
        others = (m for m in reader_b.frames() if (m.log_ns, m.stamp_ns) in keys)
        for one in reader_a.frames():
            if (one.log_ns, one.stamp_ns) in keys:
                yield one.log_ns, one, next(others)


def _agreement(a: Masks, b: Masks) -> tuple[float, float]:
    labels_a, labels_b = a.images["labels"], b.images["labels"]
    if labels_a.shape != labels_b.shape:
        raise ReplayError(f"the frames are {labels_a.shape[::-1]} in A and {labels_b.shape[::-1]} in B: these are not"
                          " two results of the same bag")
    equal = cv2.countNonZero(cv2.compare(labels_a, labels_b, cv2.CMP_EQ)) / labels_a.size
    drivable_a, drivable_b = a.images["drivable_area"], b.images["drivable_area"]
    both = cv2.countNonZero(cv2.bitwise_and(drivable_a, drivable_b))
    either = cv2.countNonZero(cv2.bitwise_or(drivable_a, drivable_b))
    return equal, both / either if either else 1.0


def _percent(share: float) -> str:
    """Never rounds a difference away."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.999):.3f} %"
