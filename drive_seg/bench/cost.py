"""What a network takes on paper: parameters and multiply-adds, counted in its graph."""

from __future__ import annotations

from math import prod
from pathlib import Path

from drive_seg.fp16.typed import load_onnx


def count(path: Path, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """(parameters, multiply-adds) of an ONNX network's convolutions for one image of `size` = (height, width).

    Multiply-adds of a convolution: output elements x input channels per group x kernel height x kernel width. Raises
    EngineError for a file that is not a network.
    """
    graph = load_onnx(path, size).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {info.name: [d.dim_value for d in info.type.tensor_type.shape.dim]
              for info in (*graph.value_info, *graph.output)}
    parameters = sum(prod(tensor.dims) for tensor in weights.values() if len(tensor.dims))
    multiply_adds = sum(prod(shapes[node.output[0]]) * prod(weights[node.input[1]].dims[1:])
                        for node in graph.node if node.op_type == "Conv")
    return parameters, multiply_adds
