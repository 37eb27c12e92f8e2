"""fp32 ONNX -> strongly typed fp16 ONNX: the types are in the network, so TensorRT can't choose others.

TensorRT 11 has no fp16 switch any more, and 10 falls back to fp32 silently; a network that is fp16 itself is one path
for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.network import STAYS_FP32

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise EngineError(f"the package onnx is not installed ({error})", "pip install onnx") from error

FP16_MAX = 65504.0

_KEPT = "drive_seg.fp32_layers"  # metadata of the ONNX file; layers are named by their first output

_ALWAYS_FP32 = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that ONNX defines as float32 whatever the data are: roi and scales."""


def fp32_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """The layers that this network wants kept in fp32, as `keep_fp32` wrote them."""
    found = next((entry.value for entry in model.metadata_props if entry.key == _KEPT), "")
    return tuple(name for name in found.split("\n") if name)


def keep_fp32(model: onnx.ModelProto, layers: Iterable[str]) -> None:
    """Write into a network which layers stay fp32 on GPUs. layers: names of their first outputs.

    Changes the sha256 of its file: do it before the YAML file is written. Raises EngineError for an unknown layer.
    """
    layers = sorted(set(layers))
    unknown = set(layers) - {node.output[0] for node in model.graph.node}
    if unknown:
        raise EngineError(f"the network has no layers with the outputs {', '.join(sorted(unknown))}")
    properties = {entry.key: entry.value for entry in model.metadata_props if entry.key != _KEPT}
    if layers:
        properties[_KEPT] = "\n".join(layers)
    del model.metadata_props[:]
    helper.set_model_props(model, properties)


def load_onnx(source: Path | onnx.ModelProto, input_size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """Read a network, or copy it, and check the contract: float32 [1, 3, H, W] in, float32 [1, C, h, w] out, static.

    input_size: (height, width) other than the network's own. Returns it with the type and shape of every tensor.
    Raises EngineError naming the fix.
    """
    path = "the network" if isinstance(source, onnx.ModelProto) else source
    try:
        if isinstance(source, onnx.ModelProto):
            model = onnx.ModelProto()
            model.CopyFrom(source)
        else:
            model = onnx.load(str(source))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and onnx have no common base class
        raise EngineError(f"{path} is not an ONNX network ({_first_line(error)})", "export it again") from error
    graph = model.graph
    weights = {w.name for w in graph.initializer}
    inputs = [i for i in graph.input if i.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise EngineError(f"{path} has {len(inputs)} inputs and {len(graph.output)} outputs, expected one of each",
                          "image and logits")
    _check_static(path, inputs[0], graph.output[0], resized=input_size is not None)
    if input_size is not None:
        shape = inputs[0].type.tensor_type.shape
        shape.dim[2].dim_value, shape.dim[3].dim_value = input_size
        graph.output[0].type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    try:
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        raise EngineError(f"{path} doesn't fit together at this input size ({_first_line(error)})",
                          "it must scale by factors, not to fixed sizes; use its own size or export it"
                          " again") from error
    shape = shape_of(model.graph.output[0])
    if len(shape) != 4 or not all(shape):
        raise EngineError(f"{path} gives {shape}, expected the static shape [1, classes, height, width]",
                          "export it again with a static shape")
    return model


def typed_fp16(model: onnx.ModelProto, keep: Iterable[str] = ()) -> onnx.ModelProto:
    """Make a network from `load_onnx` fp16, input and output too, but for the layers in `keep` with casts around them.

    Raises EngineError for weights that fp16 can't hold outside `keep`.
    """
    keep = set(keep)
    source = model.graph
    floats = {v.name for v in (*source.input, *source.value_info, *source.output)
              if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {w.name for w in source.initializer if w.data_type == TensorProto.FLOAT}
    stored = _stored(source)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, onnx.TensorProto] = {}

    def weight(name: str, wide: bool, layer: str) -> str:
        tensor = stored[name]
        if tensor.data_type != TensorProto.FLOAT:
            weights[name] = tensor
            return name
        new = f"{name}.fp32" if wide else name
        if new not in weights:
            weights[new] = _retyped(tensor, new, wide, layer)
        return new

    for node in source.node:
        if node.op_type == "Constant":
            continue
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise EngineError(f"layer {node.output[0]} ({node.op_type}) has a network inside",
                              "export without conditions and loops")
        layer = node.output[0]
        wide = layer in keep
        new = onnx.NodeProto()
        new.CopyFrom(node)
        if wide:
            new.name = f"{node.name or layer}{STAYS_FP32}"
        if node.op_type == "Cast":
            for attribute in new.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT and not wide:
                    attribute.i = TensorProto.FLOAT16
        for i, name in enumerate(node.input):
            fixed = i in _ALWAYS_FP32.get(node.op_type, ())
            if name in stored:
                new.input[i] = weight(name, wide or fixed, layer)
            elif name in floats and (wide or fixed):
                new.input[i] = f"{name}.to_fp32.{layer}"
                nodes.append(helper.make_node("Cast", [name], [new.input[i]], name=f"{layer}.to_fp32.{i}",
                                              to=TensorProto.FLOAT))
        nodes.append(new)
        if wide:
            for i, name in enumerate(node.output):
                if name in floats:
                    new.output[i] = f"{name}.fp32"
                    nodes.append(helper.make_node("Cast", [f"{name}.fp32"], [name], name=f"{layer}.to_fp16.{i}",
                                                  to=TensorProto.FLOAT16))
    graph = helper.make_graph(nodes, source.name, [_as_fp16(i) for i in source.input if i.name not in stored],
                              [_as_fp16(o) for o in source.output], list(weights.values()))
    typed = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    try:
        onnx.checker.check_model(typed)
        return onnx.shape_inference.infer_shapes(typed, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        raise EngineError(f"the network can't be typed fp16 ({_first_line(error)})",
                          "it uses an operator that fp16 doesn't have") from error


def _retyped(tensor: onnx.TensorProto, name: str, wide: bool, layer: str) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    if wide:
        return numpy_helper.from_array(values, name)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= FP16_MAX:
        raise EngineError(f"layer {layer} has a weight of {largest:.3g}, more than fp16 holds ({FP16_MAX:.0f})",
                          "export again so that the layer stays fp32")
    return numpy_helper.from_array(values.astype(np.float16), name)


def stored_values(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """What a network holds, by tensor name: weights and constants."""
    return {name: numpy_helper.to_array(tensor) for name, tensor in _stored(graph).items()}


def _stored(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    return {w.name: w for w in graph.initializer} | dict(_constant(n) for n in graph.node if n.op_type == "Constant")


def _constant(node: onnx.NodeProto) -> tuple[str, onnx.TensorProto]:
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        value.name = node.output[0]  # it may have another, or none
        return node.output[0], value
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return node.output[0], numpy_helper.from_array(np.asarray(value, dtype), node.output[0])


def _as_fp16(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, TensorProto.FLOAT16, shape_of(value))


def shape_of(value: onnx.ValueInfoProto) -> list[int]:
    """The shape of an input or output; 0 for a side that is not fixed."""
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def _check_static(path: Path | str, image: onnx.ValueInfoProto, logits: onnx.ValueInfoProto, resized: bool) -> None:
    for value in (image, logits):
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            raise EngineError(f"{path}: {value.name} must be float32 (fp16 is made from it here)", "export it so")
    shape = shape_of(image)
    if len(shape) != 4 or shape[0] != 1 or shape[1] != 3 or not (resized or all(shape)):
        wanted = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
        raise EngineError(f"{path} takes {image.name} {wanted}, expected the static shape [1, 3, height, width]",
                          "export it with a static shape, or give a size (--size)")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
