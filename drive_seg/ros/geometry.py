"""Ground geometry for the node: tables per camera model and pose, and its messages."""

from __future__ import annotations

import array
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo, LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from drive_seg.core.camera import Camera, CameraError
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundError, GroundView, Sight
from drive_seg.core.points import Points
from drive_seg.core.scan import Scan
from drive_seg.ros.pose import PoseError, PoseSource


class Geometry:
    """Keeps the view of the ground and what is looked up in it; built anew only when camera or pose change."""

    def __init__(self, settings: SimpleNamespace, pose_source: PoseSource, ego: np.ndarray | None,
                 complain: Callable[[str, str], None]) -> None:
        """ego: (h, w) of any size, non-zero where the vehicle itself is seen. complain(kind, text)."""
        self._settings, self._pose_source, self._complain = settings, pose_source, complain
        self._ego = ego
        self._key: tuple | None = None
        self._pose: CameraPose | None = None
        self._view: GroundView | None = None
        self._parts: dict = {}

    def view(self, header: Header, info: CameraInfo | None, camera_size: tuple[int, int],
             size: tuple[int, int]) -> GroundView | None:
        """The view of the ground for labels of `size`, of a camera image of camera_size, each (height, width).

        None when it can't be had; the reason is complained.
        """
        try:
            if info is None:
                raise CameraError("no CameraInfo has come: remap `camera_info` to the camera's, and calibrate it")
            pose = self._pose_source.pose(header)
            key = (tuple(info.k), tuple(info.d), tuple(info.r), tuple(info.p), info.distortion_model, info.height,
                   info.width, info.binning_x, info.binning_y, info.roi.x_offset, info.roi.y_offset, info.roi.height,
                   info.roi.width, camera_size, size)
            if key != self._key or not pose.close_to(self._pose):
                self._key = None
                self._build(key, pose, info, camera_size, size)
            return self._view
        except (CameraError, GroundError, PoseError, ValueError) as error:
            self._complain("geometry", str(error))
            return None

    def _build(self, key: tuple, pose: CameraPose, info: CameraInfo, camera_size: tuple[int, int],
               size: tuple[int, int]) -> None:
        s = self._settings
        camera = Camera.from_info(
            height=info.height, width=info.width, k=info.k, d=info.d, distortion_model=info.distortion_model, r=info.r,
            p=info.p, binning=(info.binning_x, info.binning_y), rectified=s.camera_rectified,
            roi=(info.roi.x_offset, info.roi.y_offset, info.roi.height, info.roi.width))
        if camera.size != camera_size:
            raise CameraError(f"CameraInfo describes {camera.size[1]}x{camera.size[0]} images, these are"
                              f" {camera_size[1]}x{camera_size[0]}: it is another camera's, or the images were resized"
                              " without it")
        ego = None
        if self._ego is not None:
            ego = cv2.resize((np.asarray(self._ego) != 0).astype(np.uint8), (size[1], size[0]),
                             interpolation=cv2.INTER_NEAREST_EXACT).astype(np.bool_)
        self._view = GroundView(camera.scaled(size), pose, ground_z=s.ground_z, max_pixel_length=s.max_pixel_length,
                                max_range=s.max_range, ego=ego)
        self._pose, self._key, self._parts = pose, key, {}

    def grid(self, sight: Sight, header: Header) -> OccupancyGrid:
        """The occupancy grid."""
        s = self._settings
        shape = GridShape(s.grid_resolution, s.grid_back, s.grid_front, -s.grid_width / 2, s.grid_width / 2)
        grid = self._part("grid", lambda: Grid(self._view, shape, pavement_is_obstacle=s.pavement_is_obstacle))
        cells = grid.fill(sight)
        message = OccupancyGrid(header=self._on_ground(header))
        info = message.info
        info.map_load_time = header.stamp
        info.resolution = shape.resolution
        info.height, info.width = cells.shape
        info.origin.position.x, info.origin.position.y = shape.back, shape.right
        info.origin.position.z = s.ground_z
        info.origin.orientation.w = 1.0
        message.data = _copied(cells, "b")
        return message

    def scan(self, sight: Sight, header: Header) -> LaserScan:
        """The scan."""
        s = self._settings
        scan = self._part("scan", lambda: Scan(self._view, increment=s.scan_increment,
                                               pavement_is_obstacle=s.pavement_is_obstacle))
        message = LaserScan(header=self._on_ground(header), angle_min=scan.angle_min, angle_max=scan.angle_max,
                            angle_increment=scan.increment, range_min=scan.range_min, range_max=scan.range_max)
        message.ranges = _copied(scan.ranges(sight), "f")
        return message

    def points(self, sight: Sight, labels: np.ndarray, header: Header) -> PointCloud2:
        """The organised cloud, as large as the labels; valid until the next call."""
        height, width = labels.shape
        # The message takes this memory as it is, and publishing copies it: 11 MB at 1280x720 that need no copy before.
        data, points = self._part("points", lambda: self._cloud(height, width))
        points.cloud(labels, sight)
        message = PointCloud2(header=self._on_ground(header), is_bigendian=False, is_dense=False)
        message.height, message.width = height, width
        message.fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
                          for i, name in enumerate("xyz")]
        message.point_step, message.row_step = 12, 12 * width
        message.data = data
        return message

    def _cloud(self, height: int, width: int) -> tuple[array.array, Points]:
        data = array.array("B", bytes(12 * height * width))
        return data, Points(self._view, np.frombuffer(data, np.float32).reshape(height, width, 3))

    def _part(self, name: str, make: Callable):
        if name not in self._parts:
            self._parts[name] = make()
        return self._parts[name]

    def _on_ground(self, header: Header) -> Header:
        return Header(stamp=header.stamp, frame_id=self._settings.base_frame)


def _copied(data: np.ndarray, code: str) -> array.array:
    # rclpy takes an array.array of the field's type as it is; anything else is checked element by element.
    out = array.array(code)
    out.frombytes(memoryview(np.ascontiguousarray(data)).cast("B"))
    return out
