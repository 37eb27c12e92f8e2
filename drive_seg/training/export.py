"""A training run to an ONNX network with its YAML file, checked against PyTorch."""

from __future__ import annotations

import copy
import hashlib
import inspect
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from drive_seg.core.classes import ClassTable
from drive_seg.errors import DriveSegError
from drive_seg.fp16.typed import FP16_MAX
from drive_seg.fp16.write import fp16_beside, version_beside
from drive_seg.network import FORMAT, STRIDE, fits_stride
from drive_seg.training.calibrate import Calibration
from drive_seg.training.model import ConvNorm, Segmenter

OPSET = 17


class ExportError(DriveSegError, RuntimeError):
    """The exported network does not do what PyTorch does; the message says by how much."""


def fold(network: Segmenter) -> Segmenter:
    """A copy for inference: batch norms folded into their convolutions."""
    network = copy.deepcopy(network).cpu().eval()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    return network


def to_onnx(network: Segmenter, size: tuple[int, int], precision: str = "fp32") -> onnx.ModelProto:
    """The network at a fixed input size: `image` float32 (1, 3, H, W), RGB 0..255, to `logits` (1, C, H/4, W/4).

    precision: `fp32`, or `fp16` where weights and arithmetic are typed half, input and output stay float32.
    """
    if not fits_stride(size):
        raise ValueError(f"height and width must be multiples of {STRIDE}, not {size[0]}x{size[1]}")
    buffer = io.BytesIO()
    # The TorchScript exporter writes Resize by scales and needs no further package; later versions ask for it by name.
    legacy = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(fold(network), (torch.zeros(1, 3, *size),), buffer, opset_version=OPSET,
                          input_names=["image"], output_names=["logits"], **legacy)
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name, model.producer_version = "drive_seg", ""
    if precision == "fp16":
        model = _to_half(model)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Types every float tensor half, but for the input, the output and the scales of Resize (float by definition)."""
    graph = model.graph
    scales = {node.input[2] for node in graph.node if node.op_type == "Resize"}
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT and weight.name not in scales:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] not in scales:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
                    attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float16)))
        node.input[:] = ["image_half" if name == "image" else name for name in node.input]
        node.output[:] = ["logits_half" if name == "logits" else name for name in node.output]
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["image_half"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["logits_half"], ["logits"], to=TensorProto.FLOAT))
    return model


@torch.no_grad()
def check(model: onnx.ModelProto, network: Segmenter, images: Sequence[np.ndarray], size: tuple[int, int]) -> dict:
    """Runs ONNX (in OpenVINO, fp32 arithmetic) and PyTorch on the same images (BGR uint8) and compares.

    Returns the greatest difference of a logit, the share of cells with the same class, and the greatest magnitude
    that any layer puts out (half precision ends at FP16_MAX). Raises ExportError.
    """
    from drive_seg.openvino_core import CORE

    compiled = CORE.compile_model(CORE.read_model(model.SerializeToString()), "CPU",
                                  {"INFERENCE_PRECISION_HINT": "f32"})
    greatest = 0.0

    def watch(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        nonlocal greatest
        greatest = max(greatest, float(output.abs().max()))

    folded = fold(network)
    for module in folded.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(watch)
    difference, same, cells = 0.0, 0, 0
    for image in images:
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)[..., ::-1]
        tensor = np.ascontiguousarray(small.transpose(2, 0, 1), np.float32)[None]
        ours = next(iter(compiled([tensor]).values()))
        theirs = folded(torch.from_numpy(tensor)).numpy()
        difference = max(difference, float(np.abs(ours - theirs).max()))
        same += int((ours.argmax(1) == theirs.argmax(1)).sum())
        cells += theirs[0, 0].size
    report = {"images": len(images), "greatest_logit_difference": round(difference, 5),
              "same_class": round(same / max(1, cells), 6), "greatest_activation": round(greatest, 2)}
    if not math.isfinite(difference) or same < 0.995 * cells:
        raise ExportError(f"the ONNX network differs from PyTorch: {report}")
    half = any(w.data_type == TensorProto.FLOAT16 for w in model.graph.initializer)
    if half and greatest > FP16_MAX / 4:
        raise ExportError(f"a layer puts out {greatest:.0f}, too near to the end of half precision", "export fp32")
    return report


def write(model: onnx.ModelProto, path: Path, table: ClassTable, size: tuple[int, int], provenance: dict,
          calibration: Calibration | None = None, versions: dict[str, onnx.ModelProto] | None = None) -> None:
    """Writes NAME.onnx and NAME.yaml, the two files that drive_seg.network.Network reads, NAME.fp16.onnx for TensorRT,
    and NAME.VERSION.onnx of each of the versions (see quantise.versions)."""
    content = model.SerializeToString()
    facts: dict = {
        "format": FORMAT, "name": path.stem, "onnx_sha256": hashlib.sha256(content).hexdigest(),
        "input": {"height": size[0], "width": size[1]},
    }
    if calibration is not None:
        facts["temperature"] = calibration.temperature
        facts["unknown"] = {k: v for k, v in asdict(calibration).items() if k != "temperature"}
    facts |= {"classes": table.to_dicts(), "provenance": provenance}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if model.graph.initializer:
        facts["fp16"] = fp16_beside(path, model)
    for name, version in (versions or {}).items():
        facts[name] = version_beside(path, name, version)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(facts, sort_keys=False, default_flow_style=None, width=110))
