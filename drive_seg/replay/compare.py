"""Two results of the same drive: do they say the same, and where do they differ most?"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

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
    found: dict[str, Path] = {}
    several = ""
    for file in [root / "summary.json", *sorted(root.glob("**/summary.json"))]:
        if file.is_file() and (file.parent / "frames.jsonl").is_file() and ".partial" not in str(file):
            found.setdefault(str(file.parent.relative_to(root)), file.parent)
        elif file.is_file() and (file.parent / "frames").is_dir():
            several = str(file.parent)
    if several:
        raise ReplayError(f"{several} is of several cameras, and results are compared of one",
                          "replay each camera by itself, with its --topic")
    if not found:
        raise ReplayError(f"{root} is not a result of `drive-seg replay`", "it has no summary.json and frames.jsonl")
    return found


def find_result(root: Path) -> Path:
    """The one result in a folder. Raises ReplayError for none or several."""
    found = find_results(root)
    if len(found) > 1:
        raise ReplayError(f"{root} holds {len(found)} results", f"name one of {', '.join(found)}")
    return next(iter(found.values()))


class _Key(NamedTuple):
    """What tells a frame of a drive from the others. nth: of the frames with that time and stamp."""

    log_ns: int
    stamp_ns: int
    nth: int


def compare(a: Path, b: Path, limits: Limits) -> Comparison:
    """Compare two result folders frame by frame. Raises ReplayError when they can't be compared, BagError when their
    masks can't be read."""
    result = Comparison(str(a.resolve()), str(b.resolve()), limits)
    changed: dict[_Key, int] = {}  # its index
    for key, one, other in _joined(_digests(a), _digests(b)):
        if one is not None and other is not None and one["digest"] != other["digest"]:
            changed[key] = one["index"]
        result.identical += one is not None and other is not None and one["digest"] == other["digest"]
        result.only_in_a += other is None
        result.only_in_b += one is None
    worst: list[tuple[float, int, dict]] = []
    sums = np.zeros(2)
    least = np.ones(2)
    seen = measured = 0
    for key, ours, theirs in _pairs(a, b, changed):
        seen += 1
        if ours is None or theirs is None:
            result.only_in_a += theirs is None
            result.only_in_b += ours is None
            continue
        measured += 1
        labels, drivable = _agreement(ours, theirs)
        index = changed[key]
        result.different += labels < limits.labels or drivable < limits.drivable
        sums += (1 - labels, 1 - drivable)
        least = np.minimum(least, (labels, drivable))
        row = {"index": index, "stamp_ns": key.stamp_ns, "log_ns": key.log_ns, "labels": labels, "drivable": drivable}
        heapq.heappush(worst, (-min(labels, drivable), -index, row))
        if len(worst) > WORST:
            heapq.heappop(worst)
    result.only_in_a += len(changed) - seen
    result.only_in_b += len(changed) - seen
    result.frames = result.identical + measured
    if result.frames:
        mean = 1 - sums / result.frames
        result.labels = {"mean": float(mean[0]), "min": float(least[0])}
        result.drivable = {"mean": float(mean[1]), "min": float(least[1])}
    result.worst = [row for _, _, row in sorted(worst, key=lambda entry: entry[:2], reverse=True)]
    return result


def check_result(folder: Path, log_ns: int, size: tuple[int, int] | None) -> None:
    """Whether a result can be compared with that of a drive whose first frame was recorded at log_ns and gets masks of
    `size`, (height, width), None for none. Raises ReplayError, or BagError when its masks can't be read."""
    with ResultReader(folder / "result") as reader:
        first = next(reader.frames(log_ns, log_ns + 1), None)
    if first is not None and size is not None and "labels" in first.images:
        _check_sizes(first.images["labels"].shape, size)


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


def _digests(folder: Path) -> Iterator[tuple[_Key, dict]]:
    """The records of the frames that have masks."""
    records = (r for r in read_frames(folder / "frames.jsonl") if "digest" in r)
    return _keyed((r["log_ns"], r["stamp_ns"], r) for r in records)


def _pairs(a: Path, b: Path, keys: Collection[_Key]) -> Iterator[tuple[_Key, Masks | None, Masks | None]]:
    """The masks of some frames; None on the side whose result bag lacks the frame, nothing where both do."""
    if not keys:
        return
    with ResultReader(a / "result") as reader_a, ResultReader(b / "result") as reader_b:
        ours, theirs = (filter(lambda frame: frame[0] in keys, _keyed((m.log_ns, m.stamp_ns, m) for m in r.frames()))
                        for r in (reader_a, reader_b))
        yield from _joined(ours, theirs)


T = TypeVar("T")


def _keyed(frames: Iterable[tuple[int, int, T]]) -> Iterator[tuple[_Key, T]]:
    """Frames by key, from their times, stamps and contents in the order of recording."""
    now, count = None, Counter[tuple[int, int]]()
    for log_ns, stamp_ns, content in frames:
        if log_ns != now:  # of the moments before, nothing is needed any more
            now, count = log_ns, Counter()
        yield _Key(log_ns, stamp_ns, count[log_ns, stamp_ns]), content
        count[log_ns, stamp_ns] += 1


def _joined(a: Iterator[tuple[_Key, T]], b: Iterator[tuple[_Key, T]]) -> Iterator[tuple[_Key, T | None, T | None]]:
    """All frames of two results, None on the side that lacks one. Holds those of one moment, no more."""
    moments = heapq.merge(((key, 0, content) for key, content in a), ((key, 1, content) for key, content in b),
                          key=lambda entry: entry[0].log_ns)
    for _, moment in itertools.groupby(moments, key=lambda entry: entry[0].log_ns):
        found: dict[_Key, list[T | None]] = {}
        for key, side, content in moment:
            found.setdefault(key, [None, None])[side] = content
        for key, (one, other) in found.items():
            yield key, one, other


def _agreement(a: Masks, b: Masks) -> tuple[float, float]:
    labels_a, labels_b = a.images["labels"], b.images["labels"]
    _check_sizes(labels_a.shape, labels_b.shape)
    equal = cv2.countNonZero(cv2.compare(labels_a, labels_b, cv2.CMP_EQ)) / labels_a.size
    drivable_a, drivable_b = a.images["drivable_area"], b.images["drivable_area"]
    both = cv2.countNonZero(cv2.bitwise_and(drivable_a, drivable_b))
    either = cv2.countNonZero(cv2.bitwise_or(drivable_a, drivable_b))
    return equal, both / either if either else 1.0


def _check_sizes(a: tuple[int, int], b: tuple[int, int]) -> None:
    if a != b:
        raise ReplayError(f"the frames are {a[::-1]} in A and {b[::-1]} in B",
                          "these are not two results of the same bag")


def _percent(share: float) -> str:
    """Never rounds a difference away."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.999):.3f} %"
