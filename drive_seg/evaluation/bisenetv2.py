"""BiSeNetV2 as an ONNX file with random weights: the yardstick for latency.

Built to Yu et al., "BiSeNet V2" (IJCV 2021), tables 1 and 2 and figures 4 to 6, as it runs at inference: batch norms
folded, no booster heads. Weights do not change how long a network takes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class _Graph:
    """ONNX nodes and weights, collected call by call; every method returns the name of its output."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(seed)

    def _name(self, stem: str) -> str:
        return f"{stem}_{len(self.nodes)}_{len(self.weights)}"

    def constant(self, array: np.ndarray) -> str:
        name = self._name("weight")
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes) -> str:
        name = self._name(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1,
             relu: bool = True) -> str:
        fan_in = inputs // groups * kernel * kernel
        weight = self._random.normal(0, (2 / fan_in) ** 0.5, (outputs, inputs // groups, kernel, kernel))
        bias = self._random.normal(0, 0.1, outputs)
        y = self.node(
            "Conv", x, self.constant(weight.astype(np.float32)), self.constant(bias.astype(np.float32)),
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[kernel // 2] * 4, group=groups,
        )
        return self.node("Relu", y) if relu else y

    def resize(self, x: str, factor: int) -> str:
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        return self.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def gather_expand(self, x: str, channels: int) -> str:
        y = self.conv(x, channels, channels)
        y = self.conv(y, channels, 6 * channels, groups=channels, relu=False)
        y = self.conv(y, 6 * channels, channels, kernel=1, relu=False)
        return self.node("Relu", self.node("Add", x, y))

    def gather_expand_down(self, x: str, inputs: int, outputs: int) -> str:
        y = self.conv(x, inputs, inputs)
        y = self.conv(y, inputs, 6 * inputs, stride=2, groups=inputs, relu=False)
        y = self.conv(y, 6 * inputs, 6 * inputs, groups=6 * inputs, relu=False)
        y = self.conv(y, 6 * inputs, outputs, kernel=1, relu=False)
        shortcut = self.conv(x, inputs, inputs, stride=2, groups=inputs, relu=False)
        shortcut = self.conv(shortcut, inputs, outputs, kernel=1, relu=False)
        return self.node("Relu", self.node("Add", y, shortcut))


def _detail_branch(g: _Graph, x: str) -> str:
    x = g.conv(g.conv(x, 3, 64, stride=2), 64, 64)
    x = g.conv(g.conv(g.conv(x, 64, 64, stride=2), 64, 64), 64, 64)
    return g.conv(g.conv(g.conv(x, 64, 128, stride=2), 128, 128), 128, 128)


def _semantic_branch(g: _Graph, x: str) -> str:
    x = g.conv(x, 3, 16, stride=2)
    left = g.conv(g.conv(x, 16, 8, kernel=1), 8, 16, stride=2)
    right = g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = g.conv(g.node("Concat", left, right, axis=1), 32, 16)
    x = g.gather_expand(g.gather_expand_down(x, 16, 32), 32)
    x = g.gather_expand(g.gather_expand_down(x, 32, 64), 64)
    x = g.gather_expand_down(x, 64, 128)
    for _ in range(3):
        x = g.gather_expand(x, 128)
    context = g.conv(g.node("GlobalAveragePool", x), 128, 128, kernel=1)
    return g.conv(g.node("Add", x, context), 128, 128, relu=False)


def _aggregate(g: _Graph, detail: str, semantic: str) -> str:
    fine = g.conv(g.conv(detail, 128, 128, groups=128, relu=False), 128, 128, kernel=1, relu=False)
    coarse = g.conv(detail, 128, 128, stride=2, relu=False)
    coarse = g.node("AveragePool", coarse, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    fine_gate = g.node("Sigmoid", g.resize(g.conv(semantic, 128, 128, relu=False), 4))
    coarse_gate = g.conv(semantic, 128, 128, groups=128, relu=False)
    coarse_gate = g.node("Sigmoid", g.conv(coarse_gate, 128, 128, kernel=1, relu=False))
    fine = g.node("Mul", fine, fine_gate)
    coarse = g.resize(g.node("Mul", coarse, coarse_gate), 4)
    return g.conv(g.node("Add", fine, coarse), 128, 128, relu=False)


def build(height: int, width: int, classes: int = 11, head: int = 1024, seed: int = 0) -> onnx.ModelProto:
    """BiSeNetV2 for one `height` x `width` image (multiples of 32): `image` (1, 3, H, W) to `logits` (1, C, H/8, W/8).

    `head` is the paper's C_t, the width of the segmentation head. Logits stay at 1/8, where the network ends: as for
    drive_seg's own network, upsampling is not part of it.
    """
    if height % 32 or width % 32:
        raise ValueError(f"BiSeNetV2 needs a size in multiples of 32, got {height}x{width}")
    g = _Graph(seed)
    x = g.node("Sub", "image", g.constant(np.full((1, 1, 1, 1), 127, np.float32)))
    x = g.node("Mul", x, g.constant(np.full((1, 1, 1, 1), 1 / 128, np.float32)))
    x = _aggregate(g, _detail_branch(g, x), _semantic_branch(g, x))
    x = g.conv(g.conv(x, 128, head), head, classes, kernel=1, relu=False)
    g.nodes.append(helper.make_node("Identity", [x], ["logits"]))
    graph = helper.make_graph(
        g.nodes, "bisenetv2",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes, height // 8, width // 8])],
        g.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model
