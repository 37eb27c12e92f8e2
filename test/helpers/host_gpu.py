"""The kernels' own source on the processor, behind the interface of drive_seg.runtimes.tensorrt.gpu.Gpu.

Nothing here is a GPU: it proves arithmetic, addresses, argument layouts and what the engine does on errors.
"""

from __future__ import annotations

import ctypes
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from compiled import HELPERS, build, find_compiler

from drive_seg.core.engine import EngineError
from drive_seg.fp16.typed import load_onnx, typed_fp16
from drive_seg.network import Network
from drive_seg.runtimes.cuda_driver import Device
from drive_seg.runtimes.tensorrt.frame_path import channels
from drive_seg.runtimes.tensorrt.gpu import Buffer

_GUARD = _ALIGNMENT = 256
_POISON = 0xA5


def build_kernels(folder: Path) -> ctypes.CDLL:
    """kernels.cu as a shared library of this machine; skips the test where there is no C++ compiler."""
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels' arithmetic can't be built for the host")
    library = build(compiler, folder, "kernels.so", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall",
                    "-Wno-unknown-pragmas", str(HELPERS / "kernels_on_host.cpp"))
    loaded = ctypes.CDLL(str(library))
    loaded.launch.argtypes = [ctypes.c_char_p, *[ctypes.c_uint] * 4, ctypes.c_void_p, ctypes.c_size_t]
    loaded.count_sectors.restype = ctypes.c_size_t
    return loaded


class HostGpu:
    """Runs launches in host memory. Every buffer is poisoned, and guarded on both sides.

    Set `broken` to a message and every later launch fails with it, as after a lost context. Set `free_bytes` to let
    memory run out.
    """

    stream = None
    device = Device("processor", (0, 0), 16 << 20, 0, False, None)

    def __init__(self, library: ctypes.CDLL) -> None:
        self.broken: str | None = None
        self.launches: list[str] = []
        self.captures = 0
        self.live: dict[int, np.ndarray] = {}
        self.allocations = 0
        self.free_bytes = 1 << 30
        self._library = library
        self.closed = False
        self._on_close: list = []

    @contextmanager
    def current(self):
        if self.closed:
            raise EngineError("the GPU was closed")
        yield

    def free_and_total(self) -> tuple[int, int]:
        return 6_000_000_000, 8_000_000_000

    def temperature(self) -> float | None:
        return None

    def allocate(self, nbytes: int, host: bool = False) -> Buffer:
        if nbytes > self.free_bytes:
            raise EngineError("the GPU's memory is used up")
        self.free_bytes -= nbytes
        self.allocations += 1
        whole = np.full(nbytes + 2 * _GUARD + _ALIGNMENT, _POISON, np.uint8)
        whole = whole[-whole.ctypes.data % _ALIGNMENT:][: nbytes + 2 * _GUARD]
        pointer = whole.ctypes.data + _GUARD
        self.live[pointer] = whole
        return Buffer(pointer, nbytes, np.full(nbytes if host else 0, _POISON, np.uint8))

    def view(self, buffer: Buffer) -> np.ndarray:
        """The device's side of a buffer."""
        return self.live[buffer.pointer][_GUARD: _GUARD + buffer.nbytes]

    def free(self, buffer: Buffer) -> None:
        if not buffer.pointer:  # none was taken
            return
        whole = self.live.pop(buffer.pointer)
        self.free_bytes += len(whole) - 2 * _GUARD
        assert (whole[:_GUARD] == _POISON).all() and (whole[-_GUARD:] == _POISON).all(), "written out of bounds"

    def fill(self, buffer: Buffer, byte: int) -> None:
        self.view(buffer)[:] = byte
        buffer.host[:] = byte

    def call(self, function: str, *arguments):
        """What is measured with: events and a copy."""
        if function == "cuEventCreate":
            return [0.0]
        if function == "cuEventRecord":
            arguments[0][0] = time.perf_counter()
        if function == "cuEventElapsedTime":
            return 1e3 * (arguments[1][0] - arguments[0][0])
        if function == "cuMemcpyDtoDAsync":
            ctypes.memmove(*arguments[:3])
        return None

    def write(self, buffer: Buffer, values: np.ndarray) -> None:
        assert values.nbytes <= buffer.nbytes
        self.view(buffer)[: values.nbytes] = values.reshape(-1).view(np.uint8)

    def upload(self, buffer: Buffer, nbytes: int) -> None:
        self.view(buffer)[:nbytes] = buffer.host[:nbytes]

    def download(self, buffer: Buffer, nbytes: int) -> None:
        buffer.host[:nbytes] = self.view(buffer)[:nbytes]

    def launch(self, kernel, blocks, threads, arguments, shared=0) -> None:
        if self.broken:
            raise EngineError(self.broken)
        self.launches.append(kernel)
        status = self._library.launch(kernel.encode(), *blocks, threads, shared, ctypes.addressof(arguments),
                                      ctypes.sizeof(arguments))
        assert status == 0, f"launch of {kernel}: {status}"

    def capture(self, work):
        self.captures += 1
        return work

    def replay(self, graph) -> None:
        graph()

    def give_back(self, graph) -> None:
        pass

    def synchronise(self) -> None:
        pass

    def on_close(self, work) -> None:
        self._on_close.append(work)

    def close(self) -> None:
        while self._on_close:
            self._on_close.pop()()
        for pointer in list(self.live):
            self.free(Buffer(pointer))
        self.closed = True


def to_hwc8(values: np.ndarray) -> np.ndarray:
    """(C, H, W) -> (H, W, channels) fp16. What pads the channels is NaN: nothing may depend on it."""
    padded = np.full((*values.shape[1:], channels(len(values))), np.nan, np.float16)
    padded[..., : len(values)] = values.transpose(1, 2, 0)
    return padded


class HostRunner:
    """The strongly typed fp16 network, the one that TensorRT is given, on ONNX Runtime: it rounds to fp16 after every
    layer and sums in fp32 within, much as a GPU does."""

    capturable = True

    def __init__(self, gpu: HostGpu, network: Network, batch: int = 1, larger: HostRunner | None = None) -> None:
        """larger: the runner of a larger batch, whose buffers this one uses too."""
        self.batch = batch
        typed = typed_fp16(load_onnx(network.path))
        for tensor in (*typed.graph.input, *typed.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_value = batch
        del typed.graph.value_info[:]
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # keeps the rounding
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # threads that wait for work spin
        self._session = onnxruntime.InferenceSession(typed.SerializeToString(), options, ["CPUExecutionProvider"])
        self._gpu = gpu
        shapes = [tuple(self._session.get_inputs()[0].shape), tuple(self._session.get_outputs()[0].shape)]
        self.input_size, self.logits_shape = shapes[0][2:], shapes[1][1:]
        if larger is None:
            self.pixels, self.logits = (gpu.allocate(2 * batch * channels(shape[1]) * shape[2] * shape[3])
                                        for shape in shapes)
            gpu.fill(self.pixels, 0)
        else:
            self.pixels, self.logits = larger.pixels, larger.logits
        self.spoil: int | None = None
        """A place in the batch: overflow in one cell of it, as of a network that fp16 can't hold."""
        self.runs = 0

    def enqueue(self) -> None:
        self.runs += 1
        pixels = self._gpu.view(self.pixels).view(np.float16).reshape(-1, *self.input_size, 8)[: self.batch]
        assert not pixels[..., 3:].any(), "what pads the pixels must be zero"
        images = np.ascontiguousarray(pixels[..., :3].transpose(0, 3, 1, 2))
        logits = self._session.run(None, {self._session.get_inputs()[0].name: images})[0]
        if self.spoil is not None:
            logits[self.spoil, 0, -1, -1] = np.inf
        there = np.concatenate([to_hwc8(one).reshape(-1) for one in logits]).view(np.uint8)
        self._gpu.view(self.logits)[: len(there)] = there
