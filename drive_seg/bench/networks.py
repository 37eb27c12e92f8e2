"""Networks for the benchmark: at another input size, what they take on paper, and BiSeNetV2 as a yardstick."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from math import prod
from pathlib import Path

from drive_seg.core.classes import ClassTable
from drive_seg.errors import CommandError
from drive_seg.network import Network


def at_size(network: Network, size: tuple[int, int], folder: Path) -> Network:
    """The network for images of `size` = (height, width): itself, or a copy in `folder` that has this size for its own,
    for runtimes that run a file at the size that it has.

    Raises EngineError for a network that holds sizes fixed, or where onnx is missing.
    """
    if size == network.input_size:
        return network
    from drive_seg.fp16.typed import load_onnx

    path = folder / f"{network.path.stem}_{size[0]}x{size[1]}.onnx"
    path.write_bytes(load_onnx(network.path, size).SerializeToString())
    return replace(network, path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), input_size=size, int8=None)


def count(path: Path, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """(parameters, multiply-adds) of an ONNX network's convolutions for one image of `size` = (height, width).

    Multiply-adds of a convolution: output elements x input channels per group x kernel height x kernel width. Raises
    EngineError for a file that is not a network, or where onnx is missing.
    """
    from drive_seg.fp16.typed import load_onnx

    graph = load_onnx(path, size).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {info.name: [d.dim_value for d in info.type.tensor_type.shape.dim]
              for info in (*graph.value_info, *graph.output)}
    parameters = sum(prod(tensor.dims) for tensor in weights.values() if len(tensor.dims))
    multiply_adds = sum(prod(shapes[node.output[0]]) * prod(weights[node.input[1]].dims[1:])
                        for node in graph.node if node.op_type == "Conv")
    return parameters, multiply_adds


def write_bisenetv2(folder: Path, size: tuple[int, int], table: ClassTable) -> Network:
    """Write BiSeNetV2, as its paper describes it, for images of `size` = (height, width); with random weights, for the
    time it takes is the same.

    Raises CommandError without the onnx package.
    """
    try:
        import onnx

        from drive_seg.evaluation.bisenetv2 import build
    except ImportError as error:
        raise CommandError(f"the comparison needs onnx ({error})", "pip install 'drive-seg[bench]'") from error
    path = folder / f"bisenetv2_{size[0]}x{size[1]}.onnx"
    onnx.save(build(*size, classes=len(table)), str(path))
    return Network(path, "BiSeNetV2", "", size, table)
