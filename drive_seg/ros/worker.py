"""The thread that turns the newest camera message into published results."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from types import SimpleNamespace

from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from drive_seg.core.engine import EngineError
from drive_seg.core.frame import FrameError
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.stopwatch import stage
from drive_seg.ros.images import to_frame
from drive_seg.ros.mailbox import Mailbox
from drive_seg.ros.outputs import Output, Result


class Worker:
    """Segments messages from a mailbox and publishes what is subscribed.

    A message or a frame that fails publishes nothing and calls `complain(kind, text)`; the worker goes on.
    """

    def __init__(self, segmenter: Segmenter, publishers: dict[Output, Publisher], settings: SimpleNamespace,
                 complain: Callable[[str, str], None]) -> None:
        self.segmenter = segmenter
        self.settings = settings
        self.camera: CameraInfo | None = None
        self.mailbox: Mailbox[Image | CompressedImage] = Mailbox()
        self.counts: Counter[str] = Counter()
        """segmented, idle (nobody subscribed), bad_message, engine_error."""
        self.stages: deque[dict[str, float]] = deque(maxlen=300)
        """Milliseconds by stage of the newest frames."""
        self._publishers = publishers
        self._complain = complain
        self._thread = threading.Thread(target=self._work, name="segment", daemon=True)

    def start(self) -> None:
        """Start working."""
        self._thread.start()

    def stop(self) -> None:
        """End after the frame in work, if any."""
        self.mailbox.close()
        self._thread.join()

    def _work(self) -> None:
        while (message := self.mailbox.take()) is not None:
            try:
                self.process(message)
            except FrameError as error:
                self.counts["bad_message"] += 1
                self._complain("bad_message", f"an image message is unusable: {error}")
            except EngineError as error:
                self.counts["engine_error"] += 1
                self._complain("engine_error", f"the engine failed, nothing is published for this frame: {error}")
            except Exception as error:  # the node must live on, whatever one frame does
                self.counts["engine_error"] += 1
                self._complain("engine_error", f"a frame failed, nothing is published for it: {error!r}")

    def process(self, message: Image | CompressedImage) -> None:
        """Segment one message and publish what is subscribed. Raises FrameError or EngineError."""
        wanted = [(o, p) for o, p in self._publishers.items() if p.get_subscription_count() > 0]
        if not wanted:
            self.counts["idle"] += 1
            return
        stages: dict[str, float] = {}
        with stage(stages, "receive"):
            frame = to_frame(message)
        size = self.segmenter.engine.input_size if self.settings.output_size == "network" else frame.size
        segmentation = self.segmenter.segment(frame, size=size, drivable=any(o.needs_drivable for o, _ in wanted))
        stages.update(segmentation.stages)
        result = Result(message.header, frame, segmentation, self.camera, self.settings)
        with stage(stages, "publish"):
            for output, publisher in wanted:
                publisher.publish(output.make(result))
        self.counts["segmented"] += 1
        self.stages.append(stages)
