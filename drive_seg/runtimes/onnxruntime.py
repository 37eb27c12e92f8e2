"""ONNX Runtime: a second CPU engine, to compare against."""

from __future__ import annotations

import platform

import numpy as np

from drive_seg.core.engine import EngineError, Loaded
from drive_seg.loading import fix_for_loading
from drive_seg.network import Network
from drive_seg.runtimes.host import HostEngine

try:
    import onnxruntime
except ModuleNotFoundError as error:
    raise EngineError(f"ONNX Runtime is not installed ({error})", "pip install 'drive-seg[bench]'") from error
except (ImportError, OSError, MemoryError) as error:
    raise EngineError(f"ONNX Runtime can't be loaded ({error})", fix_for_loading(error, "onnxruntime")) from error


class OnnxRuntimeEngine(HostEngine):
    """Runs a network on the CPU through ONNX Runtime, in fp32, at the network's own size."""

    name = "onnxruntime"
    precision = "fp32"

    def __init__(self, network: Network, input_size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        """Raises EngineError when the network can't be loaded, or for an input size that is not its own."""
        super().__init__(network, input_size, threads)
        if self.input_size != network.input_size:
            raise EngineError(f"onnxruntime runs {network.path.name} at its own size only"
                              f" ({network.input_size[0]}x{network.input_size[1]})",
                              "use the openvino engine")
        self.device = platform.processor() or platform.machine()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(network.path), options, ["CPUExecutionProvider"])
        except Exception as error:  # the library's exceptions share no base class of its own
            raise EngineError(f"ONNX Runtime can't load {network.path}: {' '.join(str(error).split())}") from error
        self.loaded = Loaded(network.path.name, network.sha256, f"ONNX Runtime {onnxruntime.__version__}")
        self._input = self._session.get_inputs()[0].name
        self.warm_up()

    def infer(self, image: np.ndarray) -> np.ndarray:
        """See HostEngine.infer."""
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)[None]
        try:
            output = self._session.run(None, {self._input: planes})[0]
        except Exception as error:  # see above
            raise EngineError(f"ONNX Runtime failed on a frame: {' '.join(str(error).split())}") from error
        return self.result(output)
