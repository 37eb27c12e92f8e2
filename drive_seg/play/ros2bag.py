"""Play a bag live with `ros2 bag play`, where it is installed."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from shutil import which
from typing import TYPE_CHECKING

from drive_seg.play.bag_player import (
    CLOCK_HZ,
    Lateness,
    Sent,
    check_playable,
    header_stamp_ns,
    message_type,
)
from drive_seg.play.graph import PlayerError
from drive_seg.ros import transport
from drive_seg.sources.bag import Bag, Topic

if TYPE_CHECKING:
    from rclpy.node import Node

_DISCOVERY_S = 5.0  # subscribers must see its publishers before its first message: 2 to 4 s on a loaded machine
_SILENT_S = 1.0  # after a duration's end, where the camera's messages end before it
_LAST_WORDS = 300  # characters


def installed() -> bool:
    """Whether `ros2 bag play` can be started here."""
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix("ros2bag")
    except (PackageNotFoundError, OSError):  # OSError: no workspace is sourced
        return False
    return which("ros2") is not None


class Ros2BagPlayer:
    """As BagPlayer, by a process of `ros2 bag play`.

    That does not tell when a message left, so this one listens to the watched topic: times are those of arrival.
    """

    name = "ros2 bag play"

    def __init__(self, node: Node, bag: Bag, topics: Sequence[str] = (), rate: float = 1.0) -> None:
        """As BagPlayer. Raises PlayerError."""
        check_playable(bag, topics, rate)
        self._node, self._bag, self._rate = node, bag, rate
        self.topics = list(topics) or [topic.name for topic in bag.topics if topic.name != "/clock"]
        self.lateness = Lateness()

    def play(self, watched: Topic | None = None, duration: float | None = None, sent: Sent | None = None,
             loop: bool = False) -> None:
        """As BagPlayer, but a duration needs images and no loop. Raises PlayerError, with the last words of
        `ros2 bag play` where it fails."""
        import rclpy

        if duration is not None:
            watched = watched or next((t for t in self._bag.image_topics() if t.name in self.topics), None)
            if loop or watched is None:
                raise PlayerError("`ros2 bag play` can't loop over a part of a bag, nor end by time without images",
                                  "--player own can")
        watch = None if watched is None else _Watch(self._node, self._bag, watched, duration, self._rate, sent,
                                                    self.lateness)
        start = ["--loop"] if loop else ["--delay", f"{_DISCOVERY_S:g}"]  # a delay comes before each round
        named = {name: self._node.resolve_topic_name(name) for name in self.topics}
        remap = [f"{name}:={new}" for name, new in named.items() if new != name]
        command = ["ros2", "bag", "play", str(self._bag.path), "--clock", f"{CLOCK_HZ:g}", "--rate", f"{self._rate:g}",
                   "--disable-keyboard-controls", *start, *(["--remap", *remap] if remap else []),
                   "--topics", *self.topics]
        with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
                command, env=transport.environment(), stdin=subprocess.DEVNULL, stdout=said, stderr=said) as process:
            try:
                while process.poll() is None and not (watch is not None and watch.over):
                    rclpy.spin_once(self._node, timeout_sec=0.1)
                code = process.poll()
            finally:
                if process.poll() is None:
                    _end(process)
            if watch is not None:
                watch.finish()
            if code:
                said.seek(0)
                raise PlayerError(f"`ros2 bag play` failed (exit code {code}); --player own does without it. Its last"
                                  f" words: {' '.join(said.read()[-_LAST_WORDS:].split())}")


def _end(process: subprocess.Popen) -> None:
    """As Ctrl-C would, then harder."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()


class _Watch:
    """Hears the messages of one topic as any subscriber does, and knows them by their stamps."""

    def __init__(self, node: Node, bag: Bag, topic: Topic, duration: float | None, rate: float, sent: Sent | None,
                 lateness: Lateness) -> None:
        from rclpy.qos import QoSProfile, QoSReliabilityPolicy

        self._node, self._topic, self._rate, self._sent, self._lateness = node, topic, rate, sent, lateness
        self._expected: dict[int, deque[tuple[int, int]]] = defaultdict(deque)
        """By stamp: index and time of recording of the messages that will come."""
        self._left = 0
        for index, (_, log_ns, data) in enumerate(bag.messages([topic.name])):
            if index == 0:
                first_ns = log_ns
            if duration is not None and log_ns - first_ns >= duration * 1e9:
                break
            self._expected[header_stamp_ns(data)].append((index, log_ns))
            self._left += 1
        self._duration = duration
        self._later = False  # a message after the duration has come
        self._began: tuple[float, int] | None = None
        kind = message_type(topic.type)
        if kind is None:
            raise PlayerError(f"{topic.name} can't be watched: {topic.type} is not installed here")
        qos = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self._subscription = node.create_subscription(kind, topic.name, self._heard, qos, raw=True)

    @property
    def over(self) -> bool:
        """Whether the duration is over, by the messages or, where no more come, by the time."""
        if self._later or self._duration is None or self._began is None:
            return self._later
        return time.monotonic() > self._began[0] + self._duration / self._rate + _SILENT_S

    def finish(self) -> None:
        """Hear what is still on its way."""
        import rclpy

        end = time.monotonic() + 0.5
        while self._left > 0 and time.monotonic() < end:
            rclpy.spin_once(self._node, timeout_sec=0.05)
        self._node.destroy_subscription(self._subscription)

    def _heard(self, data: bytes) -> None:
        now_ns, now = time.time_ns(), time.monotonic()
        places = self._expected.get(header_stamp_ns(data))
        if not places:
            self._later = True
            return
        index, log_ns = places[0]
        places.rotate(-1)  # the next of the same stamp, or of the next round
        self._left -= 1
        if self._began is None or not index:
            self._began = now, log_ns
        due = self._began[0] + (log_ns - self._began[1]) / 1e9 / self._rate
        self._lateness.milliseconds.append((now - due) * 1e3)
        if self._sent is not None:
            self._sent(self._topic, index, data, now_ns)
