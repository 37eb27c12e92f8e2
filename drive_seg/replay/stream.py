"""The frames of a bag through the core: read, run the network, judge, write, each in threads of its own.

The stages overlap and keep the order, so the result does not depend on their speed.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from drive_seg.background import background
from drive_seg.core.decode import Decoded
from drive_seg.core.engine import Engine, EngineError
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.ground import GroundError
from drive_seg.core.health.status import Health
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.stopwatch import stage
from drive_seg.outputs.ground import GROUND_ERRORS, CameraState, GroundTables, Size
from drive_seg.outputs.messages import GroundMessages
from drive_seg.outputs.table import Result
from drive_seg.pipeline import Model, Pipeline
from drive_seg.replay.ground import BagCamera
from drive_seg.replay.health import HealthReport, HealthReporter
from drive_seg.replay.measure import Measure
from drive_seg.replay.messages import BAG
from drive_seg.replay.resultbag import USUAL, ResultBag, written
from drive_seg.replay.truth import Truth
from drive_seg.sources.bag import Bag, BagError, BagImage, Topic

AHEAD = 4
"""Frames that each stage may be ahead of the next."""


def stream(bag: Bag, topic: Topic, pipeline: Pipeline, folder: Path, *, outputs: Sequence[str] = USUAL,
           storage: str = "mcap", truth: Truth | None = None, camera: BagCamera | None = None) -> Iterator[dict]:
    """Replay one camera of a bag into folder/result and folder/frames.jsonl; yields the record of each written frame.

    pipeline: of this bag alone; frames are decoded on all engines of its model, one each at a time. outputs: names of
    drive_seg.outputs.table; masks are always written, and grid, scan and points where something is known of the ground.
    camera: on its vehicle; without it nothing is measured of the ground. Raises BagError where the bag is damaged: then
    what came before is written and readable. Raises what writing raises.
    """
    measure, damage = Measure(), None
    max_pixels = pipeline.settings.max_image_pixels
    frames = decode(background(read(bag, topic, camera, max_pixels), AHEAD), pipeline,
                    engines_of(pipeline.model))
    work = background(Stages(pipeline, camera).run(frames), AHEAD)
    with (ResultBag(folder / "result", written(outputs, camera is not None), storage) as result,
          Lines(folder / "frames.jsonl") as lines, contextlib.closing(work)):
        try:
            for number, item in enumerate(work):
                with stage(item.stages, "write"):
                    if not number:
                        result.name_labels(pipeline.segmenter.table, item.source.log_ns)
                    for report in item.reports:
                        result.report(report)
                if item.result is not None:
                    result.write(item.source, item.result, item.stages)
                record = record_of(item, measure, truth)
                lines.add(record)
                yield record
        except BagError as error:  # raised below: here it would abandon the result bag
            damage = error
    if damage is not None:
        raise damage


@dataclass
class Work:
    """One frame on its way through the stages.

    frame: or why the image has none. camera: on its vehicle. decoded: what the engine said or raised, after these
    milliseconds (timed). result: what the node would publish, None for nothing. problem: why the frame failed.
    withheld: the camera can't be believed. reports: what the node would report of its health since the frame before.
    """

    source: BagImage
    stages: dict[str, float]
    frame: Frame | FrameError
    camera: CameraState | None = None
    timed: dict[str, float] = field(default_factory=dict)
    decoded: Decoded | EngineError | FrameError | None = None
    result: Result | None = None
    problem: str | None = None
    withheld: bool = False
    health: str = Health.READY.value
    reasons: tuple[str, ...] = ()
    reports: list[HealthReport] = field(default_factory=list)

    def take_decoded(self, stages: dict[str, float]) -> Decoded:
        """What the engine said, or what it raised: see Pipeline.answer."""
        stages.update(self.timed)
        if isinstance(self.decoded, (EngineError, FrameError)):
            raise self.decoded
        assert self.decoded is not None  # every frame has been decoded
        return self.decoded


def read(bag: Bag, topic: Topic, camera: BagCamera | None, max_pixels: int) -> Iterator[Work]:
    """The frames of a camera, with where it is on its vehicle. max_pixels: of the largest image that is taken."""
    images = bag.images(topic) if camera is None else bag.images(topic, beside=camera.topics, take=camera.take)
    while True:
        stages: dict[str, float] = {}
        with stage(stages, "read"):
            source = next(images, None)
        if source is None:
            return
        state = None if camera is None else camera.at(source)
        frame: Frame | FrameError
        try:
            with stage(stages, "receive"):
                frame = source.frame(max_pixels)
        except FrameError as error:
            frame = error
        yield Work(source, stages, frame, state)


def engines_of(model: Model) -> SimpleQueue[Engine]:
    """The engines of a model, for `decode` of all cameras that share it."""
    free: SimpleQueue[Engine] = SimpleQueue()
    for engine in model.engines:
        free.put(engine)
    return free


def decode(items: Generator[Work, None, None], pipeline: Pipeline, free: SimpleQueue[Engine],
           ) -> Generator[Work, None, None]:
    """The same items, in their order, with what the network says of each; as many frames at a time as engines.

    Also of frames that the camera's health will not believe: that is known only from the frames before. free: engines
    that nobody uses right now.
    """
    engines = pipeline.model.engines

    def work(item: Work) -> Work:
        if isinstance(item.frame, FrameError):
            return item
        engine = free.get()
        try:
            item.decoded = engine.decode(item.frame, pipeline.size_of(item.frame), item.timed)
        except (EngineError, FrameError) as error:
            item.decoded = error
        finally:
            free.put(engine)
        return item

    waiting: deque[Future[Work]] = deque()
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


class Stages:
    """What the node does with a frame, in the bag's time: look at the camera's health and take what it can believe."""

    def __init__(self, pipeline: Pipeline, camera: BagCamera | None) -> None:
        self._pipeline = pipeline
        self._ground = None if camera is None else _Ground(camera, pipeline)
        self._reporter: HealthReporter | None = None

    def run(self, items: Generator[Work, None, None]) -> Iterator[Work]:
        """The same items with their results."""
        with contextlib.closing(items):
            for item in items:
                now = item.source.log_ns / 1e9
                if self._reporter is None:
                    self._pipeline.start(now)
                    self._reporter = HealthReporter(self._pipeline.monitor, item.source.log_ns)
                monitor = self._pipeline.monitor
                item.reports = self._reporter.before(item.source.log_ns)
                monitor.received(now)
                if isinstance(item.frame, FrameError):
                    item.problem = self._pipeline.failed(item.frame, now)
                else:
                    segmentation = self._segment(item, item.frame, now)
                    if segmentation is not None:
                        item.result = self._result(item, item.frame, segmentation, now)
                state, item.reasons = monitor.state(now)
                item.health = state.value
                item.reports += self._reporter.after(item.source.log_ns)
                yield item

    def _segment(self, item: Work, frame: Frame, now: float) -> Segmentation | None:
        with stage(item.stages, "health"):
            believed = self._pipeline.look(frame, item.source.stamp_ns / 1e9, now)
        answer = self._pipeline.answer(frame, believed, decode=item.take_decoded)
        item.withheld = not believed
        if isinstance(answer.error, (EngineError, FrameError)):
            item.problem = self._pipeline.failed(answer.error, now)
        elif answer.error is not None:
            raise answer.error  # a bug
        elif answer.sound is not None:
            stages = answer.sound.stages
            item.stages.update(stages)
            self._pipeline.finished(answer.sound, sum(stages.values()) / 1e3, 0, now)
        return answer.segmentation

    def _result(self, item: Work, frame: Frame, segmentation: Segmentation, now: float) -> Result:
        ground = None
        if self._ground is not None and item.camera is not None:
            ground = self._ground.find(item.camera, frame.size, segmentation.labels.shape, now)
        header = BAG.header(item.source.stamp_ns, item.source.frame_id)
        return Result(BAG, header, frame, segmentation, self._pipeline.settings.overlay_quality,
                      lambda camera_size, size: ground)


class _Ground:
    """The tables of a camera on its vehicle."""

    def __init__(self, camera: BagCamera, pipeline: Pipeline) -> None:
        self._camera, self._pipeline = camera, pipeline
        self._tables = GroundTables(BAG, camera.mount, pipeline.ego)
        self._measured = False  # at least once, so the settings are not simply wrong

    def find(self, camera: CameraState, camera_size: Size, size: Size, now: float) -> GroundMessages | None:
        """The ground for labels of `size`, of an image of camera_size, (height, width) each.

        None where nothing can be measured; health gets the reason. Raises one of GROUND_ERRORS where the settings are
        wrong.
        """
        try:
            ground = self._tables.find(camera, camera_size, size)
        except GROUND_ERRORS as error:
            if isinstance(error, GroundError) and self._camera.pose_from == "parameters" and not self._measured:
                raise  # a mistake in the settings, for the user to mend; a wrong CameraInfo takes no masks away
            self._pipeline.monitor.failed("geometry", f"no grid, scan or points, {error.reason}", error.fix, now)
            return None
        self._measured = True
        return ground


def record_of(item: Work, measure: Measure, truth: Truth | None) -> dict:
    """The line of a frame; it is complete when the next one is measured."""
    record = {"index": item.source.index, "stamp_ns": item.source.stamp_ns, "log_ns": item.source.log_ns,
              "health": item.health, "reasons": list(item.reasons), "problem": item.problem, "withheld": item.withheld,
              "ms": _rounded(item.stages)}
    if item.result is None:
        measure.gap()
        if truth is not None:
            truth.skip()
        return record
    measured = measure.add(item.result.segmentation)  # the same dictionary is completed when the next frame is added
    if truth is not None:
        measured["truth"] = truth.add(item.source, item.result.segmentation)
    measured.update(record)
    return measured


class Lines:
    """Writes records as JSON lines, one late: a record is complete when the next one is measured."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._last: dict | None = None

    def __enter__(self) -> Lines:
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
