"""The threads that turn the newest camera message into published results."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
from rclpy.publisher import Publisher
from sensor_msgs.msg import CompressedImage, Image

from drive_seg.core.decode import Decoded
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.stopwatch import stage
from drive_seg.outputs.table import Result
from drive_seg.pipeline import Pipeline
from drive_seg.ros import transport
from drive_seg.ros.geometry import Geometry
from drive_seg.ros.images import to_frame
from drive_seg.ros.mailbox import Mailbox
from drive_seg.ros.messages import ROS
from drive_seg.ros.missing import Missing
from drive_seg.ros.outputs import Output
from drive_seg.ros.turns import Turn

_TRIMS = 1.0
"""Seconds at least between two times that memory is given back."""


class Joint(Protocol):
    """What several cameras make together."""

    @property
    def wanted(self) -> bool:
        """Whether somebody subscribes to it."""

    def add(self, result: Result) -> None:
        """Take this camera's newest sound result, in the camera's second thread."""


class Worker:
    """Segments messages from a mailbox and publishes what is subscribed.

    The masks at once; the other outputs in a second thread, while the first one has the next frame segmented.

    A message or a frame that fails calls `complain(kind, text)`; the worker goes on. Then, and while the monitor
    finds the camera at fault, nothing is published, or all unknown (parameter fault_policy).
    """

    def __init__(self, pipeline: Pipeline, publishers: dict[Output, Publisher], complain: Callable[[str, str], None],
                 geometry: Geometry, clock: Callable[[], float], turn: Turn | None = None,
                 joint: Joint | None = None) -> None:
        """clock: seconds of the node's clock. turn: at engines that other cameras use too; None where the pipeline's is
        this camera's alone. joint: what several cameras make together, None for one camera.
        """
        self.pipeline = pipeline
        self.geometry = geometry
        self._clock = clock
        self.mailbox: Mailbox[Image | CompressedImage] = Mailbox()
        self.counts: Counter[str] = Counter()
        """What became of each frame that was taken: segmented, idle (nobody subscribed), camera_fault, bad_message,
        engine_error."""
        self.missing = Missing()
        self.stages: deque[dict[str, float]] = deque(maxlen=300)
        """Milliseconds by stage of the newest frames."""
        self._publishers = publishers
        self._complain = complain
        self._turn, self._joint, self._in_turn = turn, joint, False
        self._thread = threading.Thread(target=self._work, name="segment", daemon=True)
        self._second = ThreadPoolExecutor(1, "publish")
        self._publishing: Future[None] | None = None
        self._pixels, self._trimmed = 0, -np.inf

    def start(self) -> None:
        """Start working."""
        self._thread.start()

    def stop(self) -> None:
        """End after the frame in work, if any."""
        self.mailbox.close()
        self._thread.join()
        self._second.shutdown()
        self.geometry.close()

    def receive(self, message: Image | CompressedImage, info: Mapping[str, Any]) -> None:
        """Take a message from whichever thread it arrives in: it is worked on next, unless a newer one comes first.

        info: what rclpy says about it.
        """
        self.missing.came(info)
        self.pipeline.monitor.received(self._clock())
        self.mailbox.put(message)

    @property
    def account(self) -> dict[str, str]:
        """Where the frames went since activation, by fate: the first is the sum of all but `missing`, and of one that
        waits or is in work."""
        counts, missing = self.counts, self.missing.count
        fates = {"received": self.mailbox.received, "published": counts["segmented"], "replaced": self.mailbox.dropped,
                 "withheld": counts["camera_fault"], "unusable": counts["bad_message"],
                 "failed": counts["engine_error"], "unwatched": counts["idle"]}
        return {**{name: str(count) for name, count in fates.items()},
                "missing": "not known" if missing is None else str(missing)}

    def wait(self) -> None:
        """Until everything of the last frame is published."""
        if self._publishing is not None:
            self._publishing.result()

    def _work(self) -> None:
        turn = self._turn
        while (taken := self.mailbox.take() if turn is None else self._take_in_turn(turn)) is not None:
            try:
                fate = self.process(*taken)
            except Exception as error:  # the node must live on, whatever one frame does
                fate = self._fail(error)
            finally:
                if self._in_turn:  # it failed before, or needed no engine
                    self._end_turn()
            self.counts[fate] += 1
            if turn is None:
                self._read_engine()
            self.mailbox.done()
        if turn is not None:
            turn.leave()

    def _take_in_turn(self, turn: Turn) -> tuple[Image | CompressedImage, float] | None:
        """The newest message when it is this camera's turn at an engine."""
        while self.mailbox.wait():
            self._engine = turn.take()
            taken = self.mailbox.take_now()
            if taken is not None:
                self._in_turn = True
                return taken
        return None  # closed

    def _decode_in_turn(self, frame: Frame, stages: dict[str, float]) -> Decoded:
        """What an engine says of the frame. What follows needs no engine, and the next camera has it meanwhile."""
        assert self._turn is not None
        try:
            own = self.pipeline.segmenter.engine  # a smaller one, where the latency budget was missed
            engine = self._engine if own is self.pipeline.model.engine else own
            decoded = self._turn.decode(engine, frame, self.pipeline.size_of(frame), stages)
            self._read_engine()
            return decoded
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        assert self._turn is not None
        self._in_turn = False
        self._turn.end(again=self.mailbox.waiting)

    def _read_engine(self) -> None:
        try:
            self.pipeline.read_engine(self._clock())
        except Exception as error:  # the frame is whole all the same
            self._fail(error)

    def _fail(self, error: Exception) -> str:
        kind = "bad_message" if isinstance(error, FrameError) else "engine_error"
        self._complain(kind, self.pipeline.failed(error, self._clock()))
        return kind

    def process(self, message: Image | CompressedImage, received: float | None = None) -> str:
        """Segment one message and publish what is subscribed. Returns what became of it, as `counts` names it.

        Raises FrameError or EngineError. received: when it came, seconds of time.monotonic(); just now by default.
        """
        start = time.monotonic() if received is None else received
        wanted = [(o, p) for o, p in self._publishers.items() if p.get_subscription_count() > 0]
        joined = self._joint is not None and self._joint.wanted
        if not (wanted or joined) and not self.pipeline.monitor.idle(self._clock()):
            return "idle"
        stages: dict[str, float] = {}
        with stage(stages, "receive"):
            frame = to_frame(message, self.pipeline.settings.max_image_pixels)
        self._give_back(frame.height * frame.width, start)
        with stage(stages, "health"):
            stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
            believed = self.pipeline.look(frame, stamp, self._clock())
        if not (wanted or joined):
            return "idle"
        decode = None if self._turn is None else partial(self._decode_in_turn, frame)
        answer = self.pipeline.answer(frame, believed, decode=decode,
                                      drivable=joined or any(output.needs_drivable for output, _ in wanted))
        if self._in_turn:  # it needed no engine: others may wait for it
            self._end_turn()
        masks, others = ([pair for pair in wanted if pair[0].mask is mask] for mask in (True, False))
        if answer.segmentation is not None:
            stages.update(answer.segmentation.stages)
            result = self._result(message, frame, answer.segmentation)
            self._publish(result, masks, stages)
        if answer.sound is None:
            if answer.segmentation is not None:
                self.wait()
                self._publish(result, others, {})
            if answer.error is not None:
                raise answer.error
            return "camera_fault"
        with stage(stages, "health"):
            took = time.monotonic() - start
            self.pipeline.finished(answer.sound, took, self.mailbox.dropped, self._clock())
        self._publish_beside(result, others, stages, joined)
        changed = self.pipeline.keep_budget(self._clock())
        if changed is not None:
            self._complain("budget", changed)
        return "segmented"

    def _give_back(self, pixels: int, now: float) -> None:
        """malloc keeps memory of large images for the next (see transport): not where one was an exception."""
        if pixels > self._pixels / 4:
            self._pixels = pixels
        elif now - self._trimmed >= _TRIMS:
            self._pixels, self._trimmed = pixels, now
            transport.give_back()

    def _publish(self, result: Result, wanted: list[tuple[Output, Publisher]], stages: dict[str, float]) -> None:
        for output, publisher in wanted:
            with stage(stages, output.stage):
                made = output.make(result)
                if made is not None:
                    publisher.publish(made)

    def _publish_beside(self, result: Result, wanted: list[tuple[Output, Publisher]], stages: dict[str, float],
                        joined: bool) -> None:
        """In the second thread, when that is done with the frame before: nothing queues, nothing is left out."""
        self.wait()
        if wanted or joined:
            self._publishing = self._second.submit(self._publish_rest, result, wanted, stages, joined)
        else:
            self.stages.append(stages)

    def _publish_rest(self, result: Result, wanted: list[tuple[Output, Publisher]], stages: dict[str, float],
                      joined: bool) -> None:
        try:
            self._publish(result, wanted, stages)
            if joined and self._joint is not None:
                self._joint.add(result)
        except Exception as error:  # as in _work
            self._fail(error)
        self.stages.append(stages)

    def _result(self, message: Image | CompressedImage, frame: Frame, segmentation: Segmentation) -> Result:
        return Result(ROS, message.header, frame, segmentation, self.pipeline.settings.overlay_quality,
                      lambda camera_size, size: self.geometry.ground(message.header, camera_size, size))
