"""The third side: subscribes to the node's results as a planner would, and keeps them, packed, by stamp."""

from __future__ import annotations

import queue
import threading
import time
import zlib
from dataclasses import dataclass, field

import numpy as np
import rclpy
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import OccupancyGrid
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

NODE = "/drive_seg"
TOPICS = ("labels", "drivable_area")

_QOS = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=5, reliability=QoSReliabilityPolicy.RELIABLE)


@dataclass
class Masks:
    """What was received for one stamp, packed. received_ns: system time of the last of them."""

    packed: dict[str, tuple[tuple[int, int], bytes]] = field(default_factory=dict)
    received_ns: int = 0

    @property
    def complete(self) -> bool:
        """Whether every topic has arrived."""
        return len(self.packed) == len(TOPICS)

    def image(self, topic: str) -> np.ndarray:
        """(H, W) uint8, as it was received."""
        shape, data = self.packed[topic]
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)


class Listener:
    """A ROS node with its own context and thread. Masks are packed in a second thread, so as not to delay the next."""

    def __init__(self, domain: int, grid: bool = False, camera: str = "") -> None:
        """grid: also listen to the bird's-eye grid, that of all cameras. camera: its name, where it is one of several.
        """
        self.masks: dict[int, Masks] = {}
        """By the stamp of the camera image, nanoseconds."""
        self.grids: dict[int, tuple[tuple[int, int], bytes]] = {}
        """Shape and packed int8 cells of the grid, by the stamp of its camera image."""
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(f"planner_{camera}" if camera else "planner", context=self._context)
        prefix = f"{camera}/" if camera else ""
        for topic in TOPICS:
            self._node.create_subscription(Image, f"{NODE}/{prefix}{topic}", lambda m, t=topic: self._on_image(t, m),
                                           _QOS)
        if grid:
            self._node.create_subscription(OccupancyGrid, f"{NODE}/grid", lambda m: self._on_image("grid", m), _QOS)
        self._get_state: Client = self._node.create_client(GetState, f"{NODE}/get_state")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._to_pack: queue.SimpleQueue = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._spin, name="listen", daemon=True),
                         threading.Thread(target=self._pack, name="pack", daemon=True)]
        for thread in self._threads:
            thread.start()

    @property
    def complete(self) -> int:
        """Frames for which every mask has arrived."""
        return sum(masks.complete for masks in list(self.masks.values()))

    def node_state(self, patience: float = 1.0) -> str | None:
        """The node's life-cycle state, e.g. `active`; None when it does not answer within `patience` seconds."""
        if not self._get_state.wait_for_service(patience):
            return None
        future = self._get_state.call_async(GetState.Request())
        end = time.monotonic() + patience
        while not future.done() and time.monotonic() < end:
            time.sleep(0.01)
        answer = future.result() if future.done() else None
        return None if answer is None else answer.current_state.label

    def close(self) -> None:
        """Stop listening, after everything received is packed."""
        rclpy.try_shutdown(context=self._context)
        self._to_pack.put(None)
        for thread in self._threads:
            thread.join(10.0)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass
        except Exception:
            if self._context.ok():  # else closed amid a call of rclpy, which then fails in any way
                raise

    def _on_image(self, topic: str, message: Image | OccupancyGrid) -> None:
        self._to_pack.put((topic, message, time.time_ns()))

    def _pack(self) -> None:
        while (item := self._to_pack.get()) is not None:
            topic, message, now = item
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if topic == "grid":
                shape = (message.info.height, message.info.width)
                self.grids[stamp] = shape, zlib.compress(np.asarray(message.data, np.int8).data, 1)
                continue
            masks = self.masks.setdefault(stamp, Masks())
            rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
            data = np.ascontiguousarray(rows[:, : message.width])
            masks.packed[topic] = ((message.height, message.width), zlib.compress(data.data, 1))
            masks.received_ns = max(masks.received_ns, now)
