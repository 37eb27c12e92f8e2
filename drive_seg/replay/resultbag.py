"""The result bag: what the node would have published, at the times at which the camera's messages were recorded."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.rosbag2.storage_mcap import McapWriter, zstd

from drive_seg.core.classes import ClassTable
from drive_seg.core.stopwatch import stage
from drive_seg.outputs import table
from drive_seg.outputs.health import DIAGNOSTICS, HEALTH, diagnostics, health_text
from drive_seg.outputs.label_info import LABEL_INFO, label_info
from drive_seg.outputs.label_table import LABEL_TABLE, label_table
from drive_seg.outputs.messages import GRID, JPEG, POINTS, SCAN, TEXT
from drive_seg.outputs.table import Result
from drive_seg.replay.health import HealthReport
from drive_seg.replay.messages import BAG
from drive_seg.sources.bag import Bag, BagError, BagImage

NODE = "/drive_seg"
OUTPUTS = tuple(output.name for output in table.OUTPUTS)
"""What can be written, each under the node's name."""
MASKS = tuple(output.name for output in table.OUTPUTS if output.mask)
"""Always written: comparisons and reports need them."""
ON_GROUND = tuple(output.name for output in table.OUTPUTS if output.ground)
"""Those of them that need the camera's pose."""
USUAL = tuple(output.name for output in table.OUTPUTS if not output.large)
"""Those that are written unless others are asked for: all but pictures and points, which are large."""
STORAGES = ("mcap", "sqlite3")

_QOS = Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.VOLATILE, QosTime(0, 0), QosTime(0, 0),
           QosLiveliness.AUTOMATIC, QosTime(0, 0), False)
"""The quality of service with which the node publishes."""

def written(outputs: Collection[str], ground: bool) -> tuple[str, ...]:
    """What a result bag gets: masks always, and of `outputs` those on the ground where something is known of it."""
    return tuple(name for name in OUTPUTS if name in MASKS or (name in outputs and (ground or name not in ON_GROUND)))


def topic_of(output: str, camera: str = "") -> str:
    """The topic of one of OUTPUTS or NOTICES. camera: its name, where it is one of several."""
    return output if output.startswith("/") else "/".join([NODE, *filter(None, [camera]), output])


class ResultBag:
    """Writes a result bag. Use as a context manager; an error inside leaves an unfinished bag behind.

    Raises OSError where it can't be written.
    """

    def __init__(self, folder: Path, outputs: Sequence[str], storage: str = "mcap", *,
                 cameras: Mapping[str, Sequence[str]] | None = None, joint: Sequence[str] = ()) -> None:
        """folder: where the bag goes, must not exist. outputs: of OUTPUTS. cameras: the same of each of several cameras
        instead, by name. joint: those of OUTPUTS that they make together. Messages are compressed with zstd, as rosbag2
        does."""
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin[storage.upper()])
        mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
        self._writer.set_compression(mode, CompressionFormat.ZSTD)
        self._outputs = {camera: [output for output in table.OUTPUTS if output.name in names]
                         for camera, names in ({"": outputs} if cameras is None else cameras).items()}
        self._joint = [output for output in table.OUTPUTS if output.name in joint]
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> ResultBag:
        self._writer.__enter__()
        storage = self._writer.storage
        if isinstance(storage, McapWriter):  # level 3, the default, takes half as long again and saves little
            storage.compressor = partial(zstd.compress, level=1)
        for notice in table.NOTICES:
            durability = QosDurability.TRANSIENT_LOCAL if notice.latched else QosDurability.VOLATILE
            self._connect(notice.name, notice.kind, _QOS._replace(depth=notice.depth, durability=durability))
        for camera, outputs in self._outputs.items():
            for output in outputs:
                self._connect(output.name, output.kind, _QOS, camera)
            if camera:
                latched = _QOS._replace(durability=QosDurability.TRANSIENT_LOCAL)
                self._connect(HEALTH, TEXT, latched, camera)
        for output in self._joint:
            self._connect(output.name, output.kind, _QOS)
        return self

    def __exit__(self, *error: Any) -> None:
        with _as_os_error():
            self._writer.__exit__(*error)

    def name_labels(self, labels: ClassTable, log_ns: int) -> None:
        """Write what the numbers in the masks mean."""
        self._send(LABEL_TABLE, log_ns, BAG.text(label_table(labels)))
        self._send(LABEL_INFO, log_ns, label_info(BAG, BAG.header(log_ns, "")))

    def report(self, report: HealthReport, camera: str = "") -> None:
        """Write health and diagnostics. camera: whose, "" for the whole's."""
        if report.diagnostics is not None:
            name = "/".join(filter(None, [NODE[1:], camera]))
            array = diagnostics(BAG, BAG.header(report.log_ns, ""), report.diagnostics, name)
            self._send(DIAGNOSTICS, report.log_ns, array)
        if report.health is not None:
            state, reasons = report.health
            self._send(HEALTH, report.log_ns, BAG.text(health_text(state.value, reasons, report.log_ns / 1e9)), camera)

    def write_joint(self, name: str, log_ns: int, message: Any) -> None:
        """Write what the cameras made together: one of `joint`."""
        self._send(name, log_ns, message)

    def write(self, source: BagImage, result: Result, stages: dict[str, float], camera: str = "") -> None:
        """Write one frame's outputs with the time of the message that they come from. stages: milliseconds by stage,
        which grow. camera: its name, where it is one of several."""
        for output in self._outputs[camera]:
            with stage(stages, output.name if output.name in ON_GROUND else "write"):
                message = output.make(result)
            if message is not None:
                with stage(stages, "write"):
                    self._send(output.name, source.log_ns, message, camera)

    def _connect(self, name: str, kind: str, qos: Qos, camera: str = "") -> None:
        topic = topic_of(name, camera)
        self._connections[topic] = self._writer.add_connection(topic, kind, typestore=BAG.types,
                                                               offered_qos_profiles=[qos])

    def _send(self, name: str, log_ns: int, message: Any, camera: str = "") -> None:
        connection = self._connections[topic_of(name, camera)]
        with _as_os_error():
            self._writer.write(connection, log_ns, BAG.types.serialize_cdr(message, connection.msgtype))


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """sqlite3 tells of a full disk with errors of its own."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"the result bag can't be written: {error}") from error


@dataclass(frozen=True)
class Masks:
    """One frame of a result bag. log_ns: when its camera message was recorded. images: by name of OUTPUTS.

    Masks are (H, W) uint8, overlays (H, W, 3) uint8 BGR, the grid (cells along y, along x) int8, the scan (rays,)
    float32 metres, points (H, W, 3) float32 metres.
    """

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
        frame: Masks | None = None
        for topic, log_ns, data in self._bag.messages(list(self._names), start_ns, stop_ns):
            message = self._bag.read(data, topic.type)
            output, stamp = self._names[topic.name], message.header.stamp
            stamp_ns = stamp.sec * 10**9 + stamp.nanosec
            if frame is not None and ((frame.log_ns, frame.stamp_ns) != (log_ns, stamp_ns) or output in frame.images):
                yield frame
                frame = None
            if frame is None:
                frame = Masks(log_ns, stamp_ns, {})
            frame.images[output] = _image(message, topic.type)
        if frame is not None:
            yield frame

    def __enter__(self) -> ResultReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._bag.close()


def _image(message: Any, kind: str) -> np.ndarray:
    if kind == JPEG:
        picture = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
        if picture is None:
            raise BagError("an overlay of the result bag is not a whole JPEG", "replay the drive again")
        return picture
    if kind == GRID:
        return message.data.reshape(message.info.height, message.info.width)
    if kind == SCAN:
        return message.ranges
    if kind == POINTS:
        return message.data.view(np.float32).reshape(message.height, message.width, 3)
    shape = (message.height, message.width) + ((3,) if message.encoding == "bgr8" else ())
    return message.data.reshape(shape)
