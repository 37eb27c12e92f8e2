"""Offline replay beside inference and segmentation alone: how much do reading, decoding and writing take?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from drive_seg.bench.measure import inference
from drive_seg.pipeline import Model, Pipeline
from drive_seg.replay.settings import for_replay
from drive_seg.replay.stream import stream
from drive_seg.settings import Settings
from drive_seg.sources.bag import COMPRESSED, Bag

_TOPIC = "/camera/image/compressed"
_WARM_UP = 4  # frames: the pipeline fills


def measure(settings: Settings, frames: Sequence[np.ndarray], folder: Path, count: int = 30,
            rounds: int = 5) -> dict[str, float]:
    """Frames a second of all three, measured in turns, and the medians of replay's share of the other two.

    Inference and segmentation run as in the node: one engine with all cores. frames: (H, W, 3) uint8 BGR each; the bag
    has them as JPEG. folder: for the bag and its results. count: frames of a turn. Raises what Model.open raises.
    """
    bag_path = folder / "replay_bag"
    _write_bag(bag_path, frames, count + _WARM_UP)
    one, several = Model.open(settings), Model.open(settings, several=True)
    segmenter, replaying = Pipeline(settings, one), Pipeline(for_replay(settings), several)
    inferred, segmented, replayed = [], [], []
    try:
        for turn in range(rounds + 1):
            taken: dict[str, float] = {}
            start = time.perf_counter()
            for i in range(count):
                for name, ms in segmenter.segment(frames[i % len(frames)]).stages.items():
                    taken[name] = taken.get(name, 0.0) + ms
            segmented.append(count / (time.perf_counter() - start))
            inferred.append(count / (inference(taken) / 1e3))
            out = folder / f"replay_{turn}"
            out.mkdir()
            with Bag(bag_path) as bag:
                frames_done = stream(bag, bag.image_topic(), replaying, out)
                for done, _ in enumerate(frames_done, 1):
                    if done == _WARM_UP:
                        start = time.perf_counter()
                replayed.append(count / (time.perf_counter() - start))
    finally:
        one.close()
        several.close()
    inferred, segmented, replayed = inferred[1:], segmented[1:], replayed[1:]  # the first turn warms up
    return {"infer_fps": median(inferred), "segment_fps": median(segmented), "replay_fps": median(replayed),
            "of_inference": median(b / a for a, b in zip(inferred, replayed, strict=True)),
            "of_segmentation": median(b / a for a, b in zip(segmented, replayed, strict=True))}


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
