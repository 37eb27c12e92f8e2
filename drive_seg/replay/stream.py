"""The frames of a bag through the core: read, run the network, judge, write, each in threads of its own.

The stages overlap and keep the order, so the result does not depend on their speed.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from drive_seg.background import background
from drive_seg.core.decode import Decoded
from drive_seg.core.engine import Engine, EngineError
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.health.camera import CameraLimits
from drive_seg.core.health.failures import failure
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.status import Health
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.stopwatch import stage
from drive_seg.core.temporal import TemporalFilter
from drive_seg.errors import reason_and_fix
from drive_seg.outputs.messages import GroundMessages
from drive_seg.outputs.table import Result
from drive_seg.replay.ground import Ground, Rig, View
from drive_seg.replay.health import HealthReport, HealthReporter
from drive_seg.replay.measure import Measure
from drive_seg.replay.messages import BAG
from drive_seg.replay.resultbag import ResultBag
from drive_seg.replay.settings import Settings
from drive_seg.replay.truth import Truth
from drive_seg.sources.bag import Bag, BagError, BagImage, Topic

_AHEAD = 4  # frames that each stage may be ahead of the next


def stream(bag: Bag, topic: Topic, segmenter: Segmenter, settings: Settings, folder: Path,
           truth: Truth | None = None, engines: Sequence[Engine] = (), rig: Rig | None = None) -> Iterator[dict]:
    """Replay one camera of a bag into folder/result and folder/frames.jsonl; yields the record of each written frame.

    engines: that run the segmenter's network, a frame each at a time; without them the segmenter's own. rig: the camera
    on its vehicle; without it nothing is told of the ground. Raises BagError where the bag is damaged: then what came
    before is written and readable. Raises what writing raises.
    """
    segmenter.temporal = TemporalFilter() if settings.temporal_filter else None  # nothing is kept from bag to bag
    measure, damage = Measure(), None
    network_size = segmenter.engine.input_size if settings.output_size == "network" else None
    frames = _decode(background(_read(bag, topic, rig), _AHEAD), engines or [segmenter.engine], network_size)
    work = background(_Stages(segmenter, settings, rig).run(frames), _AHEAD)
    with (ResultBag(folder / "result", settings.written(rig is not None), settings.storage) as result,
          _Lines(folder / "frames.jsonl") as lines, contextlib.closing(work)):
        try:
            for number, item in enumerate(work):
                with stage(item.stages, "write"):
                    if not number:
                        result.name_labels(segmenter.table, item.source.log_ns)
                    for told in item.told:
                        result.report(told)
                if item.segmentation is not None:
                    _publish(item, result, settings.overlay_quality)
                record = _record(item, measure, truth)
                lines.add(record)
                yield record
        except BagError as error:  # raised below: here it would abandon the result bag
            damage = error
    if damage is not None:
        raise damage


@dataclass
class _Work:
    """One frame on its way through the stages.

    view: the camera on its vehicle. decoded: what the engine said of it, after these milliseconds (timed). error: of
    the image or the engine. segmentation: what the node would publish, None for nothing. problem: why the frame failed.
    ground: None where nothing can be told of it. withheld: the camera can't be believed. told: what is told of the
    node's health since the frame before.
    """

    source: BagImage
    stages: dict[str, float]
    frame: Frame | None = None
    view: View | None = None
    timed: dict[str, float] = field(default_factory=dict)
    decoded: Decoded | None = None
    error: EngineError | FrameError | None = None
    segmentation: Segmentation | None = None
    problem: str | None = None
    ground: GroundMessages | None = None
    withheld: bool = False
    health: str = Health.READY.value
    reasons: tuple[str, ...] = ()
    told: list[HealthReport] = field(default_factory=list)


def _read(bag: Bag, topic: Topic, rig: Rig | None) -> Iterator[_Work]:
    images = bag.images(topic) if rig is None else bag.images(topic, beside=rig.topics, take=rig.take)
    while True:
        stages: dict[str, float] = {}
        with stage(stages, "read"):
            source = next(images, None)
        if source is None:
            return
        item = _Work(source, stages, view=None if rig is None else rig.at(source))
        try:
            with stage(stages, "receive"):
                item.frame = source.frame()
        except FrameError as error:
            item.error = error
        yield item


def _decode(items: Iterator[_Work], engines: Sequence[Engine], size: tuple[int, int] | None) -> Iterator[_Work]:
    """The same items, in their order, with what the network says of each; as many frames at a time as engines.

    Also of frames that the camera's health will not believe: that is known only from the frames before.
    """
    free: SimpleQueue[Engine] = SimpleQueue()
    for engine in engines:
        free.put(engine)

    def work(item: _Work) -> _Work:
        if item.frame is None:
            return item
        engine = free.get()
        try:
            item.decoded = engine.decode(item.frame, size or item.frame.size, item.timed)
        except (EngineError, FrameError) as error:
            item.error = error
        finally:
            free.put(engine)
        return item

    waiting: deque[Future[_Work]] = deque()
    damage = None
    with contextlib.closing(items), ThreadPoolExecutor(len(engines), "decode") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > len(engines):
                    yield waiting.popleft().result()
        except BagError as error:  # raised below: the frames before it are whole
            damage = error
        while waiting:
            yield waiting.popleft().result()
    if damage is not None:
        raise damage


class _Stages:
    """What the node does with a frame, in the bag's time: look at the camera's health and take what it can believe.

    A latency budget is not kept: results must not depend on the machine's load.
    """

    def __init__(self, segmenter: Segmenter, settings: Settings, rig: Rig | None) -> None:
        self._segmenter, self._settings, self._rig = segmenter, settings, rig
        ego = settings.read_ego_mask()
        self._ego = None if ego is None else ego != 0
        self._ground = None if rig is None else Ground(rig.mount, ego)
        self._measured = False  # at least once, so the mount is not simply wrong
        self._monitor: Monitor | None = None
        self._reporter: HealthReporter | None = None

    def run(self, items: Iterator[_Work]) -> Iterator[_Work]:
        """The same items with their results."""
        with contextlib.closing(items):
            for item in items:
                now = item.source.log_ns / 1e9
                if self._monitor is None:
                    self._monitor = self._new_monitor(now)
                    self._reporter = HealthReporter(self._monitor, item.source.log_ns)
                item.told = self._reporter.before(item.source.log_ns)
                self._monitor.received(now)
                if item.frame is None:
                    self._fail(item, now)
                else:
                    self._segment(item, now)
                    if self._ground is not None and item.segmentation is not None:
                        self._look_at_ground(item, now)
                state, item.reasons = self._monitor.state(now)
                item.health = state.value
                item.told += self._reporter.after(item.source.log_ns)
                yield item

    def _new_monitor(self, now: float) -> Monitor:
        limits = CameraLimits(timeout=self._settings.camera_timeout, frozen=self._settings.frozen_timeout)
        engine = self._segmenter.engine
        height, width = engine.input_size
        facts = {"engine": engine.name, "precision": engine.precision, "device": engine.device,
                 "network": engine.network.name, "input": f"{width}x{height}"}
        return Monitor(limits=limits, typical=engine.network.typical, ego=self._ego, engine=facts, now=now)

    def _segment(self, item: _Work, now: float) -> None:
        with stage(item.stages, "health"):
            believed = self._monitor.arrived(item.frame, item.source.stamp_ns / 1e9, now)
        if self._segmenter.temporal is not None and not self._monitor.follows:
            self._segmenter.temporal.reset()
        size = self._segmenter.engine.input_size if self._settings.output_size == "network" else item.frame.size
        unknown = Segmentation.unknown(size) if self._settings.fault_policy == "unknown" else None
        if not believed:
            item.segmentation, item.withheld = unknown, True
        elif item.error is not None:
            item.segmentation = None if isinstance(item.error, FrameError) else unknown
            self._fail(item, now)
        else:
            item.segmentation = self._segmenter.complete(item.frame, item.decoded, item.timed)
            item.stages.update(item.timed)
            self._monitor.finished(item.segmentation, sum(item.timed.values()) / 1e3, 0, now)

    def _fail(self, item: _Work, now: float) -> None:
        check, item.problem, fix = failure(item.error)
        self._monitor.failed(check, item.problem, fix, now)

    def _look_at_ground(self, item: _Work, now: float) -> None:
        try:
            item.ground = self._ground.find(item.view, item.frame.size, item.segmentation.labels.shape)
            self._measured = True
        except ValueError as error:  # all geometry errors are
            if self._rig.pose_from == "parameters" and not self._measured:
                raise  # a mistake in the settings, for the user to mend
            reason, fix = reason_and_fix(error)
            self._monitor.failed("geometry", f"no grid, scan or points, {reason}", fix, now)


def _publish(item: _Work, result: ResultBag, quality: int) -> None:
    header = BAG.header(item.source.stamp_ns, item.source.frame_id)
    result.write(item.source, Result(BAG, header, item.frame, item.segmentation, quality,
                                     lambda camera_size, size: item.ground), item.stages)


def _record(item: _Work, measure: Measure, truth: Truth | None) -> dict:
    record = {"index": item.source.index, "stamp_ns": item.source.stamp_ns, "log_ns": item.source.log_ns,
              "health": item.health, "reasons": list(item.reasons), "problem": item.problem, "withheld": item.withheld,
              "ms": _rounded(item.stages)}
    if item.segmentation is None:
        measure.gap()
        if truth is not None:
            truth.skip()
        return record
    measured = measure.add(item.segmentation)  # the same dictionary is completed when the next frame is added
    if truth is not None:
        measured["truth"] = truth.add(item.source, item.segmentation)
    measured.update(record)
    return measured


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


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(str(error).split())
