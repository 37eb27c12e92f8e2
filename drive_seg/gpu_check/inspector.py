"""What TensorRT really put into a plan, asked of the plan itself; that needs a GPU."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from drive_seg.runtimes.tensorrt.library import Library


def inspect_plan(library: Library, plan: Path) -> dict[str, int] | None:
    """Types and formats of the plan's layer outputs, and how many have them; None where it can't be asked."""
    trt = library.module
    try:
        engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan.read_bytes())
    except TypeError:  # no runtime: pybind11 says so of a null pointer
        return None
    if engine is None:
        return None
    return formats(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def formats(text: str) -> dict[str, int] | None:
    """The inspector's JSON -> how many layer outputs have each type and format; None when it is not such JSON."""
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        return None
    outputs = [output for layer in layers if isinstance(layer, dict) for output in layer.get("Outputs", [])]
    return dict(sorted(Counter(_format(output) for output in outputs).items()))


def _format(output: dict) -> str:
    # TensorRT 10 writes both into one entry, 11 one each.
    names = ("Format/Datatype", "Format/DataType", "DataType", "Format")
    parts = [str(output[name]) for name in names if name in output]
    return ", ".join(parts) or "?"
