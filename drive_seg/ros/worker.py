"""The threads that turn the newest camera message into published results."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from drive_seg.core.engine import Engine, EngineError
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.health.failures import failure
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.stopwatch import stage
from drive_seg.outputs.table import Result
from drive_seg.ros.geometry import Geometry
from drive_seg.ros.images import to_frame
from drive_seg.ros.mailbox import Mailbox
from drive_seg.ros.messages import ROS
from drive_seg.ros.outputs import Output

_READ_EVERY = 1.0  # seconds between readings of the engine's memory and temperature
_PATIENCE = 1.0  # seconds of missed budget before a spare engine is used


class Worker:
    """Segments messages from a mailbox and publishes what is subscribed.

    The masks at once; the other outputs in a second thread, while the first one has the next frame segmented.

    A message or a frame that fails calls `complain(kind, text)`; the worker goes on. Then, and while the monitor
    finds the camera at fault, nothing is published, or all unknown (parameter fault_policy).
    """

    def __init__(self, segmenter: Segmenter, publishers: dict[Output, Publisher], settings: SimpleNamespace,
                 complain: Callable[[str, str], None], monitor: Monitor, geometry: Geometry,
                 clock: Callable[[], float], spares: Sequence[Engine] = ()) -> None:
        """clock: seconds of the node's clock. spares: quicker engines of the same network, the next one to be used
        when every frame missed the latency budget for a second.
        """
        self.segmenter = segmenter
        self.settings = settings
        self.monitor = monitor
        self._geometry = geometry
        self._clock = clock
        self._spares = list(spares)
        self._read_at = -np.inf
        self._network_size = segmenter.engine.input_size  # stays, whatever a spare engine sees
        self.camera: CameraInfo | None = None
        self.mailbox: Mailbox[Image | CompressedImage] = Mailbox()
        self.counts: Counter[str] = Counter()
        """segmented, idle (nobody subscribed), camera_fault, bad_message, engine_error."""
        self.stages: deque[dict[str, float]] = deque(maxlen=300)
        """Milliseconds by stage of the newest frames."""
        self._publishers = publishers
        self._complain = complain
        self._thread = threading.Thread(target=self._work, name="segment", daemon=True)
        self._second = ThreadPoolExecutor(1, "publish")
        self._publishing: Future[None] | None = None

    def start(self) -> None:
        """Start working."""
        self._thread.start()

    def stop(self) -> None:
        """End after the frame in work, if any."""
        self.mailbox.close()
        self._thread.join()
        self._second.shutdown()
        self._geometry.close()

    def receive(self, message: Image | CompressedImage) -> None:
        """Take a message from whichever thread it arrives in: it is worked on next, unless a newer one comes first."""
        self.monitor.received(self._clock())
        self.mailbox.put(message)

    def wait(self) -> None:
        """Until everything of the last frame is published."""
        if self._publishing is not None:
            self._publishing.result()

    def _work(self) -> None:
        while (taken := self.mailbox.take()) is not None:
            try:
                self.process(*taken)
                self._read_engine()
            except FrameError as error:
                self._fail("bad_message", *failure(error))
            except EngineError as error:
                self._fail("engine_error", *failure(error))
            except Exception as error:  # the node must live on, whatever one frame does
                self._fail("engine_error", "engine", f"a frame failed: {error!r}", "report this with the node's log")
            self.mailbox.done()

    def _fail(self, kind: str, check: str, reason: str, fix: str) -> None:
        self.counts[kind] += 1
        self._complain(kind, reason)
        self.monitor.failed(check, reason, fix, self._clock())

    def process(self, message: Image | CompressedImage, received: float | None = None) -> None:
        """Segment one message and publish what is subscribed. Raises FrameError or EngineError.

        received: when it came, seconds of time.monotonic(); just now by default.
        """
        start = time.monotonic() if received is None else received
        wanted = [(o, p) for o, p in self._publishers.items() if p.get_subscription_count() > 0]
        if not wanted and not self.monitor.idle(self._clock()):
            self.counts["idle"] += 1
            return
        stages: dict[str, float] = {}
        with stage(stages, "receive"):
            frame = to_frame(message)
        with stage(stages, "health"):
            stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
            believed = self.monitor.arrived(frame, stamp, self._clock())
        if self.segmenter.temporal is not None and not self.monitor.follows:
            self.segmenter.temporal.reset()
        if not wanted:
            self.counts["idle"] += 1
            return
        size = self._network_size if self.settings.output_size == "network" else frame.size
        if not believed:
            self.counts["camera_fault"] += 1
            self._publish_unknown(message, frame, size, wanted)
            return
        try:
            segmentation = self.segmenter.segment(frame, size=size, drivable=any(o.needs_drivable for o, _ in wanted))
        except Exception:  # whatever it is, `_work` tells it
            self._publish_unknown(message, frame, size, wanted)
            raise
        stages.update(segmentation.stages)
        result = self._result(message, frame, segmentation)
        self._publish(result, [pair for pair in wanted if pair[0].mask], stages)
        with stage(stages, "health"):
            self.monitor.finished(segmentation, time.monotonic() - start, self.mailbox.dropped, self._clock())
        self.counts["segmented"] += 1
        self._publish_beside(result, [pair for pair in wanted if not pair[0].mask], stages)
        self._keep_budget()

    def _read_engine(self) -> None:
        # Here, because an engine takes one thread at a time; after the frame, because nobody waits for it.
        now = self._clock()
        if not 0 <= now - self._read_at < _READ_EVERY:
            self._read_at = now
            self.monitor.read(self.segmenter.engine.readings(), now)

    def _keep_budget(self) -> None:
        if not self._spares or self.monitor.latency.over_budget_for(self._clock()) < _PATIENCE:
            return
        self.segmenter.engine = engine = self._spares.pop(0)
        height, width = engine.input_size
        self._complain("budget", f"the latency budget was missed for {_PATIENCE:g} s: the network now sees"
                       f" {width}x{height}, until the node is deactivated")
        self.monitor.use_engine(f"{width}x{height}")

    def _publish(self, result: Result, wanted: list[tuple[Output, Publisher]], stages: dict[str, float]) -> None:
        for output, publisher in wanted:
            with stage(stages, output.stage):
                made = output.make(result)
                if made is not None:
                    publisher.publish(made)

    def _publish_beside(self, result: Result, wanted: list[tuple[Output, Publisher]], stages: dict[str, float]) -> None:
        """In the second thread, when that is done with the frame before: nothing queues, nothing is left out."""
        self.wait()
        if wanted:
            self._publishing = self._second.submit(self._publish_rest, result, wanted, stages)
        else:
            self.stages.append(stages)

    def _publish_rest(self, result: Result, wanted: list[tuple[Output, Publisher]], stages: dict[str, float]) -> None:
        try:
            self._publish(result, wanted, stages)
        except Exception as error:  # as in _work
            self._fail("engine_error", "engine", f"a frame failed: {error!r}", "report this with the node's log")
        self.stages.append(stages)

    def _publish_unknown(self, message: Image | CompressedImage, frame: Frame, size: tuple[int, int],
                         wanted: list[tuple[Output, Publisher]]) -> None:
        if self.settings.fault_policy == "unknown":
            result = self._result(message, frame, Segmentation.unknown(size))
            self._publish(result, [pair for pair in wanted if pair[0].mask], {})
            self.wait()
            self._publish(result, [pair for pair in wanted if not pair[0].mask], {})

    def _result(self, message: Image | CompressedImage, frame: Frame, segmentation: Segmentation) -> Result:
        header, camera = message.header, self.camera
        return Result(ROS, header, frame, segmentation, self.settings.overlay_quality,
                      lambda camera_size, size: self._geometry.ground(header, camera, camera_size, size))
