"""`drive_seg.load()`: a network, ready to segment images in Python, and what it answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from drive_seg.core.classes import UNKNOWN
from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.overlay import draw_overlay
from drive_seg.pipeline import Pipeline
from drive_seg.settings import Settings

_LOG = logging.getLogger("drive_seg")


def load(network: str | PathLike[str] | None = None, engine: str = "auto", **settings: Any) -> RoadModel:
    """Open a network on this machine, checked with its self-test and warmed up.

    network: an .onnx file with its .yaml beside it, by default the one that ships. engine: `auto` takes TensorRT where
    a GPU can be used, else OpenVINO; or `tensorrt`, `openvino`, `onnxruntime`. settings: further fields of Settings,
    by name, e.g. min_confidence=0.8, temporal_filter=True, ego_mask="ego.png".

    Use the result as a context manager, or call its `close`. Lines on what takes long go to the logger `drive_seg`.
    Raises ParameterError, NetworkError, EngineError or SelfTestError; each names the fix.
    """
    given = {"network": fspath(network) if network is not None else "", "engine": engine, **settings}
    return RoadModel(Pipeline.open(Settings.from_values(given, exact=False), progress=_LOG.info, warn=_LOG.warning))


class RoadModel:
    """A network that segments images. One thread at a time."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Takes over the pipeline: `close` closes it."""
        self._pipeline = pipeline
        self._open = True

    def segment(self, image: np.ndarray | Frame, *, encoding: str = "bgr8", stamp: float | None = None) -> Segmentation:
        """Segment one image.

        image: (H, W, 3) uint8 BGR as OpenCV reads it, or a Frame, e.g. of `drive_seg.open_source`. encoding: of an
        array that is not BGR: `rgb8`, `mono8`, `bgra8`, `rgba8`. stamp: seconds, of successive images; only the
        temporal filter needs it. Raises FrameError for an image that can't be used and EngineError where the engine
        fails.
        """
        if not self._open:
            raise EngineError("the model is closed", "load it again, or segment within its `with` block")
        if image is None:
            raise FrameError("the image is None", "check its path: cv2.imread gives None for what it can't read")
        frame = image if isinstance(image, Frame) else Frame.from_array(np.asarray(image), encoding)
        found = self._pipeline.segment(frame, stamp=stamp)
        assert found.drivable is not None  # it was asked for
        return Segmentation(frame.bgr(), found.labels, found.drivable, found.confidence, found.classes,
                            self._pipeline.model.network.table.names, found.stages)

    @property
    def info(self) -> Mapping[str, str]:
        """What runs, for people: engine, precision, device, network and input."""
        return self._pipeline.model.facts

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's own classes, by id."""
        return self._pipeline.model.network.table.names

    def close(self) -> None:
        """Give back memory and threads. Safe to call twice."""
        if self._open:
            self._open = False
            self._pipeline.close()

    def __enter__(self) -> RoadModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.info
        return f"<RoadModel {info['network']} ({info['input']}) on {info['engine']} {info['precision']}>"


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """What the network says of one image: arrays (H, W), pixel by pixel.

    image: the image itself, (H, W, 3) uint8 BGR. labels: uint8, 0 background, 1 road, 2 pavement, 3 obstacle, 255
    unknown, whatever the network. drivable: uint8, 255 where the vehicle can drive, else 0. confidence: uint8,
    probability of the label, 255 = certain. classes: uint8, the network's own ids; class_names: their names by id.
    milliseconds: spent, by stage.

    With the setting output_size="network" all but the image have the network's size instead of the image's.
    """

    image: np.ndarray
    labels: np.ndarray
    drivable: np.ndarray
    confidence: np.ndarray
    classes: np.ndarray
    class_names: tuple[str, ...]
    milliseconds: Mapping[str, float]

    @property
    def unknown(self) -> np.ndarray:
        """(H, W) bool: what the network must not be believed on; never drivable."""
        return self.labels == UNKNOWN

    def draw(self, image: np.ndarray | None = None, *, legend: bool = True) -> np.ndarray:
        """The result over the image, as the node's overlay has it: (H, W, 3) uint8 BGR.

        image: another picture of the same size to draw over, BGR.
        """
        under = self.image if image is None else image
        labels, drivable = self.labels, self.drivable
        if labels.shape != under.shape[:2]:
            size = (under.shape[1], under.shape[0])
            labels, drivable = (cv2.resize(m, size, interpolation=cv2.INTER_NEAREST) for m in (labels, drivable))
        return draw_overlay(under, labels, drivable, legend=legend)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return (f"<Segmentation {width}x{height}, {100 * np.count_nonzero(self.drivable) / self.labels.size:.0f} %"
                f" drivable, {100 * np.count_nonzero(self.unknown) / self.labels.size:.0f} % unknown>")
