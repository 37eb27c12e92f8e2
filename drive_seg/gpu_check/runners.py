"""Networks to put between the kernels: fixed logits, TensorRT's stand-in where TensorRT doesn't run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.runtimes.tensorrt.frame_path import channels
from drive_seg.runtimes.tensorrt.gpu import Gpu


class FixedLogits:
    """Gives the same logits whatever it sees; the planes stay readable. See frame_path.NetworkRunner."""

    batch, capturable = 1, True

    def __init__(self, gpu: Gpu, input_size: tuple[int, int], logits: np.ndarray) -> None:
        """logits: (C, gh, gw) fp16."""
        self._gpu = gpu
        self.input_size = input_size
        self.logits_shape = logits.shape
        padded = np.full((*logits.shape[1:], channels(len(logits))), np.nan, np.float16)  # NaN: nothing may read it
        padded[..., : len(logits)] = logits.transpose(1, 2, 0)
        self.logits = gpu.allocate(padded.nbytes, host=True)
        self.logits.host[:] = padded.reshape(-1).view(np.uint8)
        gpu.upload(self.logits, padded.nbytes)
        self.pixels = gpu.allocate(2 * channels(3) * input_size[0] * input_size[1], host=True)

    def enqueue(self) -> None:
        """Nothing to do: the logits are there."""

    def seen(self) -> np.ndarray:
        """What the kernel before the network wrote: (H, W, 3) float32, RGB."""
        self._gpu.download(self.pixels, self.pixels.nbytes)
        self._gpu.synchronise()
        pixels = self.pixels.host.view(np.float16).reshape(*self.input_size, channels(3))
        return pixels[..., :3].astype(np.float32)

    def close(self) -> None:
        """Give back memory."""
        self._gpu.free(self.pixels)
        self._gpu.free(self.logits)


class TorchRunner:
    """Runs a typed fp16 ONNX through PyTorch, where TensorRT doesn't run on a card. See frame_path.NetworkRunner."""

    batch, capturable = 1, True

    def __init__(self, gpu: Gpu, typed: Path) -> None:
        """typed: the path of a network's fp16 version. Raises EngineError without PyTorch on CUDA, or for an unknown
        operator."""
        gpu.on_close(self._close)
        try:
            import onnx
            import torch
            from onnx import numpy_helper
        except ImportError as error:
            raise EngineError(f"PyTorch or onnx is not there ({error})") from error
        if not torch.cuda.is_available():
            raise EngineError("this PyTorch has no CUDA")
        graph = onnx.load(str(typed)).graph
        self._torch, self._nodes = torch, list(graph.node)
        unknown = {n.op_type for n in self._nodes} - set(OPERATORS)
        if unknown:
            raise EngineError(f"the stand-in doesn't know the operators {', '.join(sorted(unknown))}")
        shapes = [tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
                  for v in (graph.input[0], graph.output[0])]
        self.input_size, self.logits_shape = shapes[0][2:], shapes[1][1:]
        padded = [(*shape[2:], channels(shape[1])) for shape in shapes]
        self.pixels, self.logits = (gpu.allocate(2 * int(np.prod(shape))) for shape in padded)
        self._ends = (graph.input[0].name, graph.output[0].name)
        self._in, self._out = (
            torch.as_tensor(_View(buffer.pointer, shape), device="cuda")[..., : real[1]].permute(2, 0, 1)[None]
            for buffer, shape, real in zip((self.pixels, self.logits), padded, shapes, strict=True))
        self._weights = {}
        for weight in graph.initializer:  # scales and axes stay on the host: reading one waits for the GPU
            values = torch.from_numpy(numpy_helper.to_array(weight).copy())
            self._weights[weight.name] = values.cuda() if values.dtype == torch.float16 else values
        self._stream = torch.cuda.ExternalStream(int(gpu.stream))

    def enqueue(self) -> None:
        """See NetworkRunner.enqueue."""
        torch = self._torch
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                self._out.copy_(run_nodes(torch, self._nodes, self._weights, self._ends, self._in))
        except RuntimeError as error:  # what PyTorch makes of every CUDA error
            raise EngineError(f"PyTorch failed: {str(error).splitlines()[0]}") from error

    def _close(self) -> None:
        self._in = self._out = None
        self._weights = {}


def run_nodes(torch, nodes, weights: dict, ends: tuple[str, str], image):
    """Run ONNX nodes with PyTorch; returns the tensor ends[1] for ends[0] = image."""
    values = weights | {ends[0]: image}
    for node in nodes:
        attributes = {a.name: _attribute(a) for a in node.attribute}
        inputs = [values[name] if name else None for name in node.input]
        values[node.output[0]] = OPERATORS[node.op_type](torch, attributes, *inputs)
    return values[ends[1]]


def _conv(torch, a, x, weight, bias=None):
    top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
    x = torch.nn.functional.pad(x, (left, right, top, bottom)) if (top, left) != (bottom, right) else x
    padding = (top, left) if (top, left) == (bottom, right) else 0
    return torch.nn.functional.conv2d(x, weight, bias, a.get("strides", 1), padding, a.get("dilations", 1),
                                      a.get("group", 1))


def _resize(torch, a, x, roi, scales, *sizes):
    if a.get("mode") != b"linear" or a.get("coordinate_transformation_mode", b"half_pixel") != b"half_pixel" or sizes:
        raise EngineError("the stand-in resizes only linearly, by factors, with half-pixel centres")
    factors = [float(f) for f in scales[2:]]
    size = [round(n * f) for n, f in zip(x.shape[2:], factors, strict=True)]
    return torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Conv": _conv,
    "Resize": _resize,
    "Clip": lambda torch, a, x, low=None, high=None: torch.clamp(x, low, high),
    "Relu": lambda torch, a, x: torch.relu(x),
    "Sigmoid": lambda torch, a, x: torch.sigmoid(x),
    "Add": lambda torch, a, x, y: x + y,
    "Sub": lambda torch, a, x, y: x - y,
    "Mul": lambda torch, a, x, y: x * y,
    "Div": lambda torch, a, x, y: x / y,
    "Concat": lambda torch, a, *xs: torch.cat(xs, a["axis"]),
    "ReduceMean": lambda torch, a, x, *axes: x.mean(_axes(a, axes), keepdim=bool(a.get("keepdims", 1))),
    "GlobalAveragePool": lambda torch, a, x: x.mean((2, 3), keepdim=True),
}


def _axes(attributes: dict, axes: tuple) -> tuple[int, ...]:
    return tuple(attributes["axes"]) if "axes" in attributes else tuple(int(i) for i in axes[0])


def _attribute(attribute):
    from onnx import helper

    return helper.get_attribute_value(attribute)


class _View:
    """Device memory for torch.as_tensor, without a copy."""

    def __init__(self, pointer: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"data": (pointer, False), "shape": shape, "typestr": "<f2", "version": 3}
