"""What networks trained before together say of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.classes import ClassTable, Group
from drive_seg.core.frame import Frame
from drive_seg.core.resize import network_input
from drive_seg.network import STRIDE, Network
from drive_seg.runtimes import open_engine


class FormerNetworks:
    """Networks of this package, each asked at two sizes, once of the picture mirrored: surer than any of them alone."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Raises NetworkError, EngineError."""
        self._engines = []
        for network in map(Network.load, files):
            for factor in (1.0, 1.25):
                height, width = (round(factor * side / STRIDE) * STRIDE for side in network.input_size)
                engine = open_engine("openvino", network, input_size=(height, width), precision="fp32")
                self._engines.append((engine, network))

    def background(self, bgr: np.ndarray) -> np.ndarray:
        """The mean probability of background, (H, W) float32, for an image (H, W, 3) uint8 BGR."""
        return self.mean(bgr, lambda probabilities, table: probabilities[
            table.group_lut[:len(probabilities)] == Group.BACKGROUND].sum(0))

    def mean(self, bgr: np.ndarray, answer: Callable[[np.ndarray, ClassTable], np.ndarray]) -> np.ndarray:
        """The networks' mean answer, (H, W) float32, for an image (H, W, 3) uint8 BGR.

        answer: from probabilities (C, h, w) float32 and the classes that they are of to (h, w) float32.
        """
        total = np.zeros(bgr.shape[:2], np.float32)
        for number, (engine, network) in enumerate(self._engines):
            picture = np.ascontiguousarray(bgr[:, ::-1]) if number % 2 else bgr
            logits = engine.infer(network_input(Frame.from_array(picture), engine.input_size)) / network.temperature
            scores = np.exp(logits - logits.max(0))
            found = answer(scores / scores.sum(0), network.table)
            whole = cv2.resize(found, bgr.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            total += whole[:, ::-1] if number % 2 else whole
        return total / len(self._engines)
