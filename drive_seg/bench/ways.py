"""From image message to published masks: this package's way, and that of the Nav2 tutorial on semantic segmentation.

Both with the same network.
"""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np

from drive_seg.bench.measure import Stages
from drive_seg.bench.ros_frames import RosFrames
from drive_seg.core.engine import Engine
from drive_seg.core.resize import network_input
from drive_seg.core.stopwatch import stage
from drive_seg.pipeline import Model, Pipeline
from drive_seg.ros.geometry import Geometry
from drive_seg.ros.images import to_frame, to_image
from drive_seg.ros.outputs import OUTPUTS
from drive_seg.ros.pose import PoseSource
from drive_seg.ros.worker import Worker
from drive_seg.settings import Settings

TOPICS = ("~/labels", "~/drivable_area")
"""What a planner subscribes to."""


class NodeWay:
    """The node's worker. Call with the number of a frame; returns milliseconds by stage."""

    def __init__(self, settings: Settings, model: Model, ros: RosFrames) -> None:
        publishers = {output: ros.publisher(output.topic) for output in OUTPUTS if output.topic in TOPICS}
        pipeline = Pipeline(replace(settings, frozen_timeout=0.0), model)
        self._ros = ros
        geometry = Geometry(settings.mount, PoseSource(ros.node, settings), None, lambda error: None)
        self._worker = Worker(pipeline, publishers, lambda kind, text: None, geometry, time.monotonic)

    def __call__(self, number: int) -> Stages:
        start = time.perf_counter()
        message, received = self._ros.receive(number)
        self._worker.pipeline.monitor.received(time.monotonic())
        self._worker.process(message)
        whole = (time.perf_counter() - start) * 1e3
        stages = dict(self._worker.stages[-1])
        stages["receive"] += received
        return {**stages, "whole": whole}


class Nav2Way:
    """ONNX Runtime; the logits are scaled up to the camera's size, then soft-max, argmax and maximum in numpy.

    Call with the number of a frame; returns milliseconds by stage.
    """

    def __init__(self, engine: Engine, ros: RosFrames) -> None:
        self._engine = engine
        self._ros = ros
        self._labels, self._confidence = (ros.publisher(f"nav2/{name}") for name in ("labels", "confidence"))

    def __call__(self, number: int) -> Stages:
        stages: dict[str, float] = {}
        start = time.perf_counter()
        message, received = self._ros.receive(number)
        with stage(stages, "receive"):
            frame = to_frame(message)
        with stage(stages, "resize"):
            image = network_input(frame, self._engine.input_size)
        with stage(stages, "infer"):
            logits = self._engine.infer(image)
        with stage(stages, "decode"):
            labels, confidence = full_size_softmax(logits, frame.size)
        with stage(stages, "publish"):
            self._labels.publish(to_image(labels, message.header, "mono8"))
            self._confidence.publish(to_image(confidence, message.header, "mono8"))
        stages["receive"] += received
        return {**stages, "whole": (time.perf_counter() - start) * 1e3}


def full_size_softmax(logits: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Logits (C, h, w) -> class ids and confidence, both (H, W) uint8 for size = (H, W)."""
    scaled = cv2.resize(np.ascontiguousarray(logits.transpose(1, 2, 0)), size[::-1], interpolation=cv2.INTER_LINEAR)
    exponents = np.exp(scaled - scaled.max(axis=2, keepdims=True))
    probabilities = exponents / exponents.sum(axis=2, keepdims=True)
    labels = probabilities.argmax(axis=2).astype(np.uint8)
    return labels, (probabilities.max(axis=2) * 255).astype(np.uint8)
