"""Offline replay beside what segmentation alone allows: how much of the rate do reading, decoding and writing cost?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from drive_seg.core.segmenter import Segmenter
from drive_seg.footage.bag import COMPRESSED, Bag
from drive_seg.replay.settings import Settings
from drive_seg.replay.stream import stream

_TOPIC = "/camera/image/compressed"
_WARM_UP = 4  # frames: the pipeline fills


def measure(segmenter: Segmenter, frames: Sequence[np.ndarray], folder: Path, count: int = 30,
            rounds: int = 5) -> dict[str, float]:
    """Frames a second of both, measured in turns; `share`: the median of their ratios.

    frames: (H, W, 3) uint8 BGR each; the bag has them as JPEG. folder: for the bag and its results. count: frames of a
    turn.
    """
    bag_path = folder / "replay_bag"
    _write_bag(bag_path, frames, count + _WARM_UP)
    alone, replayed = [], []
    for turn in range(rounds + 1):
        start = time.perf_counter()
        for i in range(count):
            segmenter.segment(frames[i % len(frames)])
        alone.append(count / (time.perf_counter() - start))
        out = folder / f"replay_{turn}"
        out.mkdir()
        with Bag(bag_path) as bag:
            for done, _ in enumerate(stream(bag, bag.image_topic(), segmenter, Settings(), out), 1):
                if done == _WARM_UP:
                    start = time.perf_counter()
            replayed.append(count / (time.perf_counter() - start))
    alone, replayed = alone[1:], replayed[1:]  # the first turn warms up
    ratios = [b / a for a, b in zip(alone, replayed, strict=True)]
    return {"segment_fps": median(alone), "replay_fps": median(replayed), "share": median(ratios)}


def _write_bag(path: Path, frames: Sequence[np.ndarray], count: int) -> None:
    types = get_typestore(Stores.ROS2_HUMBLE)
    jpegs = [cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].reshape(-1) for frame in frames[:count]]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(_TOPIC, COMPRESSED, typestore=types)
        for i in range(count):
            stamp_ns = round(i * 1e9 / 30)
            stamp = types.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
            header = types.types["std_msgs/msg/Header"](stamp, "camera")
            message = types.types[COMPRESSED](header, "jpeg", jpegs[i % len(jpegs)])
            writer.write(connection, stamp_ns, types.serialize_cdr(message, COMPRESSED))
