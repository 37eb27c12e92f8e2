"""The same network in PyTorch, one operation after the other (eager), where torch is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np


class TorchEager:
    """An ONNX network run by torch's own functions. Raises ValueError for an operation that is not listed here."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnx
        import torch
        from onnx import helper, numpy_helper

        torch.set_num_threads(threads)
        self._torch = torch
        model = onnx.load(str(path))
        self._values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
        self._input, self._output = model.graph.input[0].name, model.graph.output[0].name
        self._steps: list[tuple[Callable, list[str], str, dict]] = []
        functions = _functions(torch)
        for node in model.graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                self._values[node.output[0]] = torch.from_numpy(numpy_helper.to_array(attributes["value"]).copy())
                continue
            if node.op_type not in functions:
                raise ValueError(f"{node.op_type} of {path.name} is not translated to torch")
            self._steps.append((functions[node.op_type], list(node.input), node.output[0], attributes))

    def infer(self, image: np.ndarray) -> np.ndarray:
        """Network image (h, w, 3) uint8 RGB -> logits (C, gh, gw) float32."""
        torch = self._torch
        with torch.inference_mode():
            values = dict(self._values)
            values[self._input] = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            for function, inputs, output, attributes in self._steps:
                values[output] = function(attributes, *(values.get(name) for name in inputs))
            return values[self._output][0].numpy()


def _functions(torch) -> dict[str, Callable]:  # noqa: ANN001 - imported where it is installed
    F = torch.nn.functional

    def conv(a: dict, x, w, b=None):  # noqa: ANN001
        pads = a.get("pads", [0, 0, 0, 0])
        if pads[:2] != pads[2:]:
            x, pads = F.pad(x, (pads[1], pads[3], pads[0], pads[2])), [0, 0]
        return F.conv2d(x, w, b, a.get("strides", 1), tuple(pads[:2]), a.get("dilations", 1), a.get("group", 1))

    def resize(a: dict, x, roi=None, scales=None, sizes=None):  # noqa: ANN001
        size = sizes[2:].tolist() if sizes is not None and sizes.numel() else None
        factor = None if size else scales[2:].tolist()
        if a["mode"] == b"nearest":
            return F.interpolate(x, size, factor, "nearest")
        return F.interpolate(x, size, factor, "bilinear", align_corners=False)

    def pool(kind: Callable) -> Callable:
        return lambda a, x: kind(x, a["kernel_shape"], a.get("strides", 1), tuple(a.get("pads", [0, 0])[:2]))

    return {
        "Conv": conv, "Resize": resize,
        "Relu": lambda a, x: x.relu(), "Sigmoid": lambda a, x: x.sigmoid(), "HardSwish": lambda a, x: F.hardswish(x),
        "HardSigmoid": lambda a, x: F.hardsigmoid(x),
        "Clip": lambda a, x, low=None, high=None: x.clamp(low, high),
        "Add": lambda a, x, y: x + y, "Sub": lambda a, x, y: x - y, "Mul": lambda a, x, y: x * y,
        "Div": lambda a, x, y: x / y, "Identity": lambda a, x: x,
        "Concat": lambda a, *x: torch.cat(x, a["axis"]),
        "ReduceMean": lambda a, x, axes=None: x.mean(a["axes"] if axes is None else axes.tolist(),
                                                     keepdim=bool(a.get("keepdims", 1))),
        "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
        "MaxPool": pool(F.max_pool2d), "AveragePool": pool(F.avg_pool2d),
    }
