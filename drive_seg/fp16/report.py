"""Which layers fp16 can't hold: runs a network in fp32 on real images and looks at every tensor inside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame
from drive_seg.core.resize import network_input
from drive_seg.fp16.typed import FP16_MAX, load_onnx
from drive_seg.openvino_core import CORE

NEAR = 4.0
"""Head room: a layer whose largest value on the images is within this factor of fp16's limit stays fp32."""


@dataclass(frozen=True)
class LayerRange:
    """The largest magnitude that a layer gave, or has among its weights. name: its first output, as ONNX names it."""

    name: str
    op: str
    largest_output: float
    largest_weight: float

    @property
    def needs_fp32(self) -> bool:
        """Whether fp16 is too narrow, or nearly."""
        return not max(self.largest_output, self.largest_weight) * NEAR <= FP16_MAX


@dataclass(frozen=True)
class Fp16Report:
    """Every layer's range over `images` images, widest first."""

    layers: tuple[LayerRange, ...]
    images: int

    @property
    def needs_fp32(self) -> tuple[str, ...]:
        """Names of the layers to keep in fp32; give them to typed.keep_fp32."""
        return tuple(layer.name for layer in self.layers if layer.needs_fp32)

    def __str__(self) -> str:
        widest = self.layers[0]
        head = (f"fp16: largest value {max(widest.largest_output, widest.largest_weight):.4g} of {FP16_MAX:.0f}"
                f" ({widest.op} {widest.name}), {self.images} images, {len(self.layers)} layers")
        return head + "; " + (f"stay fp32: {', '.join(self.needs_fp32)}" if self.needs_fp32 else "no layer needs fp32")


def fp16_report(network: str | Path | onnx.ModelProto, images: Iterable[np.ndarray],
                input_size: tuple[int, int] | None = None) -> Fp16Report:
    """Run a network in fp32 on OpenVINO and report each layer's range.

    network: an ONNX file, or its content. images: at least one BGR camera image (H, W, 3) uint8. input_size: (height,
    width) other than the network's own. Raises EngineError when the network can't be run.
    """
    model = load_onnx(network if isinstance(network, onnx.ModelProto) else Path(network), input_size)
    size = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:])
    tensors = {v.name: v for v in (*model.graph.value_info, *model.graph.output)}
    weights = {w.name: float(np.abs(numpy_helper.to_array(w)).max(initial=0.0)) for w in model.graph.initializer}
    layers = [node for node in model.graph.node
              if node.op_type != "Constant" and node.output[0] in tensors
              and tensors[node.output[0]].type.tensor_type.elem_type == 1]  # float32
    outputs = [helper.make_tensor_value_info(node.output[0], 1, None) for node in layers]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    try:
        compiled = CORE.compile_model(CORE.read_model(model.SerializeToString()), "CPU",
                                      {"INFERENCE_PRECISION_HINT": "f32"})
        request = compiled.create_infer_request()
    except RuntimeError as error:
        raise EngineError(f"OpenVINO can't run the network: {str(error).strip().splitlines()[-1]}") from error
    largest = np.zeros(len(layers))
    count = 0
    for image in images:
        pixels = network_input(Frame.from_array(image), size).transpose(2, 0, 1)[None]
        request.infer({0: np.ascontiguousarray(pixels, np.float32)})
        for i in range(len(layers)):
            found = np.abs(request.get_output_tensor(i).data).max(initial=0.0)
            largest[i] = np.maximum(largest[i], found)  # keeps a NaN, which max() would lose
        count += 1
    if not count:
        raise EngineError("the fp16 report needs at least one image")
    ranges = [LayerRange(node.output[0], node.op_type, float(value),
                         max((weights.get(name, 0.0) for name in node.input), default=0.0))
              for node, value in zip(layers, largest, strict=True)]
    widest = sorted(ranges, key=lambda r: -np.nan_to_num(max(r.largest_output, r.largest_weight), nan=np.inf))
    return Fp16Report(tuple(widest), count)
