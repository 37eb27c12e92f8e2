"""Messages of results, made with the classes of whatever library writes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from drive_seg.core.grid import GridShape
from drive_seg.core.ground import Sight
from drive_seg.core.mounted import MountedCamera
from drive_seg.core.points import Points

IMAGE, JPEG, GRID, SCAN, POINTS, TEXT = (
    "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "nav_msgs/msg/OccupancyGrid",
    "sensor_msgs/msg/LaserScan", "sensor_msgs/msg/PointCloud2", "std_msgs/msg/String")
"""Types of the messages."""


class Messages(ABC):
    """Makes messages. rclpy's classes and those of rosbags take the same fields by name, but other arrays."""

    @abstractmethod
    def kind(self, name: str) -> type[Any]:
        """The class of a message, by its full name."""

    def make(self, name: str, **fields: Any) -> Any:
        """A message by its full name, with these fields; what `array` and `memory` returned is taken as it is."""
        return self.kind(name)(**fields)

    @abstractmethod
    def array(self, values: np.ndarray) -> Any:
        """Values of any shape, as what a field of that type takes: of its own memory, or for the caller to leave."""

    @abstractmethod
    def memory(self, size: int) -> Any:
        """What a field uint8[] takes, of so many bytes, to be written through the buffer protocol."""

    def image(self, header: Any, image: np.ndarray, encoding: str) -> Any:
        """An Image. image: (H, W) for mono8 or (H, W, 3) for bgr8, uint8."""
        height, width = image.shape[:2]
        return self.make(IMAGE, header=header, height=height, width=width, encoding=encoding, is_bigendian=0,
                         step=width * image[0, 0].nbytes, data=self.array(image))

    def jpeg(self, header: Any, image: np.ndarray, quality: int) -> Any:
        """A JPEG CompressedImage of a BGR image (H, W, 3) uint8."""
        data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
        # The format is as image_transport writes it.
        return self.make(JPEG, header=header, format="bgr8; jpeg compressed bgr8", data=self.array(data))

    def text(self, text: str) -> Any:
        """A String."""
        return self.make(TEXT, data=text)


def grid_message(messages: Messages, header: Any, cells: np.ndarray, shape: GridShape, ground_z: float) -> Any:
    """OccupancyGrid of (cells along y, cells along x) int8. header: of base_frame. ground_z: metres."""
    make = messages.make
    origin = make(
        "geometry_msgs/msg/Pose",
        position=make("geometry_msgs/msg/Point", x=float(shape.back), y=float(shape.right), z=float(ground_z)),
        orientation=make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0))
    info = make("nav_msgs/msg/MapMetaData", map_load_time=header.stamp, resolution=float(shape.resolution),
                height=cells.shape[0], width=cells.shape[1], origin=origin)
    return make(GRID, header=header, info=info, data=messages.array(cells))


def scan_message(messages: Messages, header: Any, ranges: np.ndarray, *, angle_min: float, increment: float,
                 range_min: float, range_max: float, angle_max: float | None = None) -> Any:
    """LaserScan of (rays,) float32 metres. header: of base_frame. Angles in radians, the last follows from the others
    unless it is given."""
    last = angle_min + (len(ranges) - 1) * increment if angle_max is None else angle_max
    return messages.make(
        SCAN, header=header, angle_min=angle_min, angle_max=last, angle_increment=increment, time_increment=0.0,
        scan_time=0.0, range_min=range_min, range_max=range_max, ranges=messages.array(ranges),
        intensities=messages.array(np.empty(0, np.float32)))


class GroundMessages:
    """Messages about the ground, all in base_frame with the image's stamp. For one camera at one pose."""

    def __init__(self, messages: Messages, camera: MountedCamera) -> None:
        self.camera = camera
        self._messages, self._mount = messages, camera.mount

    def grid(self, header: Any, sight: Sight) -> Any:
        """OccupancyGrid."""
        grid = self.camera.grid
        return grid_message(self._messages, self._on_ground(header), grid.fill(sight), grid.shape, self._mount.ground_z)

    def scan(self, header: Any, sight: Sight) -> Any:
        """LaserScan."""
        scan = self.camera.scan
        return scan_message(self._messages, self._on_ground(header), scan.ranges(sight), angle_min=scan.angle_min,
                            increment=scan.increment, range_min=scan.range_min, range_max=scan.range_max,
                            angle_max=scan.angle_max)

    def points(self, header: Any, sight: Sight, labels: np.ndarray) -> Any:
        """The organised PointCloud2, as large as the labels; valid until the next call."""
        data, points = self._cloud
        height, width = labels.shape
        points.cloud(labels, sight)
        field = self._messages.kind("sensor_msgs/msg/PointField")
        fields = [field(name=name, offset=4 * i, datatype=field.FLOAT32, count=1) for i, name in enumerate("xyz")]
        return self._messages.make(
            POINTS, header=self._on_ground(header), height=height, width=width, fields=fields, is_bigendian=False,
            point_step=12, row_step=12 * width, data=data, is_dense=False)

    def prepare(self) -> None:
        """Make every look-up table now, not with the first frame that needs it. Raises ValueError."""
        _ = self.camera.grid, self.camera.scan, self._cloud

    @cached_property
    def _cloud(self) -> tuple[Any, Points]:
        """The memory of the points, and what fills it."""
        height, width = self.camera.view.camera.size
        # The message takes this memory as it is: 11 MB at 1280x720 that need no copy before it is sent.
        data = self._messages.memory(12 * height * width)
        return data, self.camera.points(np.frombuffer(data, np.float32).reshape(height, width, 3))

    def _on_ground(self, header: Any) -> Any:
        return self._messages.make("std_msgs/msg/Header", stamp=header.stamp, frame_id=self._mount.base_frame)
