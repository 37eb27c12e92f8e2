"""Play a bag live: its messages on their topics as recorded, with /clock, at any rate.

The recorded bytes go out as they are, with the recorded quality of service. Nodes that shall take their time from the
bag need `use_sim_time:=true`. With --loop the bag starts over, and time jumps back.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drive_seg.footage.bag import COMPRESSED, RAW, Bag, BagError, Topic
from drive_seg.replay.background import background
from drive_seg.ros import transport

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from rclpy.qos import QoSProfile

CLOCK_HZ = 100.0
"""How often /clock ticks while no message is due."""

_AHEAD = 16  # messages read before they are due
_GRACE_S = 0.5  # a publisher sees its subscriber before the subscriber sees it


class PlayerError(RuntimeError):
    """A bag that can't be played; the message names the fix."""


@dataclass
class Lateness:
    """How late messages left: milliseconds after they were due."""

    milliseconds: deque[float]

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


Sent = Callable[[Topic, bytes, int], None]
"""Called with each message, and the system's time in nanoseconds at which it was published."""


class BagPlayer:
    """Publishes the messages of a bag on a node of the caller."""

    def __init__(self, node: Node, bag: Bag, topics: Sequence[str] = (), rate: float = 1.0) -> None:
        """topics: what to play, everything by default. rate: 2.0 plays twice as fast. Raises PlayerError."""
        from rosgraph_msgs.msg import Clock

        if bag.path.suffix == ".bag":
            raise PlayerError(f"{bag.path} is a ROS 1 bag: convert it with `rosbags-convert`, or use drive-seg replay")
        if not rate > 0:
            raise PlayerError(f"the rate must be positive, it is {rate:g}")
        missing = sorted(set(topics) - {t.name for t in bag.topics})
        if missing:
            raise PlayerError(f"{bag.path} has no topic {', '.join(missing)}; it has"
                              f" {', '.join(t.name for t in bag.topics)}")
        self._node, self._bag, self._rate = node, bag, rate
        self._clock_type = Clock
        self._clock = node.create_publisher(Clock, "/clock", 10)
        self._publishers: dict[str, Publisher] = {}
        for topic in bag.topics:
            if (topics and topic.name not in topics) or topic.name == "/clock":
                continue
            kind = _message_type(topic.type)
            if kind is None:
                node.get_logger().warning(f"{topic.name} is not played: {topic.type} is not installed here")
                continue
            self._publishers[topic.name] = node.create_publisher(kind, topic.name, recorded_qos(topic))
        if not self._publishers:
            raise PlayerError(f"{bag.path} has nothing that can be played here")
        self.lateness = Lateness(deque(maxlen=100_000))

    def wait_for_subscriber(self, seconds: float) -> None:
        """Wait until somebody listens to anything that is played. Raises PlayerError when nobody does in time."""
        end = time.monotonic() + seconds
        while not any(p.get_subscription_count() for p in self._publishers.values()):
            if time.monotonic() > end:
                raise PlayerError(f"nobody subscribed to {', '.join(self._publishers)} within {seconds:g} s: start the"
                                  " node, or give --wait 0")
            time.sleep(0.05)
        time.sleep(_GRACE_S)

    def play(self, duration: float | None = None, sent: Sent | None = None) -> None:
        """Publish the bag once, each message when it is due. duration: seconds of the bag from its first image on, all
        by default. Raises BagError where the bag is damaged."""
        first_ns = start = None
        with contextlib.closing(background(self._messages(duration), _AHEAD)) as messages:
            for topic, log_ns, data in messages:
                if start is None:
                    start, first_ns = time.monotonic(), log_ns
                due = start + (log_ns - first_ns) / 1e9 / self._rate
                self._wait_until(due, log_ns)
                self._publish_clock(log_ns)
                now_ns = time.time_ns()
                self._publishers[topic.name].publish(data)
                self.lateness.milliseconds.append((time.monotonic() - due) * 1e3)
                if sent is not None:
                    sent(topic, data, now_ns)

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


class _Report:
    """Prints a line of JSON for each message of one topic, as it is published."""

    def __init__(self, topic: str) -> None:
        self._topic, self._count = topic, 0

    def sent(self, topic: Topic, data: bytes, now_ns: int) -> None:
        """See Sent. `name` is that of the shot in BagFootage."""
        if topic.name == self._topic:
            line = {"name": f"{self._count:06d}", "stamp_ns": header_stamp_ns(data), "sent_ns": now_ns}
            print(json.dumps(line), flush=True)
            self._count += 1


def _message_type(name: str) -> Any | None:
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError):
        return None


def main(args: Sequence[str] | None = None) -> int:
    """Play a bag until it ends; returns the exit code."""
    transport.apply()  # before rclpy is imported
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    words = list(sys.argv[1:] if args is None else args)
    options = _parser().parse_args(remove_ros_args(words))
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("bag_player")
    try:
        with Bag(options.bag) as bag:
            player = BagPlayer(node, bag, options.topics, options.rate)
            if options.wait:
                player.wait_for_subscriber(options.wait)
            try:
                sent = _Report(options.report).sent if options.report else None
                player.play(options.duration, sent)
                while options.loop:
                    player.play(options.duration, sent)
                time.sleep(_GRACE_S)  # let the last message leave before the publisher goes
            finally:
                if options.report:
                    print(json.dumps({"late_ms": player.lateness.figures()}), flush=True)
                print(f"bag_player: {player.lateness}", file=sys.stderr if options.report else sys.stdout, flush=True)
    except (PlayerError, BagError) as error:
        print(f"bag_player: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0  # told to stop
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bag_player", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, .mcap or .db3 file")
    parser.add_argument("--topics", nargs="+", default=(), metavar="NAME", help="what to play (default: everything)")
    parser.add_argument("--rate", type=float, default=1.0, help="2 plays twice as fast (default: 1)")
    parser.add_argument("--duration", type=float, metavar="SECONDS",
                        help="stop after so much of the bag, counted from its first image")
    parser.add_argument("--loop", action="store_true", help="start over at the end, until told to stop")
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS",
                        help="wait so long for a subscriber before the first message; 0 starts at once (default: 30)")
    parser.add_argument("--report", metavar="TOPIC", help="print a line of JSON for each message published there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
