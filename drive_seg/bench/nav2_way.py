"""How the node of the Nav2 tutorial on semantic segmentation works, with the same network.

ONNX Runtime; the logits are scaled up to the camera's size, then soft-max, argmax and maximum in numpy.
"""

from __future__ import annotations

import time

import cv2
import numpy as np

from drive_seg.bench.measure import Stages
from drive_seg.bench.ros_frames import RosFrames
from drive_seg.core.engine import Engine
from drive_seg.core.resize import network_input
from drive_seg.core.stopwatch import stage
from drive_seg.ros.images import to_frame, to_image


class Nav2Way:
    """Call with the number of a frame; returns milliseconds by stage."""

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
