"""Writes the fp16 version of a network beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import onnx
import yaml

from drive_seg.fp16.typed import fp32_layers, load_onnx, typed_fp16
from drive_seg.yaml_file import read_yaml


def fp16_beside(path: Path, model: onnx.ModelProto | None = None, keep: Iterable[str] | None = None) -> dict[str, str]:
    """Write NAME.fp16.onnx beside NAME.onnx; returns the entry `fp16` of NAME.yaml.

    model: the fp32 network, read from `path` when None. keep: layers that stay fp32, by their first outputs; None takes
    those that the network itself names (see typed.keep_fp32). Raises EngineError when it can't be typed.
    """
    model = load_onnx(path if model is None else model)
    typed = typed_fp16(model, fp32_layers(model) if keep is None else keep)
    beside = path.with_suffix(".fp16.onnx")
    beside.write_bytes(typed.SerializeToString())
    return {"file": beside.name, "sha256": hashlib.sha256(beside.read_bytes()).hexdigest()}


def write_fp16(path: Path, keep: Iterable[str] | None = None) -> Path:
    """Write NAME.fp16.onnx beside NAME.onnx, and name it in NAME.yaml. Returns its path. See fp16_beside."""
    sidecar = path.with_suffix(".yaml")
    facts = read_yaml(sidecar)
    facts["fp16"] = fp16_beside(path, keep=keep)
    sidecar.write_text(yaml.safe_dump(facts, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True))
    return path.with_name(facts["fp16"]["file"])
