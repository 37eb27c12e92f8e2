"""An 8-bit network as processors run it -> the one that TensorRT takes: int8 where it is quantised, fp16 elsewhere.

TensorRT quantises symmetrically only: signed, zero point 0, one scale for an activation, one a channel for weights
(NVIDIA's TensorRT documentation, "Working with Quantized Types"); its parser refuses uint8 and offsets. A tensor
without negative values thereby loses one of its 8 bits, so the result must be compared with the float network again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from drive_seg.core.engine import EngineError
from drive_seg.fp16.typed import load_onnx, stored_values, typed_fp16

OPSET = 19
"""The first whose QuantizeLinear and DequantizeLinear have fp16 at their float side; TensorRT 10 reads up to 20."""

_LEAST_SCALE = 2.0 ** -14  # fp16's smallest normal number: below it a scale would lose digits
_ZERO = "zero_point"


def typed_int8(source: Path | onnx.ModelProto, keep_fp32: Iterable[str] = ()) -> onnx.ModelProto:
    """The strongly typed network for TensorRT, from one with QuantizeLinear / DequantizeLinear pairs.

    keep_fp32: see typed.typed_fp16. Raises EngineError for a network that has no such pairs, or weights with an offset.
    """
    model = _at_opset(load_onnx(source))
    graph = model.graph
    stored = stored_values(graph)
    quantisers = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    pairs = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in quantisers]
    if any(quantiser.input[0] in stored for quantiser in quantisers.values()):
        raise EngineError("the network has weights that are quantised when it runs", "store them quantised, in int8")
    if not pairs:
        raise EngineError("the network has no activations in 8 bits (QuantizeLinear and DequantizeLinear pairs)",
                          "quantise its activations too, e.g. with `drive-seg export --int8`")
    new: dict[str, np.ndarray] = {_ZERO: np.zeros((), np.int8)}
    for node in list(graph.node):
        if node.op_type != "DequantizeLinear" or node.input[0] not in stored:
            continue
        values, scale = _weights(node, stored)
        if values.dtype == np.int32:  # a bias, which TensorRT has in float only
            new[node.output[0]] = values * scale
            graph.node.remove(node)
            continue
        fine = _fp16_scale(scale)
        new[f"{node.output[0]}.int8"] = np.clip(np.rint(values * (scale / fine)), -128, 127).astype(np.int8)
        new[f"{node.output[0]}.scale"] = fine.ravel()
        node.input[:] = [f"{node.output[0]}.int8", f"{node.output[0]}.scale"]
    for node in pairs:
        quantiser = quantisers[node.input[0]]
        name = f"{quantiser.output[0]}.scale"
        new[name] = _fp16_scale(_symmetric(quantiser, stored))
        for one in (quantiser, node):
            one.input[:] = [one.input[0], name, _ZERO]
            del one.attribute[:]
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v, v.dtype if v.dtype == np.int8 else np.float32), k)
                             for k, v in new.items())
    return typed_fp16(load_onnx(model), keep_fp32)


def _at_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.graph.value_info[:]
    if all(entry.domain or entry.version >= OPSET for entry in model.opset_import):
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter's errors have no base class of their own
        raise EngineError(f"the network can't be brought to ONNX opset {OPSET}"
                          f" ({' '.join(str(error).split())[:200]})", "export it at that opset") from error


def _weights(node: onnx.NodeProto, stored: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Quantised weights, and their scale in a shape that goes with them. Raises EngineError for an offset."""
    values, scale = stored[node.input[0]], stored[node.input[1]]
    offset = len(node.input) > 2 and node.input[2] and stored[node.input[2]].any()
    if offset or values.dtype not in (np.int8, np.int32):
        raise EngineError(f"the weights {node.input[0]} are not signed and without offset, as TensorRT needs them",
                          "quantise weights symmetrically, in int8")
    if scale.size > 1:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        scale = scale.reshape([-1 if i == axis % values.ndim else 1 for i in range(values.ndim)])
    return values, scale


def _symmetric(quantiser: onnx.NodeProto, stored: dict[str, np.ndarray]) -> np.ndarray:
    """The scale of int8 without offset that holds all that a quantiser does, over all of its channels."""
    scale = stored[quantiser.input[1]]
    zero = stored[quantiser.input[2]] if len(quantiser.input) > 2 else np.zeros((), np.uint8)  # ONNX's default
    if zero.dtype == np.int8 and not zero.any():
        return scale.max()
    ends = np.iinfo(zero.dtype)
    reach = np.maximum(zero.astype(np.int32) - ends.min, ends.max - zero.astype(np.int32))
    return (reach * scale).max() / 127


def _fp16_scale(scale: np.ndarray) -> np.ndarray:
    return np.maximum(scale, _LEAST_SCALE).astype(np.float16).astype(np.float32)

