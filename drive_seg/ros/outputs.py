"""What the node publishes: topic, type, quality of service, and how each message is made from a result.

An output is computed only while somebody subscribes to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2
from std_msgs.msg import Header

from drive_seg.core.frame import Frame
from drive_seg.core.ground import Sight
from drive_seg.core.overlay import draw_overlay
from drive_seg.core.segmentation import Segmentation
from drive_seg.ros.geometry import Geometry
from drive_seg.ros.images import to_image, to_jpeg

IMAGE_QOS = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
"""Reliable, so that it serves reliable and best-effort subscribers; only the newest is kept."""


@dataclass
class Result:
    """One segmented frame on its way out. header: the input's, unchanged. camera: the newest CameraInfo, if any."""

    header: Header
    frame: Frame
    segmentation: Segmentation
    camera: CameraInfo | None
    settings: SimpleNamespace
    geometry: Geometry
    _overlay: np.ndarray | None = None

    @cached_property
    def sight(self) -> Sight | None:
        """What the frame shows of the ground, walked once for grid, scan and points; None without a camera model."""
        view = self.geometry.view(self.header, self.camera, self.frame.size, self.segmentation.labels.shape)
        return None if view is None else view.see(self.segmentation.labels, self.segmentation.drivable)

    def on_ground(self, make: Callable[[Geometry, Sight], Any]) -> Any | None:
        """make(geometry, sight); None, so that nothing is published, without sight."""
        return None if self.sight is None else make(self.geometry, self.sight)

    def overlay(self) -> np.ndarray:
        """The frame with the result drawn over it, BGR; drawn once for both overlay topics."""
        if self._overlay is None:
            bgr = self.frame.bgr()
            size = self.segmentation.labels.shape
            if bgr.shape[:2] != size:
                bgr = cv2.resize(bgr, (size[1], size[0]), interpolation=cv2.INTER_AREA)
            self._overlay = draw_overlay(bgr, self.segmentation.labels, self.segmentation.drivable)
        return self._overlay


@dataclass(frozen=True, eq=False)
class Output:
    """One topic below the node's name. make: gives None where nothing can be told. needs_drivable: it shows the
    drivable area. stage: under which its time is counted.
    """

    topic: str
    type: type
    make: Callable[[Result], Any | None]
    needs_drivable: bool = False
    qos: QoSProfile = field(default_factory=lambda: IMAGE_QOS)
    stage: str = "publish"


OUTPUTS: tuple[Output, ...] = (
    Output("~/labels", Image, lambda r: to_image(r.segmentation.labels, r.header, "mono8")),
    Output("~/drivable_area", Image, lambda r: to_image(r.segmentation.drivable, r.header, "mono8"), True),
    Output("~/confidence", Image, lambda r: to_image(r.segmentation.confidence, r.header, "mono8")),
    Output("~/classes", Image, lambda r: to_image(r.segmentation.classes, r.header, "mono8")),
    Output("~/overlay", Image, lambda r: to_image(r.overlay(), r.header, "bgr8"), True),
    Output("~/overlay/compressed", CompressedImage,
           lambda r: to_jpeg(r.overlay(), r.header, r.settings.overlay_quality), True),
    Output("~/grid", OccupancyGrid, lambda r: r.on_ground(lambda g, s: g.grid(s, r.header)), True, stage="grid"),
    Output("~/scan", LaserScan, lambda r: r.on_ground(lambda g, s: g.scan(s, r.header)), True, stage="scan"),
    Output("~/points", PointCloud2, lambda r: r.on_ground(lambda g, s: g.points(s, r.segmentation.labels, r.header)),
           True, stage="points"),
)
