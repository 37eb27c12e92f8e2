"""OpenVINO: the engine for machines without a CUDA GPU."""

from __future__ import annotations

import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.network import Network
from drive_seg.runtimes.host import HostEngine

try:
    import openvino as ov
except ImportError as error:
    raise EngineError(f"OpenVINO is not installed ({error}): pip install openvino") from error

_SHORT = {"float32": "fp32", "f32": "fp32", "bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "f16": "fp16"}


class OpenVinoEngine(HostEngine):
    """Runs a network on the CPU through OpenVINO, in bf16 where the processor computes in it, else fp32."""

    name = "openvino"

    def __init__(self, network: Network, input_size: tuple[int, int] | None = None, threads: int | None = None,
                 precision: str = "auto") -> None:
        """precision: `auto`, `fp32` or `bf16`. Raises EngineError when the network can't be compiled."""
        super().__init__(network, input_size, threads)
        core = ov.Core()
        self.device = core.get_property("CPU", "FULL_DEVICE_NAME")
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads}
        if precision != "auto":
            settings["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
        try:
            compiled = core.compile_model(self._with_pre_processing(core.read_model(network.path)), "CPU", settings)
            hint = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        except RuntimeError as error:
            raise EngineError(f"OpenVINO can't compile {network.path}: {_first_line(error)}") from error
        self.precision = _SHORT.get(hint, hint)
        self._request = compiled.create_infer_request()
        height, width = self.input_size
        self._input = ov.Tensor(np.zeros((1, height, width, 3), np.uint8))
        self._request.set_input_tensor(self._input)
        self.warm_up()

    def _with_pre_processing(self, model: ov.Model) -> ov.Model:
        """Let the compiled network take uint8 (1, H, W, 3): conversion and layout become part of its first layer."""
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise EngineError(f"{self.network.path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs,"
                              " expected one of each: image and logits")
        model.reshape([1, 3, *self.input_size])
        shape = model.outputs[0].partial_shape
        if len(shape) != 4 or shape[1].is_static and shape[1].get_length() != len(self.network.table):
            raise EngineError(f"{self.network.path} gives {shape}, its class table has {len(self.network.table)}"
                              " classes: use the class table that belongs to this network")
        steps = ov.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        steps.output().tensor().set_element_type(ov.Type.f32)
        return steps.build()

    def infer(self, image: np.ndarray) -> np.ndarray:
        """See HostEngine.infer."""
        self._input.data[0] = image
        try:
            self._request.infer()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a frame: {_first_line(error)}") from error
        return self._request.get_output_tensor().data[0]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
