"""The one entry point of the core: camera frame in, segmentation out."""

from __future__ import annotations

import cv2
import numpy as np

from drive_seg.core.classes import ClassTable
from drive_seg.core.decode import Decoded
from drive_seg.core.drivable import DrivableRule, drivable_area
from drive_seg.core.ego_edge import end_at_mask, upper_edge
from drive_seg.core.engine import Engine
from drive_seg.core.frame import Frame
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.stopwatch import stage
from drive_seg.core.surface import SurfaceRule, distrust
from drive_seg.core.temporal import TemporalFilter


class Segmenter:
    """Turns frames into labels and drivable area, with one engine. One thread at a time."""

    def __init__(self, engine: Engine, table: ClassTable, rule: DrivableRule | None = None,
                 ego: np.ndarray | None = None, surface: SurfaceRule | None = None,
                 temporal: TemporalFilter | None = None) -> None:
        """ego: (h, w) mask of any size, non-zero where the camera sees the vehicle itself; scaled to the frame.
        surface: when road that looks unlike the road around it becomes unknown; None trusts it. temporal: filters the
        labels of successive frames; None leaves each frame to itself.
        """
        self.engine = engine
        self.table = table
        self.rule = rule or DrivableRule()
        self.surface = surface
        self.temporal = temporal
        self._ego = None if ego is None else (np.asarray(ego) != 0).astype(np.uint8)
        self._scaled_ego: np.ndarray | None = None
        self._ego_edge: np.ndarray | None = None
        warm_up(table)  # the engine is warm; let the first frame find this compiled as well

    def segment(self, frame: Frame | np.ndarray, *, size: tuple[int, int] | None = None,
                drivable: bool = True) -> Segmentation:
        """Segment one frame.

        frame: a Frame, or a BGR image (H, W, 3) uint8. size: (height, width) of the results, the frame's own by
        default. Raises FrameError for bytes that are not an image and EngineError when the engine fails.
        """
        if not isinstance(frame, Frame):
            frame = Frame.from_array(frame)
        size = size or frame.size
        stages: dict[str, float] = {}
        return self.complete(frame, self.engine.decode(frame, size, stages), stages, drivable=drivable)

    def complete(self, frame: Frame, decoded: Decoded, stages: dict[str, float], *,
                 drivable: bool = True) -> Segmentation:
        """The rest of `segment`, for a frame that an engine has decoded already: frames in their order.

        stages: milliseconds so far, which go on in the result's.
        """
        ego = self._ego_mask(decoded.labels.shape)
        if self._ego_edge is not None:
            end_at_mask(decoded, self.table, self._ego_edge)
        if self.surface is not None:
            with stage(stages, "surface"):
                distrust(frame, decoded.labels, self.surface)
        if self.temporal is not None:
            with stage(stages, "temporal"):
                self.temporal.apply(decoded.labels, decoded.confidence)
        mask = None
        if drivable:
            with stage(stages, "drivable"):
                mask = drivable_area(decoded.labels, decoded.classes, decoded.confidence, self.table, self.rule, ego)
        return Segmentation(decoded.labels, decoded.classes, mask, decoded.confidence, stages)

    def _ego_mask(self, size: tuple[int, int]) -> np.ndarray | None:
        if self._ego is None:
            return None
        if self._scaled_ego is None or self._scaled_ego.shape != size:
            scaled = cv2.resize(self._ego, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
            self._scaled_ego = scaled.astype(np.bool_)
            self._ego_edge = upper_edge(self._scaled_ego)
        return self._scaled_ego


def warm_up(table: ClassTable) -> None:
    """Run every compiled function of segmenting once, on a tiny image."""
    tiny = np.zeros((2, 2), np.uint8)
    drivable_area(tiny, tiny, tiny, table, DrivableRule())
    drivable_area(tiny, tiny, tiny, table, DrivableRule(), np.zeros((2, 2), np.bool_))
    end_at_mask(Decoded(tiny, tiny, tiny), table, upper_edge(np.zeros((2, 2), np.bool_)))
    patch = np.zeros((64, 64, 3), np.uint8)
    patch[:16, :16] = 200  # strange enough for what is done then to be compiled too
    distrust(Frame.from_array(patch), np.ones((64, 64), np.uint8), SurfaceRule(1e-3))
