"""Small bags: a painted street whose car moves, with stamps that differ from the times of recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from colours import paint_scene, rgb
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START_NS = 1700000000 * 10**9
DELAY_NS = 3_000_000  # from the header stamp to the recording
TYPES = get_typestore(Stores.ROS2_HUMBLE)
CAMERA_QOS = Qos(QosHistory.KEEP_LAST, 1, QosReliability.BEST_EFFORT, QosDurability.VOLATILE, QosTime(0, 0),
                 QosTime(0, 0), QosLiveliness.AUTOMATIC, QosTime(0, 0), False)

TF_QOS = {"/tf": CAMERA_QOS._replace(depth=100, reliability=QosReliability.RELIABLE),
          "/tf_static": CAMERA_QOS._replace(reliability=QosReliability.RELIABLE,
                                            durability=QosDurability.TRANSIENT_LOCAL)}

IMAGE, JPEG, INFO = (f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "CameraInfo"))
TF = "tf2_msgs/msg/TFMessage"


def street(number: int, height: int = 120, width: int = 200) -> np.ndarray:
    """Frame `number` of the drive, BGR: the car moves to the right, and the exposure changes a little all the time, for
    a surface that stands still while something moves is a covered lens."""
    scene = paint_scene(height, width)
    left = 40 + 3 * number % (width - 80)
    scene[height * 2 // 3 : height * 5 // 6, left : left + 20] = rgb("car")[::-1]
    return np.clip(scene.astype(np.int16) + 3 * (3 * number % 7 - 3), 0, 255).astype(np.uint8)


def stamp(number: int, rate: float = 10.0) -> int:
    """Header stamp of frame `number`, nanoseconds."""
    return START_NS + round(number * 1e9 / rate)


def header(number: int, types=TYPES, frame_id: str = "camera_front"):
    seconds, nanoseconds = divmod(stamp(number), 10**9)
    time = types.types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    kind = types.types["std_msgs/msg/Header"]
    return kind(number, time, frame_id) if types is not TYPES else kind(time, frame_id)


def raw(number: int, pixels: np.ndarray, encoding: str = "bgr8", types=TYPES):
    data = np.ascontiguousarray(pixels).reshape(-1)
    return types.types[IMAGE](header(number, types), *pixels.shape[:2], encoding, 0, data.size // pixels.shape[0], data)


def jpeg(number: int, pixels: np.ndarray, types=TYPES):
    return types.types[JPEG](header(number, types), "jpeg", cv2.imencode(".jpg", pixels)[1].reshape(-1))


def info(number: int, height: int = 120, width: int = 200, types=TYPES):
    focal = 150.0
    k = np.array([focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1])
    p = np.array([focal, 0, width / 2, 0, 0, focal, height / 2, 0, 0, 0, 1, 0])
    roi = types.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return types.types[INFO](header(number, types), height, width, "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), p,
                             0, 0, roi)


def transform(parent: str, child: str, translation: Sequence[float], quaternion: Sequence[float], stamp_ns: int = 0,
              types=TYPES):
    """A TFMessage with one transform parent <- child. quaternion: (x, y, z, w)."""
    kinds = types.types
    time = kinds["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    head = kinds["std_msgs/msg/Header"](*(() if types is TYPES else (0,)), time, parent)
    pose = kinds["geometry_msgs/msg/Transform"](kinds["geometry_msgs/msg/Vector3"](*map(float, translation)),
                                                kinds["geometry_msgs/msg/Quaternion"](*map(float, quaternion)))
    return kinds[TF]([kinds["geometry_msgs/msg/TransformStamped"](head, child, pose)])


def write_bag(path: Path, frames: int = 12, *, storage: str = "mcap", compressed: bool = False,
              compression: CompressionMode = CompressionMode.NONE, topic: str = "/camera/image_raw",
              with_info: bool = True, paint: Callable[[int], np.ndarray] = street, messages: Sequence | None = None,
              start: int = 0, qos: Sequence[Qos] = (CAMERA_QOS,), numbers: Sequence[int] | None = None,
              make_info: Callable[..., object] = info, transforms: Sequence[tuple[str, int, object]] = ()) -> Path:
    """Write a rosbag2. Returns its path.

    messages: the image messages themselves, else `paint(number)` is written. numbers: of the frames, consecutive from
    `start` by default. make_info(number, height, width): the CameraInfo of a frame. transforms: (topic, time of
    recording, TFMessage) in the order of time; those of /tf_static come first. Any message may be given as its bytes.
    """
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        kind = JPEG if compressed else IMAGE
        name = f"{topic}/compressed" if compressed else topic
        images = writer.add_connection(name, kind, typestore=TYPES, offered_qos_profiles=qos)
        infos = None
        if with_info:
            infos = writer.add_connection(f"{topic.rsplit('/', 1)[0]}/camera_info", INFO, typestore=TYPES,
                                          offered_qos_profiles=qos)
        tf = {t: writer.add_connection(t, TF, typestore=TYPES, offered_qos_profiles=[TF_QOS[t]])
              for t in dict.fromkeys(t for t, _, _ in transforms)}
        waiting = list(transforms)
        make = jpeg if compressed else raw
        numbers = range(start, start + frames) if numbers is None else numbers
        for index, number in enumerate(numbers):
            log_ns = stamp(number) + DELAY_NS
            while waiting and waiting[0][1] <= log_ns:
                where, when, message = waiting.pop(0)
                writer.write(tf[where], when, _bytes(message, TF))
            picture = paint(number) if messages is None or infos is not None else None
            message = messages[index] if messages is not None else make(number, picture)
            if infos is not None:
                writer.write(infos, log_ns, _bytes(make_info(number, *picture.shape[:2]), INFO))
            writer.write(images, log_ns, _bytes(message, kind))
    return path


def _bytes(message, kind: str) -> bytes:
    return message if isinstance(message, bytes) else TYPES.serialize_cdr(message, kind)


def ros1_types():
    """The types of ROS 1, with that of TF, which rosbags lacks."""
    types = get_typestore(Stores.ROS1_NOETIC)
    types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TF))
    return types


def write_ros1_bag(path: Path, frames: int = 5, transforms: Sequence[tuple[str, object]] = ()) -> Path:
    """The same street as a ROS 1 bag. transforms: (topic, TFMessage) before the first image, with a CameraInfo then."""
    types = ros1_types()
    with Ros1Writer(path) as writer:
        images = writer.add_connection("/camera/image_raw", IMAGE, typestore=types)
        tf = {t: writer.add_connection(t, TF, typestore=types) for t in dict.fromkeys(t for t, _ in transforms)}
        for name, message in transforms:
            writer.write(tf[name], stamp(0), types.serialize_ros1(message, TF))
        if transforms:
            infos = writer.add_connection("/camera/camera_info", INFO, typestore=types)
            writer.write(infos, stamp(0), types.serialize_ros1(info(0, types=types), INFO))
        for number in range(frames):
            data = types.serialize_ros1(raw(number, street(number), types=types), IMAGE)
            writer.write(images, stamp(number) + DELAY_NS, data)
    return path


def cut(source: Path, target: Path, share: float = 0.6) -> Path:
    """A copy of a file that lacks its end, as after a power cut."""
    data = source.read_bytes()
    target.write_bytes(data[: round(len(data) * share)])
    return target
