"""The whole way: camera process, node process and this one as the planner, over DDS."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from drive_seg.bench.measure import inference, percentile
from drive_seg.bench.ways import TOPICS
from drive_seg.demo.child import Child
from drive_seg.errors import CommandError
from drive_seg.play.feed import Log
from drive_seg.ros import transport
from drive_seg.ros.outputs import IMAGE_QOS

_DISTINCT = 8  # frames that the camera process holds
_LEFT_OUT = 10  # first frames, until caches are warm
_SILENCE = 2.0  # seconds without a result after the last frame


def run_over_dds(frames: Sequence[np.ndarray], domain: int, *, count: int, rate: float = 25.0,
                 parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Latency from camera stamp to both masks received, loss, and the node's memory.

    frames: (H, W, 3) uint8 BGR each. parameters: of the node. Raises DemoError when a process fails,
    CommandError without results.
    """
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    planner = rclpy.create_node("bench_planner", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(planner)
    arrivals: dict[int, dict[str, int]] = {}

    def on_mask(topic: str, message: Image) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        arrivals.setdefault(stamp, {})[topic] = time.time_ns()

    for name in TOPICS:
        planner.create_subscription(Image, name.replace("~", "/drive_seg"), lambda m, n=name: on_mask(n, m), IMAGE_QOS)
    printed: dict[str, Any] = {}
    log = Log()
    try:
        with tempfile.TemporaryDirectory(prefix="drive_seg-") as name:
            folder = Path(name)
            pictures = folder / "camera"
            pictures.mkdir()
            for number, frame in enumerate(frames[:_DISTINCT]):
                cv2.imwrite(str(pictures / f"{number}.png"), frame)
            options = [word for name, value in (parameters or {}).items() for word in ("-p", f"{name}:={value}")]
            node = Child("node", [sys.executable, "-m", "drive_seg.bench.node_process", "--ros-args", *options],
                         transport.environment(), folder / "node.log",
                         lambda line: printed.update(node=json.loads(line)))
            camera = Child("camera", [sys.executable, "-m", "drive_seg.play.camera_player", "--source", str(pictures),
                                      "--rate", str(rate), "--repeat", str(count), "--report"],
                           transport.environment(), folder / "camera.log", log.on_line)
            with node, camera:
                while camera.exit_code is None:
                    node.check()
                    executor.spin_once(timeout_sec=0.05)
                if camera.exit_code:
                    camera.check()
                end = time.monotonic() + _SILENCE
                while time.monotonic() < end:
                    executor.spin_once(timeout_sec=0.05)
                memory = _memory(node.pid)
                node.stop()
    finally:
        planner.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown(context=context)
    if "node" not in printed or not log.sent:
        raise CommandError(f"the node's process said nothing at its end; its last words:\n{node.said()}")
    stamps = [sent.stamp_ns for sent in log.sent.values()]
    return _figures(stamps, printed["node"], arrivals, rate) | {"node_memory_mb": memory}


def _figures(stamps: Sequence[int], node: dict[str, Any], arrivals: dict[int, dict[str, int]], rate: float) -> dict:
    both = {stamp: max(times.values()) for stamp, times in arrivals.items() if len(times) == len(TOPICS)}
    if not both:
        raise CommandError("no mask arrived from the node", "run drive-seg doctor")
    latency = [(both[stamp] - stamp) / 1e6 for stamp in sorted(both)]
    latency = latency[min(_LEFT_OUT, len(latency) // 5):]
    stages = node["stages"][min(_LEFT_OUT, len(node["stages"]) // 5):]
    inferred = percentile([inference(sample) for sample in stages], 50)
    return {
        "rate_hz": rate,
        "published": len(stamps),
        "received_by_node": node["received"],
        "lost_to_transport": len(stamps) - node["received"],
        "replaced_by_newer": node["replaced"],
        "segmented": node["segmented"],
        "answered": len(both),
        "results_lost": node["segmented"] - len(both),
        "latency_ms": {f"p{q}": percentile(latency, q) for q in (50, 95, 99)},
        "inference_ms": inferred,
        "beyond_inference_ms": {f"p{q}": round(percentile(latency, q) - inferred, 2) for q in (50, 95, 99)},
        "stages_ms": {name: percentile([sample[name] for sample in stages], 50) for name in stages[-1]},
    }


def _memory(pid: int) -> dict[str, float]:
    """Resident memory of a process in MB: now, at its highest, what is its own alone, what is shared memory."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: round(int(fields[key].split()[0]) / 1024, 1)
            for name, key in (("resident", "VmRSS"), ("highest", "VmHWM"), ("own", "RssAnon"), ("shared", "RssShmem"))}
