"""This package's own way: the node's worker, from message to published masks."""

from __future__ import annotations

import time
from types import SimpleNamespace

from drive_seg.bench.measure import Stages
from drive_seg.bench.ros_frames import RosFrames
from drive_seg.core.health.camera import CameraLimits
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.segmenter import Segmenter
from drive_seg.ros.outputs import OUTPUTS
from drive_seg.ros.parameters import PARAMETERS
from drive_seg.ros.worker import Worker

TOPICS = ("~/labels", "~/drivable_area")
"""What a planner subscribes to."""


class NodeWay:
    """Call with the number of a frame; returns milliseconds by stage."""

    def __init__(self, segmenter: Segmenter, ros: RosFrames) -> None:
        publishers = {output: ros.publisher(output.topic) for output in OUTPUTS if output.topic in TOPICS}
        settings = SimpleNamespace(**{spec.name: spec.default for spec in PARAMETERS})
        self._ros = ros
        self._worker = Worker(segmenter, publishers, settings, lambda kind, text: None,
                              Monitor(limits=CameraLimits(frozen=0)), None, time.monotonic)

    def __call__(self, number: int) -> Stages:
        start = time.perf_counter()
        message, received = self._ros.receive(number)
        self._worker.monitor.received(time.monotonic())
        self._worker.process(message)
        whole = (time.perf_counter() - start) * 1e3
        stages = dict(self._worker.stages[-1])
        stages["receive"] += received
        return {**stages, "whole": whole}
