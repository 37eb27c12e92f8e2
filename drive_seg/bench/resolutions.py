"""Parameters, multiply-adds and latency over resolutions, for the network and for BiSeNetV2."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from drive_seg.bench.measure import Stages, interleave, percentile
from drive_seg.bench.networks import count, write_bisenetv2
from drive_seg.network import Network
from drive_seg.runtimes.openvino import OpenVinoEngine

SIZES = ((192, 256), (256, 352), (352, 480), (480, 640), (704, 960))
"""(height, width), near 4:3."""


def compare(network: Network, folder: Path, repeats: int, sizes: Sequence[tuple[int, int]] = SIZES,
            ) -> list[dict[str, Any]]:
    """One row a size (height, width); inference on OpenVINO alone, the two networks by turns, in the same arithmetic
    (an int8 version is left aside: BiSeNetV2 has none).

    folder: for temporary ONNX files. repeats: frames to measure each network on.
    """
    rows = []
    for size in sizes:
        other = write_bisenetv2(folder, size, network.table)
        engines = {"network": OpenVinoEngine(replace(network, int8=None), size), "bisenetv2": OpenVinoEngine(other)}
        try:
            samples = interleave({name: _timed(engine, size) for name, engine in engines.items()}, repeats)
        finally:
            for engine in engines.values():
                engine.close()
        row: dict[str, Any] = {"height": size[0], "width": size[1]}
        for name, described in (("network", network), ("bisenetv2", other)):
            parameters, multiply_adds = count(described.path, size)
            row[name] = {"parameters": parameters, "multiply_adds": multiply_adds,
                         "infer_ms": percentile([s["infer"] for s in samples[name]], 50)}
        row["ratio"] = {key: round(row["bisenetv2"][key] / row["network"][key], 2) for key in row["network"]}
        rows.append(row)
    return rows


def _timed(engine: OpenVinoEngine, size: tuple[int, int]) -> Callable[[int], Stages]:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)

    def way(number: int) -> Stages:
        start = time.perf_counter()
        engine.infer(image)
        return {"infer": (time.perf_counter() - start) * 1e3}

    return way
