"""The package's own player of bags: the recorded bytes, with the recorded quality of service, in the bag's time."""

from __future__ import annotations

import contextlib
import importlib
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from drive_seg.background import background
from drive_seg.play.graph import PlayerError
from drive_seg.sources.bag import COMPRESSED, RAW, Bag, Topic

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from rclpy.qos import QoSProfile

CLOCK_HZ = 100.0
"""How often /clock ticks while no message is due."""

_AHEAD = 16  # messages read before they are due


@dataclass
class Lateness:
    """How late messages left: milliseconds after they were due."""

    milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=100_000))

    def figures(self) -> dict[str, float] | None:
        """Median, 95th percentile and the most; None when nothing was published."""
        if not self.milliseconds:
            return None
        values = np.percentile(self.milliseconds, (50, 95, 100))
        return {name: round(float(value), 2) for name, value in zip(("p50", "p95", "max"), values, strict=True)}

    def __str__(self) -> str:
        figures = self.figures()
        if figures is None:
            return "nothing was published"
        return "{} messages, late by {p50:.1f} ms (median), {p95:.1f} ms (95th percentile), {max:.1f} ms (most)".format(
            len(self.milliseconds), **figures)


Sent = Callable[[Topic, int, bytes, int], None]
"""Called with each watched message: its index on its topic, its bytes, and the system's time in nanoseconds at which it
was published."""


def check_playable(bag: Bag, topics: Sequence[str], rate: float) -> None:
    """Raises PlayerError where a bag can't be played so."""
    if bag.path.suffix == ".bag":
        raise PlayerError(f"{bag.path} is a ROS 1 bag", "convert it with `rosbags-convert`, or use drive-seg replay")
    if not rate > 0:
        raise PlayerError(f"the rate must be positive, it is {rate:g}")
    missing = sorted(set(topics) - {t.name for t in bag.topics})
    if missing:
        raise PlayerError(f"{bag.path} has no topic {', '.join(missing)}; it has"
                          f" {', '.join(t.name for t in bag.topics)}")


class BagPlayer:
    """Publishes the messages of a bag on a node of the caller."""

    name = "own player"

    def __init__(self, node: Node, bag: Bag, topics: Sequence[str] = (), rate: float = 1.0) -> None:
        """topics: what to play, everything by default. rate: 2.0 plays twice as fast. Raises PlayerError."""
        from rosgraph_msgs.msg import Clock

        check_playable(bag, topics, rate)
        self._bag, self._rate = bag, rate
        self._clock_type = Clock
        self._clock = node.create_publisher(Clock, "/clock", 10)
        self._publishers: dict[str, Publisher] = {}
        for topic in bag.topics:
            if (topics and topic.name not in topics) or topic.name == "/clock":
                continue
            kind = message_type(topic.type)
            if kind is None:
                node.get_logger().warning(f"{topic.name} is not played: {topic.type} is not installed here")
                continue
            self._publishers[topic.name] = node.create_publisher(kind, topic.name, recorded_qos(topic))
        if not self._publishers:
            raise PlayerError(f"{bag.path} has nothing that can be played here")
        self.lateness = Lateness()

    @property
    def topics(self) -> list[str]:
        """What is played."""
        return list(self._publishers)

    def play(self, watched: Topic | None = None, duration: float | None = None, sent: Sent | None = None,
             loop: bool = False) -> None:
        """Publish the bag, each message when it is due. watched: the topic whose messages `sent` gets. duration:
        seconds of the bag from its first image on, all by default. loop: without end. Raises BagError where it is
        damaged."""
        while True:
            self._play_once(watched, duration, sent)
            if not loop:
                return

    def _play_once(self, watched: Topic | None, duration: float | None, sent: Sent | None) -> None:
        began: tuple[float, int] | None = None  # seconds of the clock, and the time of the first message
        last_ns = -1
        count: Counter[str] = Counter()
        with contextlib.closing(background(self._messages(duration), _AHEAD)) as messages:
            for topic, log_ns, data in messages:
                if began is None:
                    began = time.monotonic(), log_ns
                start, first_ns = began
                due = start + (log_ns - first_ns) / 1e9 / self._rate
                self._wait_until(due, log_ns)
                self._publish_clock(log_ns)
                if sent is not None and watched is not None and topic.name == watched.name:
                    data = later_than(data, last_ns, log_ns)
                    last_ns = header_stamp_ns(data)
                now_ns = time.time_ns()
                self._publishers[topic.name].publish(data)
                self.lateness.milliseconds.append((time.monotonic() - due) * 1e3)
                if sent is not None and watched is not None and topic.name == watched.name:
                    sent(topic, count[topic.name], data, now_ns)
                count[topic.name] += 1

    def _messages(self, duration: float | None) -> Iterator[tuple[Topic, int, bytes]]:
        begun_ns = None
        for topic, log_ns, data in self._bag.messages(list(self._publishers)):
            if begun_ns is None and topic.type in (RAW, COMPRESSED):
                begun_ns = log_ns
            if duration is not None and begun_ns is not None and log_ns - begun_ns >= duration * 1e9:
                return
            yield topic, log_ns, data

    def _wait_until(self, due: float, log_ns: int) -> None:
        """Sleep, with /clock ticking on the way."""
        while (left := due - time.monotonic()) > 0:
            if left > 1 / CLOCK_HZ:
                self._publish_clock(log_ns - round(left * self._rate * 1e9))
            time.sleep(min(left, 1 / CLOCK_HZ))

    def _publish_clock(self, ns: int) -> None:
        message = self._clock_type()
        message.clock.sec, message.clock.nanosec = divmod(ns, 10**9)
        self._clock.publish(message)


def recorded_qos(topic: Topic) -> QoSProfile:
    """The quality of service that was recorded; ROS's default where none was, or several that differ.

    Static transforms come from many publishers, one message each; here from one, which keeps all of them for those
    who come late.
    """
    from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

    if topic.name.endswith("/tf_static"):
        return QoSProfile(depth=max(1, topic.count), reliability=QoSReliabilityPolicy.RELIABLE,
                          durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    offered = {(q.history.name, q.depth, q.reliability.name, q.durability.name) for q in topic.qos}
    if len(offered) != 1:
        return QoSProfile(depth=10)
    history, depth, reliability, durability = offered.pop()
    keep_all = history == "KEEP_ALL"
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_ALL if keep_all else QoSHistoryPolicy.KEEP_LAST,
        depth=0 if keep_all else max(1, depth if depth < 10**6 else 10),  # recorders write nonsense for "unknown"
        reliability=(QoSReliabilityPolicy.BEST_EFFORT if reliability == "BEST_EFFORT"
                     else QoSReliabilityPolicy.RELIABLE),
        durability=(QoSDurabilityPolicy.TRANSIENT_LOCAL if durability == "TRANSIENT_LOCAL"
                    else QoSDurabilityPolicy.VOLATILE))


def header_stamp_ns(data: bytes) -> int:
    """Nanoseconds of the header with which a serialised message (CDR) begins."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return seconds * 10**9 + nanoseconds


def later_than(data: bytes, last_ns: int, log_ns: int) -> bytes:
    """A serialised message whose header stamp is later than last_ns: its own, or else that of its recording, log_ns.

    The stamp says which frame an answer belongs to, and drivers let it stand still or jump back.
    """
    if header_stamp_ns(data) > last_ns:
        return data
    stamp = divmod(max(log_ns, last_ns + 1), 10**9)
    return bytes(data[:4]) + struct.pack("<iI" if data[1] & 1 else ">iI", *stamp) + bytes(data[12:])


def message_type(name: str) -> Any | None:
    """The Python class of a message type such as `sensor_msgs/msg/Image`; None where it is not installed."""
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError):
        return None
