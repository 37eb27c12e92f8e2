"""The network in 8 bits, for processors without half precision: post-training quantisation with NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence

import cv2
import numpy as np
import onnx

from drive_seg.errors import DriveSegError

KEPT_FLOAT = ("/stem/", "/stages.0/", "/classify/")
"""Names of the layers that stay float: 8 bits there lose the most accuracy and save next to no time."""

LEAST_SAME = 0.98
"""Share of the cells that must keep their class."""


class QuantiseError(DriveSegError, RuntimeError):
    """The 8-bit network does not do what the float one does; the message says by how much."""


def to_int8(model: onnx.ModelProto, images: Sequence[np.ndarray]) -> onnx.ModelProto:
    """A copy with quantised weights (per channel) and activations (QuantizeLinear / DequantizeLinear pairs), but for
    the layers KEPT_FLOAT.

    images: BGR uint8, any size, that show what the network will see; the ranges of the activations come from them.
    Raises ImportError without nncf.
    """
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


def compare(model: onnx.ModelProto, quantised: onnx.ModelProto, images: Sequence[np.ndarray]) -> dict:
    """Runs both in OpenVINO on the same images (BGR uint8). Returns the share of cells with the same class, and the
    median difference of a cell's greatest logit. Raises QuantiseError."""
    from drive_seg.openvino_core import CORE

    ours, theirs = (CORE.compile_model(CORE.read_model(m.SerializeToString()), "CPU",
                                       {"INFERENCE_PRECISION_HINT": "f32"}) for m in (quantised, model))
    size = list(ours.inputs[0].shape)[2:]
    same, differences = [], []
    for image in images:
        tensor = _tensor(image, size)
        a, b = (next(iter(network([tensor]).values())) for network in (ours, theirs))
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
