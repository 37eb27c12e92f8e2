"""Several cameras: one node for all of them beside as many single nodes, by turns on the same frames."""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from drive_seg.bench.measure import percentile
from drive_seg.demo.child import Child
from drive_seg.errors import CommandError
from drive_seg.ros import transport
from drive_seg.ros.active import CAMERA_QOS
from drive_seg.ros.images import to_image
from drive_seg.ros.outputs import IMAGE_QOS

WAYS = ("one node", "single nodes")

_START = 120.0  # seconds that the nodes may take to answer for the first time
_WARM = 1.0  # seconds of each turn that are not counted
_TURNS = 5  # of each way
_TOGETHER = "/together"  # namespace of the one node


def compare(frames: Sequence[np.ndarray], domain: int, most: int, *, seconds: float = 10.0, rate: float = 30.0,
            parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """A row for each number of cameras up to `most`: one node and as many single ones, each for some seconds.

    Both run from the beginning and get frames by turns, so that whatever else the machine does meets both alike. A row
    has the medians of the turns for each way, and under `ratio` those of one node to single nodes, turn by turn.

    frames: (H, W, 3) uint8 BGR each. rate: of each camera, Hz. parameters: of the nodes. Raises DemoError when one
    fails, CommandError without results.
    """
    messages = [to_image(frame, Header(), "bgr8") for frame in frames]
    return [_row(messages, domain, count, seconds / _TURNS, rate, parameters or {}) for count in range(1, most + 1)]


@dataclass
class _Fleet:
    """The node or nodes of one way, and what came from them."""

    images: dict[str, Publisher]
    nodes: list[Child] = field(default_factory=list)
    latency: dict[str, list[float]] = field(default_factory=dict)

    def check(self) -> None:
        for node in self.nodes:
            node.check()

    def used(self) -> float:
        """Seconds of processor time so far."""
        return sum(_processor_time(node.pid) for node in self.nodes)


class _Planner:
    """Publishes all cameras and takes their labels."""

    def __init__(self, domain: int, cameras: Sequence[str]) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("bench_planner", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.fleets = {way: self._fleet(way, cameras) for way in WAYS}

    def _fleet(self, way: str, cameras: Sequence[str]) -> _Fleet:
        together = way == WAYS[0]
        fleet = _Fleet({name: self._node.create_publisher(Image, f"{_TOGETHER if together else ''}/{name}/image",
                                                          CAMERA_QOS) for name in cameras})
        for name in cameras:
            topic = f"{_TOGETHER}/drive_seg/{name}/labels" if together else f"/{name}/drive_seg/labels"
            fleet.latency[name] = []
            self._node.create_subscription(Image, topic, lambda m, n=name: self._arrived(fleet.latency[n], m),
                                           IMAGE_QOS)
        return fleet

    @staticmethod
    def _arrived(latency: list[float], message: Image) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        latency.append((time.time_ns() - stamp) / 1e6)

    def run(self, way: str, messages: Sequence[Image], rate: float, seconds: float, until_all: bool = False) -> None:
        """Publish to one fleet at a rate for some seconds, or until every camera has an answer."""
        fleet, start, numbers = self.fleets[way], time.monotonic(), itertools.count()
        due = start
        while (now := time.monotonic()) < start + seconds:
            if until_all and all(fleet.latency.values()):
                return
            fleet.check()
            if now >= due:
                due += 1 / rate
                number = next(numbers)
                for place, (name, publisher) in enumerate(fleet.images.items()):
                    message = messages[(number + place) % len(messages)]
                    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
                    message.header.frame_id = name
                    publisher.publish(message)
            self._executor.spin_once(timeout_sec=max(0.0, min(0.005, due - time.monotonic())))

    def turn(self, way: str, messages: Sequence[Image], rate: float, seconds: float) -> dict[str, Any]:
        """One turn of a fleet: what it did. Its latencies are forgotten."""
        fleet = self.fleets[way]
        self.run(way, messages, rate, _WARM)
        for latency in fleet.latency.values():
            latency.clear()
        before, start = fleet.used(), time.monotonic()
        self.run(way, messages, rate, seconds)
        took, used = time.monotonic() - start, fleet.used() - before
        every = [value for latency in fleet.latency.values() for value in latency]
        return {"frames_per_s": len(every) / took, "each": [len(latency) / took for latency in fleet.latency.values()],
                "cpu_ms": used / len(every) * 1e3 if every else float("nan"), "latency_ms": every}

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()
        self._executor.shutdown()
        rclpy.try_shutdown(context=self._context)


def _row(messages: Sequence[Image], domain: int, count: int, seconds: float, rate: float,
         parameters: Mapping[str, Any]) -> dict[str, Any]:
    cameras = [f"cam{i}" for i in range(count)]
    options = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "drive_seg.ros.main", "--ros-args", *options]
    starts = {WAYS[0]: [[*command, "-r", f"__ns:={_TOGETHER}", "-p", f"cameras:=[{','.join(cameras)}]"]],
              WAYS[1]: [[*command, "-r", f"__ns:=/{name}"] for name in cameras]}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="drive_seg-")))
        planner = _Planner(domain, cameras)
        opened.callback(planner.close)
        for way, fleet in planner.fleets.items():
            fleet.nodes = [opened.enter_context(Child("node", words, transport.environment(), folder / f"{way}{i}.log"))
                           for i, words in enumerate(starts[way])]
            planner.run(way, messages, 2.0, _START, until_all=True)
            silent = [name for name, latency in fleet.latency.items() if not latency]
            if silent:
                raise CommandError(f"{way}: no labels of {', '.join(silent)} came in {_START:g} s; last words:\n"
                                   f"{fleet.nodes[0].said()}")
        turns = [{way: planner.turn(way, messages, rate, seconds) for way in WAYS} for _ in range(_TURNS)]
        memory = {way: _memory([node.pid for node in fleet.nodes]) for way, fleet in planner.fleets.items()}
    row: dict[str, Any] = {"cameras": count}
    for way in WAYS:
        every = [value for turn in turns for value in turn[way]["latency_ms"]]
        if not every:
            raise CommandError("no labels came from the nodes", "run drive-seg doctor")
        row[way] = {"frames_per_s": _median([turn[way]["frames_per_s"] for turn in turns]),
                    "each": [_median(each) for each in zip(*(turn[way]["each"] for turn in turns), strict=True)],
                    "cpu_ms": _median([turn[way]["cpu_ms"] for turn in turns]),
                    "latency_ms": {f"p{q}": percentile(every, q) for q in (50, 95)}, "memory_mb": round(memory[way], 1)}
    one, single = WAYS
    row["ratio"] = {name: _median([turn[one][name] / turn[single][name] for turn in turns if turn[single][name]])
                    for name in ("frames_per_s", "cpu_ms")}
    row["ratio"]["memory_mb"] = round(memory[one] / memory[single], 2)
    return row


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 2)


def _processor_time(pid: int) -> float:
    """Seconds that all threads of a process have computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pids: Sequence[int]) -> float:
    """MB of processes that run the same program: what each has of its own, its part of what it shares with any process,
    and once the files that they all have mapped."""
    own = files = 0.0
    for pid in pids:
        part = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"))
        own += (part["Pss_Anon"] + part["Pss_Shmem"]) / 1024
        files = max(files, _kilobytes(Path(f"/proc/{pid}/status"))["RssFile"] / 1024)
    return own + files


def _kilobytes(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1] == "kB"}
