"""OpenVINO: the engine for machines without a CUDA GPU."""

from __future__ import annotations

import numpy as np
from llvmlite import binding as llvm

from drive_seg.core.engine import EngineError, Loaded
from drive_seg.loading import fix_for_memory
from drive_seg.network import Network
from drive_seg.openvino_core import CORE, ov
from drive_seg.runtimes.host import HostEngine

_SHORT = {"float32": "fp32", "f32": "fp32", "bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "f16": "fp16"}
_HINTS = {"auto": None, "fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What is asked of OpenVINO for each precision; of an int8 network it is that of the few layers that stay float."""


class OpenVinoEngine(HostEngine):
    """Runs a network on the CPU through OpenVINO.

    In bf16 where the processor computes in it; else in int8 where it has the instructions and the network comes with
    that version; else in fp32.
    """

    name = "openvino"

    def __init__(self, network: Network, input_size: tuple[int, int] | None = None, threads: int | None = None,
                 precision: str = "auto") -> None:
        """precision: `auto`, or one that RUNTIMES names. Raises EngineError when the network can't be compiled, or this
        processor does not run that precision."""
        super().__init__(network, input_size, threads)
        self.device = CORE.get_property("CPU", "FULL_DEVICE_NAME")
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads}
        if threads is not None:  # several engines of few threads must not be pinned to the same core
            settings["ENABLE_CPU_PINNING"] = False
        if precision == "int8" and network.int8 is None:
            raise EngineError(f"{network.path.name} has no int8 version beside it",
                              "export one with --int8, or use another precision")
        if precision == "auto" and network.int8 is not None and _fastest_in_int8():
            precision = "int8"
        if _HINTS[precision] is not None:
            settings["INFERENCE_PRECISION_HINT"] = _HINTS[precision]
        path, digest = network.path, network.sha256
        if precision == "int8" and network.int8 is not None:
            path, digest = network.int8, network.int8_sha256
        self.loaded = Loaded(path.name, digest, f"OpenVINO {ov.get_version()}")
        try:
            compiled = CORE.compile_model(self._with_pre_processing(CORE.read_model(path)), "CPU", settings)
            hint = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        except (RuntimeError, MemoryError) as error:
            raise EngineError(f"OpenVINO can't compile {path} ({_first_line(error)})", fix_for_memory(error)) from error
        found = _SHORT.get(hint, hint)
        if precision in ("fp32", "bf16") and found != precision:  # of an int8 network it is that of its float layers
            raise EngineError(f"OpenVINO doesn't run {precision} on this processor, it takes {found}",
                              "set precision to auto, which takes what it runs")
        self.precision = "int8" if precision == "int8" else found
        self._request = compiled.create_infer_request()
        height, width = self.input_size
        self._input = ov.Tensor(np.zeros((1, height, width, 3), np.uint8))
        self._request.set_input_tensor(self._input)
        self.warm_up()

    def _with_pre_processing(self, model: ov.Model) -> ov.Model:
        """Let the compiled network take uint8 (1, H, W, 3): conversion and layout become part of its first layer."""
        model.reshape([1, 3, *self.input_size])
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
        return self.result(self._request.get_output_tensor().data)


def _fastest_in_int8() -> bool:
    """Whether the processor has 8-bit dot products (VNNI) and does not compute in bf16. Without VNNI, sums of 8-bit
    products saturate at 16 bits, which loses accuracy."""
    if "BF16" in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return False
    features = llvm.get_host_cpu_features()
    return any(features.get(name) for name in ("avx512vnni", "avxvnni"))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
