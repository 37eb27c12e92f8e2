"""Writes the versions of a network that TensorRT runs beside it: fp16, and int8."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import onnx
import yaml

from drive_seg.fp16.int8 import typed_int8
from drive_seg.fp16.typed import fp32_layers, load_onnx, typed_fp16
from drive_seg.yaml_file import read_yaml


def fp16_beside(path: Path, model: onnx.ModelProto | None = None, keep: Iterable[str] | None = None) -> dict[str, str]:
    """Write NAME.fp16.onnx beside NAME.onnx; returns the entry `fp16` of NAME.yaml.

    model: the fp32 network, read from `path` when None. keep: layers that stay fp32, by their first outputs; None takes
    those that the network itself names (see typed.keep_fp32). Raises EngineError when it can't be typed.
    """
    model = load_onnx(path if model is None else model)
    typed = typed_fp16(model, fp32_layers(model) if keep is None else keep)
    return version_beside(path, "fp16", typed)


def version_beside(path: Path, name: str, model: onnx.ModelProto) -> dict[str, str]:
    """Write FILE.NAME.onnx beside FILE.onnx; returns the entry NAME of FILE.yaml."""
    beside = path.with_suffix(f".{name}.onnx")
    beside.write_bytes(model.SerializeToString())
    return {"file": beside.name, "sha256": hashlib.sha256(beside.read_bytes()).hexdigest()}


def write_fp16(path: Path, keep: Iterable[str] | None = None) -> list[Path]:
    """Write NAME.fp16.onnx beside NAME.onnx, and NAME.int8_gpu.onnx beside NAME.int8.onnx where there is one, and name
    them in NAME.yaml. Returns their paths. See fp16_beside and int8.typed_int8.
    """
    sidecar = path.with_suffix(".yaml")
    facts = read_yaml(sidecar)
    facts["fp16"] = fp16_beside(path, keep=keep)
    written = ["fp16"]
    if "int8" in facts:
        keep = fp32_layers(load_onnx(path)) if keep is None else keep
        typed = typed_int8(path.with_name(facts["int8"]["file"]), keep_fp32=keep)
        facts["int8_gpu"] = version_beside(path, "int8_gpu", typed)
        written.append("int8_gpu")
    sidecar.write_text(yaml.safe_dump(facts, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True))
    return [path.with_name(facts[name]["file"]) for name in written]
