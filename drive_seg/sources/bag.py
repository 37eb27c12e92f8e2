"""Camera images in rosbags: rosbag2 (mcap, sqlite3, compressed or not) and ROS 1, without a ROS installation."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from drive_seg.core.frame import MAX_IMAGE_PIXELS, Frame, FrameError, TooLargeError
from drive_seg.sources.frame_source import FrameSource, Intrinsics, Shot, SourceError
from drive_seg.sources.storage import SQLITE_RECOVER, Rosbag2Reader, StorageError, is_storage, open_reader, plain

RAW = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TF = "tf2_msgs/msg/TFMessage"


class BagError(SourceError):
    """A bag that can't be read, or lacks what was asked for; the message names the bag and the fix."""


class MessageError(BagError):
    """One message whose bytes are not of its type; the bag goes on behind it."""


_LAST_NS = 2 * 10**9  # at the end of a bag, in which its last image is looked for
_FIRST = 5  # messages of a topic that are looked at to tell whether it is a camera


@dataclass(frozen=True)
class Topic:
    """A topic of a bag. qos: the profiles that its recorder saw offered, as rosbags reads them."""

    name: str
    type: str
    count: int
    qos: tuple[Any, ...] = ()


@dataclass(frozen=True)
class BagImage:
    """One image message, not yet decoded.

    log_ns: when it was recorded. stamp_ns, frame_id: of its header. message: the message as rosbags reads it. Of bytes
    that are not an image message these are 0, empty and None, and `problem` says why.
    """

    index: int
    log_ns: int
    stamp_ns: int
    frame_id: str
    message: Any
    problem: str = ""

    def frame(self, max_pixels: int = MAX_IMAGE_PIXELS) -> Frame:
        """Decode it, as the node does. max_pixels: of the largest image that is taken. Raises FrameError."""
        message = self.message
        if message is None:
            raise FrameError(self.problem)
        if hasattr(message, "format"):
            return Frame.from_compressed(message.data, message.format, max_pixels)
        return Frame.from_bytes(message.data, message.encoding, message.height, message.width, message.step, max_pixels)


class Bag:
    """An open bag. Messages are read one by one, never all at once. Use as a context manager."""

    def __init__(self, path: str | Path) -> None:
        """path: a rosbag2 folder, or a .mcap, .db3 (also zstd-compressed) or (ROS 1) .bag file. Raises BagError."""
        self.path = Path(path).expanduser()
        self._stack = contextlib.ExitStack()
        try:
            self._reader = self._open()
        except BaseException:
            self._stack.close()
            raise
        self.is_ros1 = isinstance(self._reader, Ros1Reader)
        counts: dict[str, int] = {}
        for connection in self._reader.connections:
            counts[connection.topic] = counts.get(connection.topic, 0) + connection.msgcount
        self.topics = tuple(
            Topic(c.topic, c.msgtype, counts[c.topic], tuple(getattr(c.ext, "offered_qos_profiles", None) or ()))
            for c in {c.topic: c for c in self._reader.connections}.values())

    def _open(self) -> Ros1Reader | Rosbag2Reader:
        if not self.path.exists():
            raise BagError(f"there is no bag at {self.path}")
        if self.path.is_file() and not is_storage(self.path):
            raise BagError(f"{self.path} is not a bag", "use a rosbag2 folder or a .mcap, .db3 or .bag file")
        with self._readable():
            return open_reader(self.path, self._stack)

    def _readable(self) -> _Readable:
        return _Readable(self.path)

    @property
    def start_ns(self) -> int:
        """When the first message was recorded; 0 for an empty bag."""
        return self._reader.start_time if self._reader.message_count else 0

    @property
    def end_ns(self) -> int:
        """When the last message was recorded; 0 for an empty bag."""
        return self._reader.end_time - 1 if self._reader.message_count else 0

    def image_topics(self) -> list[Topic]:
        """The topics with images, raw or compressed, and at least one message."""
        return [t for t in self.topics if t.type in (RAW, COMPRESSED) and t.count]

    def image_topic(self, name: str | None = None) -> Topic:
        """The image topic of that name, or the bag's only camera.

        Without a name, depth images and other encodings that are not pictures are passed over, a camera with a
        camera_info topic goes before images without, and raw before compressed. Where nothing is a picture, but there
        is only one camera, it is that: its frames will say what is wrong. Raises BagError, which lists what the bag
        has.
        """
        if name is not None:
            topic = next((t for t in self.topics if t.name == name), None)
            if topic is None:
                raise BagError(f"{self.path} has no topic {name}; {self._what_there_is()}")
            if topic.type not in (RAW, COMPRESSED):
                raise BagError(f"{name} in {self.path} is {topic.type}, not an image; {self._what_there_is()}")
            if not topic.count:
                raise BagError(f"{name} in {self.path} has no messages; {self._what_there_is()}")
            return topic
        images = self.image_topics()
        candidates = [t for t in images if self._is_picture(t)]
        if not candidates and len({_base(t.name) for t in images}) == 1:
            candidates = images
        with_info = [t for t in candidates if self._info_topic(t)]
        candidates = with_info or candidates
        cameras = {_base(t.name) for t in candidates}
        if not cameras:
            raise BagError(f"{self.path} has no camera images; {self._what_there_is()}")
        if len(cameras) > 1:
            raise BagError(f"{self.path} has images of several cameras", "choose one with --topic, of "
                           + ", ".join(t.name for t in candidates))
        return min(candidates, key=lambda t: (t.type != RAW, t.name))

    def camera_info(self, topic: Topic) -> Any | None:
        """The first CameraInfo message that belongs to an image topic, as rosbags reads it; None without one."""
        name = self._info_topic(topic)
        return None if name is None else next((message for _, message in self.readable([name])), None)

    def readable(self, topics: Collection[str], start_ns: int | None = None,
                 stop_ns: int | None = None) -> Iterator[tuple[Topic, Any]]:
        """See `messages`; as rosbags reads them, without those that it can't read."""
        for topic, _, data in self.messages(topics, start_ns, stop_ns):
            try:
                message = self.read(data, topic.type)
            except MessageError:
                continue
            yield topic, message

    def messages(self, topics: Collection[str] = (), start_ns: int | None = None,
                 stop_ns: int | None = None) -> Iterator[tuple[Topic, int, bytes]]:
        """Messages of some topics (all by default) with start_ns <= time < stop_ns, in the order of recording.

        Yields the topic, the time of recording and the serialised message. Raises BagError where the bag is damaged.
        """
        by_name = {t.name: t for t in self.topics}
        connections = [c for c in self._reader.connections if not topics or c.topic in topics]
        if not connections:
            return
        with self._readable():
            for connection, log_ns, data in self._reader.messages(connections, start_ns, stop_ns):
                yield by_name[connection.topic], log_ns, data if self.is_ros1 else _decompressed(data)

    def images(self, topic: Topic, start_ns: int | None = None, stop_ns: int | None = None,
               beside: Collection[str] = (), take: Callable[[Topic, Any], None] | None = None) -> Iterator[BagImage]:
        """The messages of an image topic, in the order of recording. Raises BagError where the bag is damaged.

        beside: other topics, whose messages `take` gets where they come between the images, but those that can't be
        read.
        """
        index = 0
        for found, log_ns, data in self.messages([topic.name, *beside], start_ns, stop_ns):
            message, problem = None, ""
            try:
                message = self.read(data, found.type)
            except MessageError as error:
                problem = str(error)
            if found.name != topic.name:
                if message is not None and take is not None:
                    take(found, message)
                continue
            if message is None:
                yield BagImage(index, log_ns, 0, "", None, problem)
            else:
                stamp = message.header.stamp
                yield BagImage(index, log_ns, stamp.sec * 10**9 + stamp.nanosec, message.header.frame_id, message)
            index += 1

    def images_at(self, topic: Topic, log_ns: Collection[int]) -> Iterator[BagImage]:
        """The images recorded at some times, in that order; `index` counts from 0 here. Reads little of a large bag."""
        wanted = sorted(set(log_ns))
        if self._seeks:
            windows: Iterable[Iterator[BagImage]] = (self.images(topic, ns, ns + 1) for ns in wanted)
        else:
            windows = [self.images(topic, wanted[0], wanted[-1] + 1)] if wanted else []
        chosen = set(wanted)
        for window in windows:
            yield from (image for image in window if image.log_ns in chosen)

    def last_image(self, topic: Topic) -> BagImage | None:
        """The last image of the bag's last seconds that can be read; `index` means nothing here. None where there is
        none, or where all of the bag would have to be read."""
        newest: deque[BagImage] = deque(maxlen=1)
        if self._seeks:
            with contextlib.suppress(BagError):
                newest.extend(self.images(topic, self.end_ns - _LAST_NS))
        return newest[0] if newest else None

    @property
    def _seeks(self) -> bool:
        # An mcap without chunks (rosbag2's preset `fastwrite`) has no index: each look-up would read all of it.
        storage = getattr(self._reader, "storage", None)
        return all(getattr(part, "chunks", True) for part in getattr(storage, "storages", [storage]))

    def read(self, data: bytes, type_: str) -> Any:
        """A message from its bytes. Types are known by their ROS definition, whatever the bag says. Raises
        MessageError."""
        types = _typestore(self.is_ros1)
        try:
            return types.deserialize_ros1(data, type_) if self.is_ros1 else types.deserialize_cdr(data, type_)
        except Exception as error:  # whatever the library raises on such bytes
            raise MessageError(f"{len(data)} bytes in {self.path} are not a {type_}", "record it again") from error

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_picture(self, topic: Topic) -> bool:
        for image in itertools.islice(self.images(topic), _FIRST):
            with contextlib.suppress(FrameError):
                image.frame()
                return True
        return False

    def _info_topic(self, topic: Topic) -> str | None:
        wanted = info_topic(topic.name)
        return next((t.name for t in self.topics if t.name == wanted and t.type == CAMERA_INFO and t.count), None)

    def _what_there_is(self) -> str:
        images = self.image_topics()
        if images:
            return "images are on " + ", ".join(t.name for t in images)
        silent = [t.name for t in self.topics if t.type in (RAW, COMPRESSED)]
        if silent:
            return (f"nothing was recorded on {', '.join(silent)}: record again while the camera publishes, or choose"
                    " another bag")
        others = ", ".join(f"{t.name} ({t.type})" for t in self.topics)
        return f"it has no images, only {others}" if others else "it has no messages at all"


class BagSource(FrameSource):
    """One camera of a bag. Every iteration reads the bag again. Shots have the times of recording: what drivers write
    into headers may count from the boot, jump, or stand still."""

    def __init__(self, path: str | Path, topic: str | None = None) -> None:
        """topic: the image topic, by default the bag's only camera. Raises BagError.

        topics: names of all topics with messages. playable: whether its bytes are ROS 2's.
        """
        self.source = str(path)
        with Bag(path) as bag:
            self.topic = bag.image_topic(topic)
            self.topics = tuple(t.name for t in bag.topics if t.count)
            self.playable = not bag.is_ros1
            info = bag.camera_info(self.topic)
            seconds = (bag.end_ns - bag.start_ns) / 1e9
        self.camera = None if info is None else _intrinsics(info)
        self.compressed = self.topic.type == COMPRESSED
        self.count: int | None = self.topic.count
        self.rate = (self.topic.count - 1) / seconds if seconds > 0 and self.topic.count > 1 else 30.0

    def __iter__(self) -> Iterator[Shot]:
        """See FrameSource."""
        with Bag(self.source) as bag:
            for image in bag.images(self.topic):
                stamp, name = image.log_ns, f"{image.index:06d}"
                pixels = partial(_frame, image)
                if not self.compressed:
                    yield Shot(stamp, name, pixels)
                elif image.message is None:
                    yield Shot(stamp, name, pixels, encoded=b"")  # not an image either
                else:
                    yield Shot(stamp, name, pixels, memoryview(image.message.data), image.message.format)


def _frame(image: BagImage) -> Frame:
    try:
        return image.frame()
    except TooLargeError as error:  # who reads a bag as footage has no parameter max_image_pixels
        raise TooLargeError(error.reason, "`drive-seg replay` takes larger ones with --max-image-pixels, or record"
                            " smaller ones") from error


class _Readable:
    """Turns whatever the library raises on damaged bytes into a BagError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, BagError):
            return
        if isinstance(error, StorageError):
            raise BagError(f"{self._path} {error.reason}", error.fix) from error
        if isinstance(error, PermissionError):
            raise BagError(f"{self._path} may not be read: {error.strerror}") from error
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        fix = "copy it again"
        if "end magic" in reason or "Truncated" in reason:
            fix = "the file is cut short; `mcap recover` writes a copy of what is whole"
        elif "not in timestamp order" in reason:
            fix = "`mcap recover` writes a copy with an index"
        elif "hunk" in reason:
            fix = "part of the file is damaged; `mcap recover` writes a copy of what is whole"
        elif "not indexed" in reason:
            fix = "`rosbag reindex` writes its index"
        elif "database" in reason.lower():
            fix = SQLITE_RECOVER
        raise BagError(f"{self._path} can't be read: {reason}", fix) from error


def _intrinsics(info: Any) -> Intrinsics | None:
    """None for a camera that is not calibrated: K is zero, or the image has no size."""
    k, d = (info.K, info.D) if hasattr(info, "K") else (info.k, info.d)  # ROS 1 writes them large
    if not k[0] > 0 or not (info.width and info.height):
        return None
    return Intrinsics(int(info.width), int(info.height), tuple(map(float, k)), tuple(map(float, d)),
                      info.distortion_model or "plumb_bob")


def _decompressed(data: bytes) -> bytes:
    """A message as it was sent; one that can't be decompressed as it is stored, which then is not of its type."""
    try:
        return plain(data)
    except StorageError:
        return data


@cache
def _typestore(ros1: bool) -> Any:
    types = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    if ros1:  # rosbags knows it for ROS 2 only
        types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TF))
    return types


def info_topic(image_topic: str) -> str:
    """Where the CameraInfo of an image topic is by ROS's custom."""
    return _base(image_topic).rsplit("/", 1)[0] + "/camera_info"


def _base(topic: str) -> str:
    """The camera's base topic: /camera/image_raw for /camera/image_raw/compressed."""
    return topic.removesuffix("/compressed")
