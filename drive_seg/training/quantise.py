"""The network in 8 bits, for processors without half precision and for TensorRT: post-training quantisation by NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from importlib.util import find_spec

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from drive_seg.errors import DriveSegError
from drive_seg.fp16.int8 import typed_int8
from drive_seg.fp16.typed import fp32_layers
from drive_seg.lean_imports import without

KEPT_FLOAT = ("/stem/", "/stages.0/", "/classify/")
"""Names of the layers that stay float: 8 bits there lose the most accuracy and save next to no time."""

LEAST_SAME = 0.98
"""Share of the cells that must keep their class."""


class QuantiseError(DriveSegError, RuntimeError):
    """The 8-bit network does not do what the float one does; the message says by how much."""


def check_installed() -> None:
    """Raise QuantiseError where nncf is missing; to be said before what takes long."""
    if find_spec("nncf") is None:
        raise QuantiseError("--int8 needs nncf, which is not installed", "pip install 'drive-seg[train]'")


def to_int8(model: onnx.ModelProto, images: Sequence[np.ndarray]) -> onnx.ModelProto:
    """A copy with quantised weights (per channel) and activations (QuantizeLinear / DequantizeLinear pairs), but for
    the layers KEPT_FLOAT.

    images: BGR uint8, any size, that show what the network will see; the ranges of the activations come from them.
    Raises ImportError without nncf.
    """
    with without("openvino_telemetry"):  # it reports each call to its vendor
        import nncf

    nncf.set_log_level(logging.ERROR)
    size = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:]]
    data = nncf.Dataset(images, lambda image: {"image": _tensor(image, size)})
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars of its own
        kept = [n.name for n in model.graph.node if n.op_type == "Conv" and n.name.startswith(KEPT_FLOAT)]
        quantised = nncf.quantize(model, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(images),
                                  ignored_scope=nncf.IgnoredScope(names=kept))
    quantised.producer_name, quantised.producer_version = "drive_seg", ""
    del quantised.graph.value_info[:]
    onnx.checker.check_model(quantised)
    return quantised


def versions(model: onnx.ModelProto, images: Sequence[np.ndarray], checked: Sequence[np.ndarray]
             ) -> tuple[dict[str, onnx.ModelProto], dict[str, dict]]:
    """The network in 8 bits: `int8` for processors, `int8_gpu` for TensorRT.

    images: see to_int8. checked: to compare on. Returns both versions, and a report on each. TensorRT's is left out
    where it loses too much; its report says so. Raises ImportError without nncf, and QuantiseError.
    """
    quantised = to_int8(model, images)
    reports = {"int8_against_fp32": compare(model, quantised, checked)}
    for_gpu = typed_int8(quantised, fp32_layers(model))
    try:
        reports["int8_gpu_against_fp32"] = compare(model, in_float(for_gpu), checked)
    except QuantiseError as error:
        return {"int8": quantised}, reports | {"int8_gpu_against_fp32": {"left_out": error.reason}}
    return {"int8": quantised, "int8_gpu": for_gpu}, reports


def in_float(typed: onnx.ModelProto) -> onnx.ModelProto:
    """TensorRT's int8 network with its rounding written out in float arithmetic: so it gives what a GPU does on any
    processor. Without VNNI a processor's own sums of signed 8-bit products saturate.
    """
    model = onnx.ModelProto()
    model.CopyFrom(typed)
    node, nodes = helper.make_node, []
    for layer in model.graph.node:
        values, output = layer.input[0], layer.output[0]
        if layer.op_type == "QuantizeLinear":
            nodes += [node("Div", [values, layer.input[1]], [f"{output}.steps"]),
                      node("Round", [f"{output}.steps"], [f"{output}.whole"]),
                      node("Clip", [f"{output}.whole", "int8.least", "int8.greatest"], [output])]
        elif layer.op_type == "DequantizeLinear" and layer.attribute:  # of weights, along their first axis
            nodes += [node("Cast", [values], [f"{output}.float"], to=TensorProto.FLOAT16),
                      node("Reshape", [layer.input[1], "int8.column"], [f"{output}.scale"]),
                      node("Mul", [f"{output}.float", f"{output}.scale"], [output])]
        elif layer.op_type == "DequantizeLinear":
            nodes.append(node("Mul", [values, layer.input[1]], [output]))
        else:
            nodes.append(layer)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    limits = {"int8.least": np.float16(-128), "int8.greatest": np.float16(127),
              "int8.column": np.array([-1, 1, 1, 1], np.int64)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in limits.items())
    return model


def compare(model: onnx.ModelProto, quantised: onnx.ModelProto, images: Sequence[np.ndarray]) -> dict:
    """Runs both in OpenVINO on the same images (BGR uint8). Returns the share of cells with the same class, and the
    median difference of a cell's greatest logit. Raises QuantiseError."""
    from drive_seg.openvino_core import CORE

    ours, theirs = (CORE.compile_model(CORE.read_model(m.SerializeToString()), "CPU",
                                       {"INFERENCE_PRECISION_HINT": "f32"}) for m in (quantised, model))
    size, dtype = list(ours.inputs[0].shape)[2:], ours.inputs[0].element_type.to_dtype()
    same, differences = [], []
    for image in images:
        tensor = _tensor(image, size)
        a = next(iter(ours([tensor.astype(dtype)]).values())).astype(np.float32)
        b = next(iter(theirs([tensor]).values()))
        same.append((a.argmax(1) == b.argmax(1)).mean())
        differences.append(np.median(np.abs(a.max(1) - b.max(1))))
    report = {"images": len(images), "same_class": round(float(np.mean(same)), 6),
              "median_logit_difference": round(float(np.median(differences)), 4)}
    if not report["same_class"] >= LEAST_SAME:
        raise QuantiseError(f"the 8-bit network differs from the float one: {report}")
    return report


def _tensor(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    small = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)[..., ::-1]
    return np.ascontiguousarray(small.transpose(2, 0, 1), np.float32)[None]
