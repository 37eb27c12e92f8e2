"""The kernels' own source on the processor, behind the interface of drive_seg.runtimes.tensorrt.gpu.Gpu.

Nothing here is a GPU: it proves arithmetic, addresses, argument layouts and what the engine does on errors.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from drive_seg.core.engine import EngineError
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt import kernels, typed_onnx
from drive_seg.runtimes.tensorrt.gpu import Buffer

_GUARD = 256
_POISON = 0xA5


def build_kernels(folder: Path) -> ctypes.CDLL:
    """kernels.cu as a shared library of this machine; skips the test where there is no C++ compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels' arithmetic can't be built for the host")
    library = folder / "kernels.so"
    source = Path(__file__).with_name("kernels_on_host.cpp")
    subprocess.run([compiler, "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wno-attributes",
                    f"-I{kernels.SOURCE.parent}", str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.launch.argtypes = [ctypes.c_char_p, *[ctypes.c_uint] * 5, ctypes.c_void_p, ctypes.c_size_t]
    return loaded


class HostGpu:
    """Runs launches in host memory. Every buffer is poisoned, and guarded on both sides.

    integrated: one memory for both sides, as on a Jetson; else two, and copies between them. Set `broken` to a message
    and every later launch fails with it, as after a lost context. Set `free_bytes` to let memory run out.
    """

    name = "processor"
    compute_capability = (0, 0)
    memory = 16 << 20
    cache = 0

    def __init__(self, library: ctypes.CDLL, integrated: bool) -> None:
        self.integrated = integrated
        self.broken: str | None = None
        self.launches: list[str] = []
        self.captures = 0
        self.live: dict[int, np.ndarray] = {}
        self.allocations = 0
        self.free_bytes = 1 << 30
        self._library = library

    @contextmanager
    def current(self):
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
        whole = np.full(nbytes + 2 * _GUARD, _POISON, np.uint8)
        device = whole[_GUARD: _GUARD + nbytes]
        pointer = device.ctypes.data
        self.live[pointer] = whole
        if not host:
            return Buffer(pointer, nbytes, None, (whole,))
        return Buffer(pointer, nbytes, device if self.integrated else np.full(nbytes, _POISON, np.uint8), (whole,))

    def view(self, buffer: Buffer) -> np.ndarray:
        """The device's side of a buffer."""
        return self.live[buffer.pointer][_GUARD: _GUARD + buffer.nbytes]

    def constant(self, values: np.ndarray) -> Buffer:
        values = np.ascontiguousarray(values)
        buffer = self.allocate(values.nbytes)
        self.write(buffer, values)
        return buffer

    def free(self, buffer: Buffer) -> None:
        whole = self.live.pop(buffer.pointer)
        self.free_bytes += buffer.nbytes
        assert (whole[:_GUARD] == _POISON).all() and (whole[-_GUARD:] == _POISON).all(), "written out of bounds"

    def fill(self, buffer: Buffer, byte: int) -> None:
        self.view(buffer)[:] = byte
        if buffer.host is not None:
            buffer.host[:] = byte

    def copy(self, source: Buffer, target: Buffer) -> None:
        self.view(target)[:] = self.view(source)

    def event(self):
        class Event(float):
            def time_since(self, earlier: float) -> float:
                return 1e3 * (self - earlier)

        return Event(time.perf_counter())

    def read(self, buffer: Buffer) -> np.ndarray:
        return self.view(buffer).copy()

    def write(self, buffer: Buffer, values: np.ndarray) -> None:
        assert buffer.host is None and values.nbytes <= buffer.nbytes
        self.view(buffer)[: values.nbytes] = values.reshape(-1).view(np.uint8)

    def upload(self, buffer: Buffer, nbytes: int) -> None:
        assert nbytes <= buffer.nbytes
        if not self.integrated:
            self.view(buffer)[:nbytes] = buffer.host[:nbytes]

    def download(self, buffer: Buffer, nbytes: int) -> None:
        assert nbytes <= buffer.nbytes
        if not self.integrated:
            buffer.host[:nbytes] = self.view(buffer)[:nbytes]

    def launch(self, kernel, grid, block, arguments, shared=0) -> None:
        if self.broken:
            raise EngineError(self.broken)
        self.launches.append(kernel)
        status = self._library.launch(kernel.encode(), *grid, *block, shared,
                                      ctypes.addressof(arguments), ctypes.sizeof(arguments))
        assert status == 0, f"launch of {kernel}: {status}"

    def capture(self, work):
        self.captures += 1

        class Replay:
            launch = staticmethod(work)

            def close(self) -> None:
                pass

        return Replay()

    def synchronise(self) -> None:
        pass

    def close(self) -> None:
        assert not self.live, "memory was not given back"


class HostRunner:
    """The strongly typed fp16 network, the one that TensorRT is given, on ONNX Runtime: it rounds to fp16 after every
    layer and sums in fp32 within, much as a GPU does."""

    capturable = True

    def __init__(self, gpu: HostGpu, network: Network) -> None:
        typed = typed_onnx.typed_fp16(typed_onnx.load_onnx(network.path))
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # keeps the rounding
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(typed.SerializeToString(), options, ["CPUExecutionProvider"])
        self._gpu = gpu
        shapes = [tuple(self._session.get_inputs()[0].shape), tuple(self._session.get_outputs()[0].shape)]
        self.input_size, self.logits_shape = shapes[0][2:], shapes[1][1:]
        self._shape = shapes[0]
        self.planes, self.logits = (gpu.allocate(2 * int(np.prod(shape))) for shape in shapes)
        self.spoil = False  # True: overflow in one cell, as a network that fp16 can't hold

    def enqueue(self) -> None:
        planes = self._gpu.view(self.planes).view(np.float16).reshape(self._shape)
        logits = self._session.run(None, {self._session.get_inputs()[0].name: planes})[0]
        if self.spoil:
            logits[0, 0, -1, -1] = np.inf
        self._gpu.view(self.logits)[:] = logits.reshape(-1).view(np.uint8)

    def close(self) -> None:
        self._gpu.free(self.planes)
        self._gpu.free(self.logits)
