"""The outputs: name, type, and how each message is made from a result. The only table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from drive_seg.core.frame import Frame
from drive_seg.core.ground import Sight
from drive_seg.core.overlay import draw_overlay
from drive_seg.core.segmentation import Segmentation
from drive_seg.outputs.health import ARRAY, DIAGNOSTICS, HEALTH
from drive_seg.outputs.label_info import INFO, LABEL_INFO
from drive_seg.outputs.label_table import LABEL_TABLE
from drive_seg.outputs.messages import GRID, IMAGE, JPEG, POINTS, SCAN, TEXT, GroundMessages, Messages

Size = tuple[int, int]


@dataclass
class Result:
    """One segmented frame on its way out.

    header: the input's, unchanged. overlay_quality: of JPEG, 1..100. find_ground: gives the ground for an image and
    labels of these sizes, (height, width) each; None where nothing can be said of it.
    """

    messages: Messages
    header: Any
    frame: Frame
    segmentation: Segmentation
    overlay_quality: int
    find_ground: Callable[[Size, Size], GroundMessages | None]

    @cached_property
    def ground(self) -> tuple[GroundMessages, Sight] | None:
        """The ground and what the frame shows of it, walked once for grid, scan and points."""
        labels, drivable = self.segmentation.labels, self.segmentation.drivable_mask
        ground = self.find_ground(self.frame.size, labels.shape)
        return None if ground is None else (ground, ground.camera.see(labels, drivable))

    @cached_property
    def overlay(self) -> np.ndarray:
        """The frame with the result drawn over it, BGR; drawn once for both overlay topics."""
        bgr = self.frame.bgr()
        size = self.segmentation.labels.shape
        if bgr.shape[:2] != size:
            bgr = cv2.resize(bgr, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        return draw_overlay(bgr, self.segmentation.labels, self.segmentation.drivable)


@dataclass(frozen=True, eq=False)
class Output:
    """One topic below the node's name, for every frame.

    make: gives None where nothing can be said. needs_drivable: it shows the drivable area. stage: under which its time
    is counted. mask: goes out before the others, and replay always writes it. ground: measures the ground, which needs
    the camera's pose. large: replay writes it only where it is asked for.
    """

    name: str
    kind: str
    make: Callable[[Result], Any | None]
    needs_drivable: bool = False
    stage: str = "publish"
    mask: bool = False
    ground: bool = False
    large: bool = False


@dataclass(frozen=True)
class Notice:
    """One topic beside those of the frames, below the node's name where it has no slash in front. latched: who comes
    late gets the last message. depth: messages that are kept."""

    name: str
    kind: str
    latched: bool = False
    depth: int = 1


def _image(name: str, field: str, *, needs_drivable: bool = False, mask: bool = False) -> Output:
    return Output(name, IMAGE, lambda r: r.messages.image(r.header, getattr(r.segmentation, field), "mono8"),
                  needs_drivable, mask=mask)


def _on_ground(name: str, kind: str, make: Callable[[Result, GroundMessages, Sight], Any],
               large: bool = False) -> Output:
    return Output(name, kind, lambda r: None if r.ground is None else make(r, *r.ground), True, name, ground=True,
                  large=large)


OUTPUTS: tuple[Output, ...] = (
    _image("labels", "labels", mask=True),
    _image("drivable_area", "drivable", needs_drivable=True, mask=True),
    _image("confidence", "confidence"),
    _image("classes", "classes"),
    Output("overlay", IMAGE, lambda r: r.messages.image(r.header, r.overlay, "bgr8"), True, large=True),
    Output("overlay/compressed", JPEG, lambda r: r.messages.jpeg(r.header, r.overlay, r.overlay_quality), True,
           large=True),
    _on_ground("grid", GRID, lambda r, ground, sight: ground.grid(r.header, sight)),
    _on_ground("scan", SCAN, lambda r, ground, sight: ground.scan(r.header, sight)),
    _on_ground("points", POINTS, lambda r, ground, sight: ground.points(r.header, sight, r.segmentation.labels),
               large=True),
)
"""The outputs of a frame, in the order in which they are made."""

NOTICES: tuple[Notice, ...] = (
    Notice(LABEL_TABLE, TEXT, latched=True),
    Notice(LABEL_INFO, INFO, latched=True),
    Notice(HEALTH, TEXT, latched=True),
    Notice(DIAGNOSTICS, ARRAY, depth=10),
)
"""What the numbers in the masks mean, and whether to believe them."""
