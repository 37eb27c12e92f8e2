"""One bag: replay it into a folder of its own. The same function serves one process, many, and a cluster.

    FOLDER/result/       rosbag2: what the node would have published
    FOLDER/frames.jsonl  one line a frame
    FOLDER/summary.json  the figures; written last
    FOLDER/report.html   the same to look at

The folder appears under its name only when it is finished, so that a killed run leaves none behind half done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from drive_seg import __version__
from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.status import Health
from drive_seg.core.overlay import draw_overlay
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.stopwatch import stage
from drive_seg.footage.bag import Bag, BagError, BagImage
from drive_seg.network import NetworkError
from drive_seg.replay.background import background
from drive_seg.replay.compare import Limits, compare, find_result
from drive_seg.replay.ground import GEOMETRY_ERRORS, BirdsEye
from drive_seg.replay.measure import Measure
from drive_seg.replay.report import write_report
from drive_seg.replay.resultbag import ResultBag
from drive_seg.replay.settings import ReplayError, Settings
from drive_seg.replay.summary import summarise
from drive_seg.replay.truth import Truth, TruthError

FORMAT = 1
_AHEAD = 4  # frames that each stage may be ahead of the next

KNOWN = (BagError, EngineError, NetworkError, ReplayError, TruthError, *GEOMETRY_ERRORS, OSError)
"""Errors that end one bag with one line; anything else is a bug."""


@dataclass(frozen=True)
class Job:
    """One bag and where its result goes. labels, golden: folders to score and to compare with, or None.

    fingerprint: what the result depends on, to know a finished result again. report: write report.html.
    """

    bag: Path
    folder: Path
    settings: Settings
    labels: Path | None = None
    golden: Path | None = None
    limits: Limits = field(default_factory=Limits)
    report: bool = True
    again: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a bag went. problem: why it failed, None when it did not. differs: it is not what the golden result is."""

    bag: Path
    folder: Path
    problem: str | None = None
    skipped: bool = False
    differs: bool = False
    summary: dict | None = None

    @property
    def ok(self) -> bool:
        """Whether every frame of the bag was segmented, and agrees with the golden result where one was given."""
        return self.problem is None and not self.differs


Tell = Callable[[int, int], None]
"""Called now and then with the frames done and the frames that there are."""


def run_job(job: Job, tell: Tell | None = None) -> Outcome:
    """Replay one bag. Known errors become the outcome's problem; a finished bag is not done again."""
    try:
        before = _finished(job)
        if before is not None:
            return _outcome(job, before, skipped=True)
        partial = job.folder.with_name(f".{job.folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            summary = _replay(job, partial, tell)
            _move_in_place(partial, job.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return _outcome(job, summary)
    except KNOWN as error:
        return Outcome(job.bag, job.folder, _one_line(error))


def fingerprint(job: Job) -> dict:
    """What a result depends on: bag, network, settings, labels, golden result and version."""
    files = sorted(p for p in job.bag.rglob("*") if p.is_file()) if job.bag.is_dir() else [job.bag]
    return {
        "bag": str(job.bag.resolve()),
        "bytes": sum(p.stat().st_size for p in files),
        "modified_ns": max((p.stat().st_mtime_ns for p in files), default=0),
        "network": job.settings.load_network().sha256,
        "settings": json.loads(json.dumps(job.settings.to_dict())),
        "labels": str(job.labels.resolve()) if job.labels else None,
        "golden": str(job.golden.resolve()) if job.golden else None,
        "limits": job.limits.to_dict() if job.golden else None,
        "report": job.report,
        "version": __version__,
    }


def _finished(job: Job) -> dict | None:
    file = job.folder / "summary.json"
    if not job.folder.exists():
        return None
    if not file.is_file():
        raise ReplayError(f"{job.folder} is there but no result of a replay: choose another --out")
    if job.again:
        return None
    summary = json.loads(file.read_text())
    now, then = fingerprint(job), summary.get("fingerprint", {})
    changed = [key for key in now if now[key] != then.get(key)]
    if changed:
        raise ReplayError(f"{job.folder} holds a result with another {', '.join(changed)}: choose another --out, or"
                          " --again to replace it")
    return summary


def _move_in_place(partial: Path, folder: Path) -> None:
    old = None
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    partial.rename(folder)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _outcome(job: Job, summary: dict, skipped: bool = False) -> Outcome:
    problem = summary["problem"]
    if problem is None and summary["frames"]["failed"]:
        problem = f"{summary['frames']['failed']} frames could not be segmented, see frames.jsonl"
    golden = summary["golden"]
    return Outcome(job.bag, job.folder, problem, skipped, golden is not None and not golden["same"], summary)


@lru_cache(maxsize=1)
def _segmenter(settings: Settings, process: int) -> Segmenter:
    """The segmenter of this process, kept from bag to bag."""
    cv2.setNumThreads(min(2, cv2.getNumThreads()))
    return settings.open_segmenter()


@dataclass
class _Work:
    """One frame on its way through the stages."""

    source: BagImage
    stages: dict[str, float]
    frame: Frame | None = None
    segmentation: Segmentation | None = None
    grid: np.ndarray | None = None
    problem: str | None = None
    health: str = Health.READY.value
    reasons: tuple[str, ...] = ()


def _replay(job: Job, folder: Path, tell: Tell | None) -> dict:
    segmenter = _segmenter(job.settings, os.getpid())
    start = time.perf_counter()
    problem = None
    with Bag(job.bag) as bag:
        topic = bag.image_topic(job.settings.topic)
        truth = Truth.open(job.labels, segmenter.table, topic.count) if job.labels else None
        golden = find_result(job.golden) if job.golden else None
        mount, birds_eye = job.settings.mount, None
        if mount is not None:
            birds_eye = BirdsEye(mount, bag.camera_info(topic), job.settings.read_ego_mask())
        digest, measure, done = hashlib.sha256(), Measure(), 0
        stages = _Stages(segmenter, birds_eye, job.settings.read_ego_mask())
        work = background(stages.run(background(_read(bag, topic), _AHEAD)), _AHEAD)
        with (ResultBag(folder / "result", job.settings.outputs, job.settings.storage, mount) as result,
              _Lines(folder / "frames.jsonl") as lines, contextlib.closing(work)):
            try:
                for item in work:
                    record = _write(item, result, measure, truth, job.settings.outputs, segmenter)
                    digest.update(record.get("digest", "failed").encode())
                    lines.add(record)
                    done += 1
                    if tell is not None:
                        tell(done, topic.count)
            except BagError as error:  # damaged half-way: what came before is kept
                if not done:
                    raise
                problem = _one_line(error)
        facts = {
            "format": FORMAT,
            "version": __version__,
            "fingerprint": fingerprint(job),
            "problem": problem,
            "bag": {"path": str(job.bag.resolve()), "name": job.folder.name, "topic": topic.name, "type": topic.type,
                    "messages": topic.count, "has_camera_info": bag.camera_info(topic) is not None},
            "masks_sha256": digest.hexdigest(),
            "truth": truth.scores() if truth else None,
            "golden": None,
        }
    summary = summarise(folder / "frames.jsonl", facts, segmenter, time.perf_counter() - start)
    if golden is not None:
        comparison = compare(golden, folder, job.limits)
        comparison.b = str(job.folder.resolve())  # where it will be
        summary["golden"] = comparison.to_dict()
    if job.report:
        write_report(folder, summary, job.bag, golden)
    _write_json(folder / "summary.json", summary)
    return summary


def _read(bag: Bag, topic: object) -> Iterator[_Work]:
    images = bag.images(topic)
    while True:
        stages: dict[str, float] = {}
        with stage(stages, "read"):
            source = next(images, None)
        if source is None:
            return
        item = _Work(source, stages)
        try:
            with stage(stages, "receive"):
                item.frame = source.frame()
        except FrameError as error:
            item.problem = f"unusable image: {_one_line(error)}"
        yield item


class _Stages:
    """What the node does with a frame, in the bag's time: look at the camera's health, segment, measure the ground.

    A frame that the node would withhold because of the camera's health is segmented all the same, to be looked at.
    """

    def __init__(self, segmenter: Segmenter, birds_eye: BirdsEye | None, ego: np.ndarray | None) -> None:
        self._segmenter, self._birds_eye = segmenter, birds_eye
        self._ego = ego
        self._monitor: Monitor | None = None

    def run(self, items: Iterator[_Work]) -> Iterator[_Work]:
        """The same items with their results."""
        with contextlib.closing(items):
            for item in items:
                now = item.source.log_ns / 1e9
                if self._monitor is None:
                    self._monitor = Monitor(ego=None if self._ego is None else self._ego != 0, now=now)
                if item.frame is None:
                    self._monitor.failed("camera", item.problem, "", now)
                else:
                    self._segment(item, now)
                state, item.reasons = self._monitor.state(now)
                item.health = state.value
                yield item

    def _segment(self, item: _Work, now: float) -> None:
        with stage(item.stages, "health"):
            self._monitor.arrived(item.frame, item.source.stamp_ns / 1e9, now)
        try:
            item.segmentation = self._segmenter.segment(item.frame)
        except (FrameError, EngineError) as error:
            item.problem = f"not segmented: {_one_line(error)}"
            self._monitor.failed("engine", item.problem, "", now)
            return
        item.stages.update(item.segmentation.stages)
        if self._birds_eye is not None:
            with stage(item.stages, "grid"):
                item.grid = self._birds_eye.grid(item.segmentation)
        self._monitor.finished(item.segmentation, sum(item.segmentation.stages.values()) / 1e3, 0, now)


def _write(item: _Work, result: ResultBag, measure: Measure, truth: Truth | None, outputs: tuple[str, ...],
           segmenter: Segmenter) -> dict:
    record = {"index": item.source.index, "stamp_ns": item.source.stamp_ns, "log_ns": item.source.log_ns,
              "health": item.health, "reasons": list(item.reasons)}
    segmentation = item.segmentation
    if segmentation is None:
        measure.gap()
        if truth is not None:
            truth.skip()
        return record | {"problem": item.problem, "ms": _rounded(item.stages)}
    with stage(item.stages, "write"):
        result.write(item.source, _images(item, outputs))
    measured = measure.add(segmentation)
    if truth is not None:
        measured["truth"] = truth.add(item.source, segmentation)
    measured.update(record, problem=None, ms=_rounded(item.stages))
    return measured


def _images(item: _Work, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
    segmentation = item.segmentation
    images = {"labels": segmentation.labels, "drivable_area": segmentation.drivable, "classes": segmentation.classes,
              "confidence": segmentation.confidence}
    if item.grid is not None:
        images["grid"] = item.grid
    if "overlay" in outputs:
        picture = draw_overlay(item.frame.bgr(), segmentation.labels, segmentation.drivable)
        images["overlay"] = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 80))[1].reshape(-1)
    return images


class _Lines:
    """Writes records as JSON lines, one late: a record is complete when the next one is measured."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._last: dict | None = None

    def __enter__(self) -> _Lines:
        return self

    def add(self, record: dict) -> None:
        self._flush()
        self._last = record

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._last is not None:
            self._file.write(json.dumps(self._last) + "\n")
        self._last = None


def _rounded(stages: dict[str, float]) -> dict[str, float]:
    return {name: round(ms, 3) for name, ms in stages.items()}


def _write_json(path: Path, value: dict) -> None:
    with path.open("w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(str(error).split())
