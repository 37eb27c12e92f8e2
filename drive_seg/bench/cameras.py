"""Several cameras: one node for all of them beside as many single nodes, in one run on the same frames."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from drive_seg.bench.measure import percentile
from drive_seg.demo.child import Child
from drive_seg.errors import CommandError
from drive_seg.ros import transport
from drive_seg.ros.active import CAMERA_QOS
from drive_seg.ros.images import to_image
from drive_seg.ros.outputs import IMAGE_QOS

_START = 120.0  # seconds that the nodes may take to answer for the first time
_WARM = 2.0  # seconds that are not counted


def compare(frames: Sequence[np.ndarray], domain: int, most: int, *, seconds: float = 10.0, rate: float = 30.0,
            parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """A row for each number of cameras up to `most`: one node and as many single ones, each for some seconds.

    frames: (H, W, 3) uint8 BGR each. rate: of each camera, Hz. parameters: of the nodes. Raises DemoError when one
    fails, CommandError without results.
    """
    rows = []
    for count in range(1, most + 1):
        row: dict[str, Any] = {"cameras": count}
        for way in ("one node", "single nodes"):
            row[way] = _run(frames, domain, [f"cam{i}" for i in range(count)], way == "one node", seconds, rate,
                            parameters or {})
        rows.append(row)
    return rows


class _Planner:
    """Publishes all cameras and takes their labels."""

    def __init__(self, domain: int, cameras: Sequence[str], together: bool) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("bench_planner", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.latency: dict[str, list[float]] = {name: [] for name in cameras}
        self._images = {name: self._node.create_publisher(Image, f"/{name}/image", CAMERA_QOS) for name in cameras}
        for name in cameras:
            topic = f"/drive_seg/{name}/labels" if together else f"/{name}/drive_seg/labels"
            self._node.create_subscription(Image, topic, lambda m, n=name: self._arrived(n, m), IMAGE_QOS)

    def _arrived(self, name: str, message: Image) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.latency[name].append((time.time_ns() - stamp) / 1e6)

    def run(self, messages: Sequence[Image], rate: float, seconds: float, nodes: Sequence[Child],
            until_all: bool = False) -> None:
        """Publish at a rate for some seconds, or until every camera has an answer."""
        start, numbers = time.monotonic(), itertools.count()
        due = start
        while (now := time.monotonic()) < start + seconds:
            if until_all and all(self.latency.values()):
                return
            for node in nodes:
                node.check()
            if now >= due:
                due += 1 / rate
                number = next(numbers)
                for place, (name, publisher) in enumerate(self._images.items()):
                    message = messages[(number + place) % len(messages)]
                    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
                    message.header.frame_id = name
                    publisher.publish(message)
            self._executor.spin_once(timeout_sec=max(0.0, min(0.005, due - time.monotonic())))

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()
        self._executor.shutdown()
        rclpy.try_shutdown(context=self._context)


def _run(frames: Sequence[np.ndarray], domain: int, cameras: Sequence[str], together: bool, seconds: float, rate: float,
         parameters: Mapping[str, Any]) -> dict[str, Any]:
    from std_msgs.msg import Header

    messages = [to_image(frame, Header(), "bgr8") for frame in frames]
    options = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "drive_seg.ros.main", "--ros-args", *options]
    starts = {"node": [*command, "-p", f"cameras:=[{','.join(cameras)}]"]} if together else \
        {name: [*command, "-r", f"__ns:=/{name}"] for name in cameras}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="drive_seg-")))
        planner = _Planner(domain, cameras, together)
        opened.callback(planner.close)
        nodes = [opened.enter_context(Child(name, words, transport.environment(), folder / f"{name}.log"))
                 for name, words in starts.items()]
        planner.run(messages, 2.0, _START, nodes, until_all=True)
        silent = [name for name, latency in planner.latency.items() if not latency]
        if silent:
            raise CommandError(f"no labels of {', '.join(silent)} came in {_START:g} s; last words:\n{nodes[0].said()}")
        planner.run(messages, rate, _WARM, nodes)
        for latency in planner.latency.values():
            latency.clear()
        planner.run(messages, rate, seconds, nodes)
        memory = sum(_resident(node.pid) for node in nodes)
        for node in nodes:
            node.stop()
    every = [value for latency in planner.latency.values() for value in latency]
    if not every:
        raise CommandError("no labels came from the nodes", "run drive-seg doctor")
    return {"frames_per_s": round(len(every) / seconds, 2),
            "each": [round(len(latency) / seconds, 2) for latency in planner.latency.values()],
            "latency_ms": {f"p{q}": percentile(every, q) for q in (50, 95)}, "memory_mb": round(memory, 1)}


def _resident(pid: int) -> float:
    """MB of a process, with its share only of what others have too."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    except (OSError, StopIteration):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) / 1024
