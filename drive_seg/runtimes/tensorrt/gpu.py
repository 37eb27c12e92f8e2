"""One GPU: memory, kernels, one stream, and CUDA graphs of what is enqueued on it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.runtimes import sensors
from drive_seg.runtimes.cuda_driver import Bindings, Pycuda, first_gpu, open_backend
from drive_seg.runtimes.nvml import Nvml

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: what others do on CUDA's default stream doesn't wait for this one
_BLOCKING_SYNC, _DISABLE_TIMING = 1, 2  # CU_EVENT_*: a thread that waits sleeps; without, it takes a core


@dataclass
class Buffer:
    """GPU memory. pointer: its address on the device. host: page-locked memory of the same size for copies to and from
    it, empty where it was allocated without."""

    pointer: int = 0
    nbytes: int = 0
    host: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))


class Gpu:
    """The first CUDA device, its primary context (which TensorRT uses too), and a stream.

    Wrap every use in `with gpu.current():`, which makes the context current on this thread. All of it raises
    EngineError. Close it: one that is not stays open until the program ends.
    """

    def __init__(self, backend: Bindings | Pycuda | None = None) -> None:
        """backend: by default the one that is installed. Raises EngineError without a driver, a GPU or a backend."""
        self.device = first_gpu()
        self.backend = backend or open_backend()
        self.stream: Any = None  # this and the next as the backend has them
        self.call = self.backend.call  # of a function of the driver
        self._done: Any = None
        self._module: Any = None
        self._functions: dict[str, object] = {}
        self._nvml: Nvml | None = None
        self._number = self.call("cuDeviceGet", 0)
        self._context = self.call("cuDevicePrimaryCtxRetain", self._number)
        atexit.register(self.close)  # a context must not end by itself, in whatever order Python forgets things
        try:
            with self.current():
                self.stream = self.call("cuStreamCreate", _NON_BLOCKING)
                self._done = self.call("cuEventCreate", _BLOCKING_SYNC | _DISABLE_TIMING)
        except EngineError:
            self.close()
            raise

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU's context current here."""
        if self._context is None:
            raise EngineError("the GPU was closed", "configure the engine again")
        self.call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent")

    def free_and_total(self) -> tuple[int, int]:
        """Bytes of the GPU's memory: free, and all of it. Where it is the processor's too, others take from it."""
        free, total = self.call("cuMemGetInfo")
        return int(free), int(total)

    def temperature(self) -> float | None:
        """Degrees Celsius: a Jetson's from its thermal zones, else from NVML; None where neither can be read."""
        if self.device.integrated or self.device.bus_id is None:
            return sensors.temperature(sensors.GPU_ZONES)
        self._nvml = self._nvml or Nvml(self.device.bus_id)
        return self._nvml.temperature()

    def allocate(self, nbytes: int, host: bool = False) -> Buffer:
        """Memory on the GPU, with host=True page-locked memory beside it."""
        buffer = Buffer(int(self.call("cuMemAlloc", nbytes)), nbytes)
        if host:
            try:
                address = int(self.call("cuMemHostAlloc", nbytes, 0))
            except EngineError:
                self.free(buffer)
                raise
            buffer.host = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        return buffer

    def free(self, buffer: Buffer) -> None:
        """Give memory back; once."""
        pointer, host = buffer.pointer, buffer.host
        buffer.pointer, buffer.nbytes, buffer.host = 0, 0, host[:0]
        try:
            if pointer:
                self.call("cuMemFree", pointer)
        finally:
            if host.size:
                self.call("cuMemFreeHost", host.ctypes.data)

    def upload(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue: its first bytes from the processor to the GPU."""
        self.call("cuMemcpyHtoDAsync", buffer.pointer, buffer.host.ctypes.data, nbytes, self.stream)

    def download(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue: its first bytes from the GPU to the processor."""
        self.call("cuMemcpyDtoHAsync", buffer.host.ctypes.data, buffer.pointer, nbytes, self.stream)

    def load_module(self, image: bytes) -> None:
        """Load compiled kernels: a cubin, or PTX."""
        self._module = self.call("cuModuleLoadData", image)
        self._functions = {}

    def launch(self, kernel: str, blocks: tuple[int, int], threads: int, arguments: ctypes.Structure,
               shared: int = 0) -> None:
        """Enqueue a kernel whose one parameter is a struct. blocks: (across, down), each one row of threads. shared:
        bytes of shared memory for each block."""
        if kernel not in self._functions:
            self._functions[kernel] = self.call("cuModuleGetFunction", self._module, kernel.encode())
        self.backend.launch(self._functions[kernel], blocks, threads, shared, self.stream, arguments)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Make a CUDA graph of what `work` enqueues; once something breaks it, all that comes after fails."""
        graph = None
        try:
            self.call("cuStreamBeginCapture", self.stream, self.backend.relaxed)  # other threads may call CUDA
            try:
                work()
            finally:
                graph = self.call("cuStreamEndCapture", self.stream)
            return Graph(self.call, self.call("cuGraphInstantiate", graph, 0), self.stream)
        finally:
            if graph:
                with contextlib.suppress(EngineError):  # of an earlier call
                    self.call("cuGraphDestroy", graph)

    def synchronise(self) -> None:
        """Wait until everything enqueued is done."""
        self.call("cuEventRecord", self._done, self.stream)
        self.call("cuEventSynchronize", self._done)

    def close(self) -> None:
        """Give back the context; never fails, a GPU in error can't be tidied up. Buffers must be freed before."""
        if self._context is None:
            return
        atexit.unregister(self.close)
        if self._nvml is not None:
            self._nvml.close()
        self._functions = {}
        with contextlib.suppress(EngineError), self.current():
            for function, handle in (("cuEventDestroy", self._done), ("cuStreamDestroy", self.stream),
                                     ("cuModuleUnload", self._module)):
                with contextlib.suppress(EngineError):
                    if handle is not None:
                        self.call(function, handle)
        self._context = None
        with contextlib.suppress(EngineError):
            self.call("cuDevicePrimaryCtxRelease", self._number)


@dataclass
class Graph:
    """Work captured from a stream, launched as one. See Gpu.capture."""

    _call: Callable
    _executable: Any
    _stream: Any

    def launch(self) -> None:
        """Enqueue all of it on its stream."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Destroy it; the context must be current."""
        self._call("cuGraphExecDestroy", self._executable)
