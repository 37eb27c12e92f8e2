"""The stages of a frame, and other ways of doing the same beside them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from drive_seg.bench import every_output
from drive_seg.bench.measure import Stages, interleave, percentile, summary
from drive_seg.bench.networks import at_size, write_bisenetv2
from drive_seg.bench.ros_frames import RosFrames
from drive_seg.bench.torch_eager import TorchEager
from drive_seg.bench.ways import Nav2Way, NodeWay
from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame
from drive_seg.core.resize import network_input
from drive_seg.errors import CommandError
from drive_seg.pipeline import Model
from drive_seg.runtimes import open_engine
from drive_seg.settings import Settings


def measure(settings: Settings, model: Model, frames: Sequence[np.ndarray], domain: int, folder: Path,
            count: int) -> dict[str, Any]:
    """Milliseconds by way and stage.

    Every way gets images of the model's input size. settings: that the model was opened with. frames: (H, W, 3) uint8
    BGR each. domain: of ROS. folder: for temporary networks. count: frames to measure each way on. A comparison that
    can't run here is left out and `notes` says why.
    """
    engine, network = model.engine, model.network
    notes: list[str] = []
    engines = []
    with RosFrames(frames, domain) as ros:
        ways: dict[str, Callable[[int], Stages]] = {"drive_seg": NodeWay(settings, model, ros)}
        try:
            try:
                engines.append(open_engine("onnxruntime", at_size(network, engine.input_size, folder)))
                ways["nav2"] = Nav2Way(engines[-1], ros)
            except EngineError as error:
                notes.append(f"no Nav2 row: {error}")
            try:
                yardstick = write_bisenetv2(folder, engine.input_size, network.table)
                # There is no 8-bit BiSeNetV2: it then runs in what the engine takes for float networks.
                asked = "auto" if settings.precision == "int8" else settings.precision
                engines.append(open_engine(engine.name, yardstick, precision=asked))
                ways["BiSeNetV2"] = _inference(engines[-1].infer, frames, engine.input_size)
                yardstick_precision = engines[-1].precision
                if yardstick_precision != engine.precision:
                    notes.append(f"BiSeNetV2 ran in {yardstick_precision}, this network in {engine.precision}")
            except (CommandError, EngineError) as error:
                notes.append(f"no BiSeNetV2 row: {error}")
            if find_spec("torch") is None:
                notes.append("no PyTorch row: torch is not installed")
            else:
                try:
                    resized = at_size(network, engine.input_size, folder)
                    torch = TorchEager(resized.path, len(os.sched_getaffinity(0)))
                    ways["PyTorch"] = _inference(torch.infer, frames, engine.input_size)
                except (EngineError, ValueError, ImportError) as error:
                    notes.append(f"no PyTorch row: {error}")
            samples = interleave(ways, count)
            outputs = every_output.measure(settings, model, ros, max(30, count // 2))
        finally:
            for other in engines:
                other.close()
    result: dict[str, Any] = {
        "network": network.name, "input_size": list(engine.input_size), "camera_size": list(frames[0].shape[:2]),
        "engine": engine.name, "precision": engine.precision, "device": engine.device, "frames": count,
        "outputs": outputs,
        "ways": {name: summary(samples[name]) for name in ("drive_seg", "nav2") if name in samples},
    }
    for key, name in (("bisenetv2_infer_ms", "BiSeNetV2"), ("pytorch_infer_ms", "PyTorch")):
        if name in samples:
            result[key] = percentile([sample["infer"] for sample in samples[name]], 50)
    if "BiSeNetV2" in samples:
        result["bisenetv2_precision"] = yardstick_precision
    return result | {"notes": notes}


def _inference(infer: Callable[[np.ndarray], np.ndarray], frames: Sequence[np.ndarray],
               size: tuple[int, int]) -> Callable[[int], Stages]:
    """A way that only infers."""
    images = [network_input(Frame.from_array(frame), size) for frame in frames]
    infer(images[0])  # at once, for an engine that only takes whole frames says so here

    def way(number: int) -> Stages:
        start = time.perf_counter()
        infer(images[number % len(images)])
        return {"infer": (time.perf_counter() - start) * 1e3}

    return way
