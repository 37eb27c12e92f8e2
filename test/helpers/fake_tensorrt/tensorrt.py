"""Stands where TensorRT is, for the stand-in CUDA driver: plans are ONNX files, ONNX Runtime runs them on the stream.

Has what drive_seg uses and no more; test_bindings.py proves that the real bindings have it too.
"""

from __future__ import annotations

import ctypes
import os
from enum import Enum, IntEnum

import numpy as np
import onnx

__version__ = "10.3.0"

Severity = IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING", start=0)
NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH STRONGLY_TYPED", start=0)
MemoryPoolType = Enum("MemoryPoolType", "WORKSPACE")
ProfilingVerbosity = Enum("ProfilingVerbosity", "DETAILED")
LayerType = Enum("LayerType", "CONSTANT CAST SHUFFLE OTHER")
TensorFormat = IntEnum("TensorFormat", "LINEAR CHW2 HWC8", start=0)
TensorIOMode = Enum("TensorIOMode", "NONE INPUT OUTPUT")
DTYPE = Enum("DTYPE", "FLOAT HALF")
float32, float16 = DTYPE.FLOAT, DTYPE.HALF
FAILS = os.environ.get("FAKE_TENSORRT_FAILS", "")
"""Where it fails: runtime, deserialise, context, address, enqueue, raise; batch: several frames can't be built for,
batch context: nor set up."""

_driver = ctypes.CDLL("libcuda.so.1")
_driver.stand_in_enqueue.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
_Work = ctypes.CFUNCTYPE(None)


class Logger:
    ERROR = Severity.ERROR

    def __init__(self, severity) -> None:
        assert severity == Severity.ERROR


class IProgressMonitor:
    pass


class IErrorRecorder:
    pass


class _Tensor:
    dtype = float16
    allowed_formats = 0

    def __init__(self, value) -> None:
        self.name = value.name
        self.shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


class _Network:
    num_inputs = num_outputs = 1
    num_layers = 0
    content = b""

    def get_input(self, i):
        return self.ends[0]

    def get_output(self, i):
        image, logits = self.ends
        logits.shape = (image.shape[0], *logits.shape[1:])
        return logits


class OnnxParser:
    num_errors = 0

    def __init__(self, network: _Network, log: Logger) -> None:
        self._network = network

    def parse(self, content: bytes) -> bool:
        graph = onnx.load_from_string(content).graph
        self._network.content, self._network.ends = content, (_Tensor(graph.input[0]), _Tensor(graph.output[0]))
        return True


class _Config:
    def set_memory_pool_limit(self, pool, nbytes) -> None:
        assert 0 < nbytes <= 1 << 30

    def create_timing_cache(self, content):
        return self

    def set_timing_cache(self, cache, ignore_mismatch) -> bool:
        return True

    def get_timing_cache(self):
        return None


class Builder:
    def __init__(self, log: Logger) -> None:
        pass

    def create_network(self, flags: int) -> _Network:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        assert all(tensor.allowed_formats == 1 << TensorFormat.HWC8 for tensor in network.ends)
        config.progress_monitor.phase_start("Building", None, 2)
        config.progress_monitor.step_complete("Building", 0)
        batch = network.ends[0].shape[0]
        if batch == 1:
            return b"PLAN" + network.content
        if FAILS == "batch":
            return None
        model = onnx.load_from_string(network.content)
        for tensor in (model.graph.input[0], model.graph.output[0]):
            tensor.type.tensor_type.shape.dim[0].dim_value = batch
        del model.graph.value_info[:]
        return b"PLAN" + model.SerializeToString()


class Runtime:
    error_recorder = None

    def __init__(self, log: Logger) -> None:
        if FAILS == "runtime":
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def deserialize_cuda_engine(self, plan: bytes):
        if FAILS == "deserialise" or not plan.startswith(b"PLAN"):
            self.error_recorder.report_error(1, "the plan is of\nanother GPU")
            return None
        return _Engine(plan[4:])


class _Engine:
    error_recorder = None
    num_io_tensors = 2

    def __init__(self, content: bytes) -> None:
        self.content = content
        graph = onnx.load_from_string(content).graph
        self.ends = [_Tensor(graph.input[0]), _Tensor(graph.output[0])]
        self._named = {tensor.name: tensor for tensor in self.ends}

    def get_tensor_name(self, i):
        return self.ends[i].name

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == self.ends[0].name else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return self._named[name].shape

    def get_tensor_dtype(self, name):
        return float16

    def get_tensor_format(self, name):
        return TensorFormat.HWC8

    def create_execution_context(self):
        fails = FAILS == "context" or (FAILS == "batch context" and self.ends[0].shape[0] > 1)
        return None if fails else _Context(self)


class _Context:
    error_recorder = None

    def __init__(self, engine: _Engine) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # threads that wait for work spin
        self._session = onnxruntime.InferenceSession(engine.content, options, ["CPUExecutionProvider"])
        self._ends, self._at = engine.ends, {}
        self._work = _Work(self._run)

    def set_tensor_address(self, name, address: int) -> bool:
        self._at[name] = address
        return FAILS != "address"

    def execute_async_v3(self, stream: int) -> bool:
        if FAILS == "enqueue":
            self.error_recorder.report_error(1, "enqueue failed")
            return False
        if FAILS == "raise":
            raise RuntimeError("what a binding may raise")
        return _driver.stand_in_enqueue(stream, ctypes.cast(self._work, ctypes.c_void_p)) == 0

    def _view(self, tensor: _Tensor) -> np.ndarray:
        batch, channels, height, width = tensor.shape
        padded = -(-channels // 8) * 8
        words = (ctypes.c_uint16 * (batch * height * width * padded)).from_address(self._at[tensor.name])
        return np.frombuffer(words, np.float16).reshape(batch, height, width, padded)[..., :channels]

    def _run(self) -> None:
        image, logits = (self._view(tensor) for tensor in self._ends)
        planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
        logits[:] = self._session.run(None, {self._ends[0].name: planes})[0].transpose(0, 2, 3, 1)
