"""One GPU: memory, kernels, one stream, and CUDA graphs of what is enqueued on it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.runtimes import sensors
from drive_seg.runtimes.nvml import Nvml
from drive_seg.runtimes.tensorrt.backends import Bindings, CudaError, Pycuda, open_backend
from drive_seg.runtimes.tensorrt.driver import first_gpu

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: what others do on CUDA's default stream doesn't wait for this one
_BLOCKING_SYNC, _DISABLE_TIMING = 1, 2  # CU_EVENT_*: a thread that waits sleeps; without, it takes a core


@dataclass
class Buffer:
    """GPU memory. pointer: its address on the device. host: page-locked memory of the same size for copies to and from
    it, None if there is none.
    """

    pointer: int
    nbytes: int
    host: np.ndarray | None

    @property
    def beside(self) -> np.ndarray:
        """`host`, of memory that was allocated with it. Raises EngineError where there is none, or none any more."""
        if self.host is None:
            raise EngineError("this memory of the GPU has none beside it", "please report it")
        return self.host


class Gpu:
    """The first CUDA device, its primary context (which TensorRT uses too), and a stream.

    Wrap every use in `with gpu.current():` - it makes the context current on this thread and turns CUDA's errors into
    EngineError. Close it: one that is not stays open until the program ends.
    """

    def __init__(self, backend: Bindings | Pycuda | None = None) -> None:
        """backend: by default the one that is installed. Raises EngineError without a driver, a GPU or a backend."""
        self.device = first_gpu()
        self.compute_capability = self.device.compute_capability
        self._backend = backend or open_backend()
        self._context: Any = None  # as the backend has them
        self._stream: Any = None
        self._done: Any = None
        self._module: Any = None
        self._functions: dict[str, object] = {}
        self._nvml: Nvml | None = None
        try:
            self._number = self._call("cuDeviceGet", 0)
            self._context = self._call("cuDevicePrimaryCtxRetain", self._number)
        except CudaError as error:
            raise EngineError(f"the GPU can't be opened ({error})",
                              "another process may hold it exclusively, or use up its memory") from error
        atexit.register(self.close)  # a context must not end by itself, in whatever order Python forgets things
        try:
            with self.current():
                self._stream = self._call("cuStreamCreate", _NON_BLOCKING)
                self._done = self._call("cuEventCreate", _BLOCKING_SYNC | _DISABLE_TIMING)
        except EngineError:
            self.close()
            raise

    @property
    def backend(self) -> str:
        """The package that calls the driver."""
        return self._backend.package

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU's context current here. Raises EngineError for any CUDA error inside."""
        if self._context is None:
            raise EngineError("the GPU was closed", "configure the engine again")
        try:
            self._call("cuCtxPushCurrent", self._context)
            try:
                yield
            finally:
                self._call("cuCtxPopCurrent")
        except CudaError as error:
            if error.out_of_memory:
                raise EngineError(f"the GPU's memory is used up ({error})",
                                  "close other programs on it, or use a smaller network input") from error
            raise EngineError(f"the GPU failed ({error})") from error

    @property
    def stream(self) -> int:
        """Handle of the stream that everything runs on."""
        return int(self._stream)

    def free_and_total(self) -> tuple[int, int]:
        """Bytes of the GPU's memory: free, and all of it. Where it is the processor's too, others take from it."""
        free, total = self._call("cuMemGetInfo")
        return int(free), int(total)

    def temperature(self) -> float | None:
        """Degrees Celsius: a Jetson's from its thermal zones, else from NVML where pynvml is installed; None where
        neither can be read."""
        if self.device.integrated or self.device.bus_id is None:
            return sensors.temperature(sensors.GPU_ZONES)
        if self._nvml is None:
            self._nvml = Nvml(self.device.bus_id)
        return self._nvml.temperature()

    def allocate(self, nbytes: int, host: bool = False) -> Buffer:
        """Memory on the GPU, with host=True page-locked memory beside it."""
        pointer = int(self._call("cuMemAlloc", nbytes))
        if not host:
            return Buffer(pointer, nbytes, None)
        try:
            address = int(self._call("cuMemHostAlloc", nbytes, 0))
        except CudaError:
            self._call("cuMemFree", pointer)
            raise
        return Buffer(pointer, nbytes, np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address)))

    def free(self, buffer: Buffer) -> None:
        """Give memory back; once."""
        pointer, host, buffer.pointer, buffer.host = buffer.pointer, buffer.host, 0, None
        try:
            if pointer:
                self._call("cuMemFree", pointer)
        finally:
            if host is not None:
                self._call("cuMemFreeHost", host.ctypes.data)

    def write(self, buffer: Buffer, values: np.ndarray) -> None:
        """Bytes to the beginning of a buffer, at once."""
        values = np.ascontiguousarray(values)
        self._call("cuMemcpyHtoDAsync", buffer.pointer, values.ctypes.data, values.nbytes, self._stream)
        self.synchronise()

    def read(self, buffer: Buffer) -> np.ndarray:
        """The bytes of a buffer, as they are on the GPU."""
        out = np.empty(buffer.nbytes, np.uint8)
        self._call("cuMemcpyDtoHAsync", out.ctypes.data, buffer.pointer, buffer.nbytes, self._stream)
        self.synchronise()
        return out

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Set every byte of a buffer, on both sides, and wait."""
        if buffer.host is not None:
            buffer.host[:] = byte
        self._call("cuMemsetD8Async", buffer.pointer, byte, buffer.nbytes, self._stream)
        self.synchronise()

    def upload(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue: its first bytes from the processor to the GPU."""
        self._call("cuMemcpyHtoDAsync", buffer.pointer, buffer.beside.ctypes.data, nbytes, self._stream)

    def download(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue: its first bytes from the GPU to the processor."""
        self._call("cuMemcpyDtoHAsync", buffer.beside.ctypes.data, buffer.pointer, nbytes, self._stream)

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Enqueue: one buffer to another on the GPU."""
        self._call("cuMemcpyDtoDAsync", target.pointer, source.pointer, target.nbytes, self._stream)

    def load_module(self, image: bytes) -> None:
        """Load compiled kernels: a cubin, or PTX. Raises EngineError when they don't suit this GPU."""
        try:
            self._module = self._call("cuModuleLoadData", image)
        except CudaError as error:
            raise EngineError(str(error)) from error
        self._functions = {}

    def launch(self, kernel: str, blocks: tuple[int, int], threads: int, arguments: ctypes.Structure,
               shared: int = 0) -> None:
        """Enqueue a kernel whose one parameter is a struct. blocks: (across, down), each one row of threads. shared:
        bytes of shared memory for each block."""
        if kernel not in self._functions:
            self._functions[kernel] = self._call("cuModuleGetFunction", self._module, kernel.encode())
        self._backend.launch(self._functions[kernel], blocks, threads, shared, self._stream, arguments)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Make a CUDA graph of what `work` enqueues. Raises EngineError when it can't be captured."""
        graph = None
        try:
            self._backend.begin_capture(self._stream)
            try:
                work()
            finally:
                graph = self._call("cuStreamEndCapture", self._stream)
            return Graph(self._call, self._call("cuGraphInstantiate", graph, 0), self._stream)
        except CudaError as error:  # once something breaks the capture, all that is enqueued after it fails
            raise EngineError(f"the work can't be captured ({error})") from error
        finally:
            if graph:
                with contextlib.suppress(CudaError):  # of an earlier call
                    self._call("cuGraphDestroy", graph)

    def synchronise(self) -> None:
        """Wait until everything enqueued is done."""
        self._call("cuEventRecord", self._done, self._stream)
        self._call("cuEventSynchronize", self._done)

    def milliseconds(self, work: Callable[[], None]) -> float:
        """How long the GPU takes over what `work` enqueues."""
        start, end = self._call("cuEventCreate", 0), self._call("cuEventCreate", 0)
        self._call("cuEventRecord", start, self._stream)
        work()
        self._call("cuEventRecord", end, self._stream)
        self._call("cuEventSynchronize", end)
        taken = float(self._call("cuEventElapsedTime", start, end))
        self._call("cuEventDestroy", start)
        self._call("cuEventDestroy", end)
        return taken

    def close(self) -> None:
        """Give back the context; never fails, a GPU in error can't be tidied up. Buffers must be freed before."""
        if self._context is None:
            return
        atexit.unregister(self.close)
        if self._nvml is not None:
            self._nvml.close()
        self._functions = {}
        with contextlib.suppress(EngineError), self.current():
            for function, name in (("cuEventDestroy", "_done"), ("cuStreamDestroy", "_stream"),
                                   ("cuModuleUnload", "_module")):
                with contextlib.suppress(CudaError):
                    if self.__dict__[name] is not None:
                        self._call(function, self.__dict__[name])
        self._context = None
        with contextlib.suppress(CudaError):
            self._call("cuDevicePrimaryCtxRelease", self._number)

    def _call(self, function: str, *arguments):
        return self._backend.call(function, *arguments)


class Graph:
    """Work captured from a stream, launched as one."""

    def __init__(self, call: Callable, executable, stream) -> None:
        """See Gpu.capture."""
        self._call, self._executable, self._stream = call, executable, stream

    def launch(self) -> None:
        """Enqueue all of it on its stream."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Destroy it; the context must be current."""
        if self._executable is not None:
            executable, self._executable, self._stream = self._executable, None, None
            self._call("cuGraphExecDestroy", executable)
