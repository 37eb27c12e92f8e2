"""This package's own way: the node's worker, from message to published masks."""

from __future__ import annotations

import time
from dataclasses import replace

from drive_seg.bench.measure import Stages
from drive_seg.bench.ros_frames import RosFrames
from drive_seg.pipeline import Model, Pipeline
from drive_seg.ros.outputs import OUTPUTS
from drive_seg.ros.worker import Worker
from drive_seg.settings import Settings

TOPICS = ("~/labels", "~/drivable_area")
"""What a planner subscribes to."""


class NodeWay:
    """Call with the number of a frame; returns milliseconds by stage."""

    def __init__(self, settings: Settings, model: Model, ros: RosFrames) -> None:
        publishers = {output: ros.publisher(output.topic) for output in OUTPUTS if output.topic in TOPICS}
        pipeline = Pipeline(replace(settings, frozen_timeout=0.0), model)
        self._ros = ros
        self._worker = Worker(pipeline, publishers, lambda kind, text: None, None, time.monotonic)

    def __call__(self, number: int) -> Stages:
        start = time.perf_counter()
        message, received = self._ros.receive(number)
        self._worker.pipeline.monitor.received(time.monotonic())
        self._worker.process(message)
        whole = (time.perf_counter() - start) * 1e3
        stages = dict(self._worker.stages[-1])
        stages["receive"] += received
        return {**stages, "whole": whole}
