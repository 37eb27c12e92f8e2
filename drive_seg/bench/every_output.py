"""What a planner's outputs, health and diagnostics add to a frame, beside labels and drivable area alone."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.logging import LoggingSeverity
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header, String

from drive_seg.bench.measure import Stages, interleave, percentile
from drive_seg.bench.ros_frames import RosFrames
from drive_seg.bench.ways import TOPICS
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.stopwatch import stage
from drive_seg.pipeline import Model, Pipeline
from drive_seg.ros.geometry import Geometry
from drive_seg.ros.health import HealthPublisher, HealthTopic
from drive_seg.ros.label_info import LATCHED
from drive_seg.ros.outputs import OUTPUTS
from drive_seg.ros.pose import PoseSource
from drive_seg.ros.worker import Worker
from drive_seg.settings import Settings
from drive_seg.sources.clip import CLIPS

PICTURES = ("~/overlay", "~/overlay/compressed")
"""For people; a planner has no use for them."""

_HEIGHT, _PITCH = 1.2, 0.0  # metres, radians: behind a car's windscreen


def measure(settings: Settings, model: Model, ros: RosFrames, count: int) -> dict[str, dict[str, Any]]:
    """By row: median milliseconds of a frame and of each stage, and what the row adds to `masks`.

    The rows are those of drive_seg.bench.table. Frames follow one another without a pause, so what a second thread
    publishes beside the next frame shows in that frame's time: it waits, or its inference is slower. count: frames a
    row.
    """
    settings = replace(settings, camera_height=_HEIGHT, camera_pitch=_PITCH, frozen_timeout=0.0)

    def pipeline(**more: Any) -> Pipeline:
        made = Pipeline(replace(settings, **more), model)
        made.start(ros.now())
        return made

    believing = pipeline()
    believing.monitor = _Believing()
    every = [output.topic for output in OUTPUTS]
    planner = [topic for topic in every if topic not in PICTURES]
    ways = {"masks": _Way(believing, ros, TOPICS, watched=False), "nothing": _Way(pipeline(), ros, ()),
            "planner": _Way(pipeline(), ros, planner), "temporal": _Way(pipeline(temporal_filter=True), ros, planner),
            "overlay": _Way(pipeline(), ros, every)}
    samples = interleave(ways, count)
    rows = {name: _row(samples[name]) for name in ways}
    base = rows["masks"]
    for row in rows.values():
        row["added_ms"] = round(row["frame_ms"] - base["frame_ms"], 2)
        row["added_share"] = round(row["added_ms"] / base["frame_ms"], 4)
    return rows


def _row(samples: Sequence[Stages]) -> dict[str, Any]:
    stages = {name: percentile([s.get(name, 0.0) for s in samples], 50) for name in samples[0]}
    return {"frame_ms": stages.pop("whole"), "stages_ms": stages}


class _Believing(Monitor):
    """A monitor that does nothing."""

    def received(self, *_: Any) -> None:
        pass

    def arrived(self, *_: Any) -> bool:
        return True

    def finished(self, *_: Any) -> None:
        pass


class _Way:
    """The node's worker with some of its topics subscribed; call it with the number of a frame."""

    def __init__(self, pipeline: Pipeline, ros: RosFrames, topics: Collection[str], watched: bool = True) -> None:
        """watched: with health and diagnostics, each with a subscriber."""
        publishers = {output: ros.publisher(output.topic, output.type, output.qos) for output in OUTPUTS
                      if output.topic in topics}
        settings = pipeline.settings
        geometry = Geometry(settings.mount, PoseSource(ros.node, settings), None, lambda *_: None)
        self._ros, self._watched = ros, watched
        self._worker = Worker(pipeline, publishers, lambda *_: None, geometry, ros.now)
        geometry.camera_info = info = _camera_info()
        size = (info.height, info.width)
        geometry.ground(Header(), size, size)
        geometry.wait(60.0)
        self._health = None
        if watched:
            ros.node.get_logger().set_level(LoggingSeverity.FATAL)  # what health says isn't the benchmark's
            self._health = HealthPublisher(ros.node, pipeline.monitor, HealthTopic(ros.node))
            ros.subscribe("/diagnostics", DiagnosticArray, 10)
            ros.subscribe("~/health", String, LATCHED)

    def __call__(self, number: int) -> Stages:
        reported: dict[str, float] = {}
        start = time.perf_counter()
        message, received = self._ros.receive(number)
        self._worker.pipeline.monitor.received(self._ros.now())
        self._worker.process(message)
        if self._health is not None:
            with stage(reported, "diagnostics"):  # ten times a second in the node: with every frame is rather more
                self._health.update()
        whole = (time.perf_counter() - start) * 1e3
        done = self._worker.stages  # of the frame before, where the second thread still publishes
        stages = {**(done[-1] if done else {}), **reported}
        stages["receive"] = stages.get("receive", 0.0) + received
        return {**stages, "whole": whole}


def _camera_info() -> CameraInfo:
    camera = next(clip.camera for clip in CLIPS.values() if clip.camera is not None)
    info = CameraInfo(width=camera.width, height=camera.height, distortion_model=camera.model)
    info.k, info.d = list(camera.matrix), list(camera.distortion)
    return info
