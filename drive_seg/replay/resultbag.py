"""The result bag: what the node would have published, at the times at which the camera's messages were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.rosbag2.storage_mcap import zstd
from rosbags.typesys import Stores, get_typestore

from drive_seg.footage.bag import COMPRESSED, RAW, Bag, BagImage
from drive_seg.replay.ground import Mount

NODE = "/drive_seg"
MASKS = ("labels", "drivable_area")
"""Always written: comparisons and reports need them."""
OUTPUTS = (*MASKS, "classes", "confidence", "overlay")
"""What can be written, each under the node's name; the overlay goes to overlay/compressed. `grid` comes by itself where
the camera's mount is known."""
GRID = "nav_msgs/msg/OccupancyGrid"
STORAGES = ("mcap", "sqlite3")

_KINDS = {"overlay": COMPRESSED, "grid": GRID}

_QOS = Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.VOLATILE, QosTime(0, 0), QosTime(0, 0),
           QosLiveliness.AUTOMATIC, QosTime(0, 0), False)
"""The quality of service with which the node publishes."""


def topic_of(output: str) -> str:
    """The topic of one of OUTPUTS, or of `grid`."""
    return f"{NODE}/overlay/compressed" if output == "overlay" else f"{NODE}/{output}"


class ResultBag:
    """Writes a result bag. Use as a context manager; an error inside leaves an unfinished bag behind."""

    def __init__(self, folder: Path, outputs: Sequence[str], storage: str = "mcap", mount: Mount | None = None) -> None:
        """folder: where the bag goes, must not exist. mount: of the grid, when there is one. Messages are compressed
        with zstd, as rosbag2 does."""
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin[storage.upper()])
        mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
        self._writer.set_compression(mode, CompressionFormat.ZSTD)
        self._outputs = [*outputs, "grid"] if mount is not None else list(outputs)
        self._mount = mount
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> ResultBag:
        self._writer.__enter__()
        storage = self._writer.storage
        if hasattr(storage, "compressor"):  # level 3, the default, costs half as much again and saves little
            storage.compressor = partial(zstd.compress, level=1)
        for output in self._outputs:
            self._connections[output] = self._writer.add_connection(
                topic_of(output), _KINDS.get(output, RAW), typestore=_types(), offered_qos_profiles=[_QOS])
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def write(self, source: BagImage, images: dict[str, np.ndarray]) -> None:
        """Write one frame's images with the header and the time of the message that they come from.

        images: by name of OUTPUTS, (H, W) uint8, or JPEG bytes (n,) for the overlay, or cells for the grid.
        """
        types = _types().types
        stamp = types["builtin_interfaces/msg/Time"](*divmod(source.stamp_ns, 10**9))
        header = types["std_msgs/msg/Header"](stamp, source.frame_id)
        for output, connection in self._connections.items():
            image = images[output]
            if output == "overlay":
                message = types[COMPRESSED](header, "bgr8; jpeg compressed bgr8", image)
            elif output == "grid":
                message = self._grid(image, stamp)
            else:
                message = types[RAW](header, *image.shape, "mono8", 0, image.shape[1], image.reshape(-1))
            self._writer.write(connection, source.log_ns, _types().serialize_cdr(message, connection.msgtype))


    def _grid(self, cells: np.ndarray, stamp: Any) -> Any:
        types, mount = _types().types, self._mount
        origin = types["geometry_msgs/msg/Pose"](
            types["geometry_msgs/msg/Point"](mount.grid_back, -mount.grid_width / 2, mount.ground_z),
            types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0))
        info = types["nav_msgs/msg/MapMetaData"](stamp, mount.grid_resolution, cells.shape[1], cells.shape[0], origin)
        return types[GRID](types["std_msgs/msg/Header"](stamp, mount.base_frame), info, cells.reshape(-1))


@dataclass(frozen=True)
class Masks:
    """One frame of a result bag. log_ns: when its camera message was recorded. images: by name of OUTPUTS, (H, W)."""

    log_ns: int
    stamp_ns: int
    images: dict[str, np.ndarray]


class ResultReader:
    """Reads a result bag. Use as a context manager."""

    def __init__(self, folder: Path, outputs: Sequence[str] = MASKS) -> None:
        """outputs: those of OUTPUTS to read; what the bag lacks is left out. Raises BagError."""
        self._bag = Bag(folder)
        there = {topic.name for topic in self._bag.topics}
        self._names = {topic_of(output): output for output in outputs if topic_of(output) in there}

    def frames(self, start_ns: int | None = None, stop_ns: int | None = None) -> Iterator[Masks]:
        """The frames recorded from start_ns to before stop_ns, in their order. Raises BagError."""
        found: dict[str, np.ndarray] = {}
        for topic, log_ns, data in self._bag.messages(list(self._names), start_ns, stop_ns):
            message = self._bag.read(data, topic.type)
            output = self._names[topic.name]
            if output == "overlay":
                found[output] = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
            elif output == "grid":
                found[output] = message.data.reshape(message.info.height, message.info.width)
            else:
                found[output] = message.data.reshape(message.height, message.width)
            if len(found) == len(self._names):
                stamp = message.header.stamp
                yield Masks(log_ns, stamp.sec * 10**9 + stamp.nanosec, found)
                found = {}

    def __enter__(self) -> ResultReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._bag.close()


@cache
def _types() -> Any:
    return get_typestore(Stores.ROS2_HUMBLE)
