"""One GPU: memory, kernels, one stream, and CUDA graphs of what is enqueued on it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
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
    """The first CUDA device, its primary context (which TensorRT uses too), a stream, and all that is taken on it.

    Wrap every use in `with gpu.current():`, which makes the context current on this thread. All of it raises
    EngineError. Close it: one that is not stays open until the program ends.
    """

    def __init__(self, backend: Bindings | Pycuda | None = None) -> None:
        """backend: by default the one that is installed. Raises EngineError without a driver, a GPU or a backend."""
        self.device = first_gpu()
        self.backend = backend or open_backend()
        self.call = self.backend.call  # of a function of the driver
        self._taken: dict[Any, Callable[[], object]] = {}  # how to give each thing back, in the order of their coming
        self._busy = threading.RLock()
        self._module: Any = None
        self._nvml: Nvml | None = None
        self._number = self.call("cuDeviceGet", 0)
        self._context = self.call("cuDevicePrimaryCtxRetain", self._number)
        atexit.register(self.close)  # a context must not end by itself, in whatever order Python forgets things
        try:
            with self.current():
                self.stream = self._take("cuStreamDestroy", "cuStreamCreate", _NON_BLOCKING)
                self._done = self._take("cuEventDestroy", "cuEventCreate", _BLOCKING_SYNC | _DISABLE_TIMING)
        except EngineError:
            self.close()
            raise

    def _take(self, destroy: str, create: str, *arguments: Any) -> Any:
        """What a function of the driver makes, as the backend has it; another one gives it back at last."""
        handle = self.call(create, *arguments)
        self._taken[int(handle)] = partial(self.call, destroy, handle)
        return handle

    def give_back(self, handle: Any) -> None:
        """Give one thing back before the end."""
        self._taken.pop(int(handle))()

    def on_close(self, work: Callable[[], object]) -> None:
        """Have something done at the end, before all that was taken earlier is given back."""
        self._taken[work] = work

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU's context current here; others wait until it no longer is."""
        with self._busy:
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
        if self._nvml is None:
            self._nvml = Nvml(self.device.bus_id)
            self.on_close(self._nvml.close)
        return self._nvml.temperature()

    def allocate(self, nbytes: int, host: bool = False) -> Buffer:
        """Memory on the GPU, with host=True page-locked memory beside it."""
        buffer = Buffer(int(self._take("cuMemFree", "cuMemAlloc", nbytes)), nbytes)
        if host:
            address = int(self._take("cuMemFreeHost", "cuMemHostAlloc", nbytes, 0))
            buffer.host = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        return buffer

    def free(self, buffer: Buffer) -> None:
        """Give memory back, once; what is not comes back when the GPU is closed."""
        pointer, host = buffer.pointer, buffer.host
        buffer.pointer, buffer.nbytes, buffer.host = 0, 0, host[:0]
        if pointer:
            self.give_back(pointer)
        if host.size:
            self.give_back(host.ctypes.data)

    def upload(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue: its first bytes from the processor to the GPU."""
        self.call("cuMemcpyHtoDAsync", buffer.pointer, buffer.host[:nbytes], nbytes, self.stream)

    def download(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue: its first bytes from the GPU to the processor."""
        self.call("cuMemcpyDtoHAsync", buffer.host[:nbytes], buffer.pointer, nbytes, self.stream)

    def load_module(self, image: bytes) -> None:
        """Load compiled kernels: a cubin, or PTX."""
        self._module = self._take("cuModuleUnload", "cuModuleLoadData", image)

    def launch(self, kernel: str, blocks: tuple[int, int], threads: int, arguments: ctypes.Structure,
               shared: int = 0) -> None:
        """Enqueue a kernel whose one parameter is a struct. blocks: (across, down), each one row of threads. shared:
        bytes of shared memory for each block."""
        function = self.call("cuModuleGetFunction", self._module, kernel.encode())
        parameters = (arguments,), (None,)  # None: of no kind that the bindings know, a struct as it is
        self.call("cuLaunchKernel", function, *blocks, 1, threads, 1, 1, shared, self.stream, parameters, 0)

    def capture(self, work: Callable[[], None]) -> Any:
        """Make a CUDA graph of what `work` enqueues, to `replay`, and to `give_back` where that is before the end. Once
        something breaks it, all that comes after fails."""
        graph = None
        try:
            self.call("cuStreamBeginCapture", self.stream, self.backend.relaxed)  # other threads may call CUDA
            try:
                work()
            finally:
                graph = self.call("cuStreamEndCapture", self.stream)
            return self._take("cuGraphExecDestroy", "cuGraphInstantiate", graph, 0)
        finally:
            if graph:
                with contextlib.suppress(EngineError):  # of an earlier call
                    self.call("cuGraphDestroy", graph)

    def replay(self, graph: Any) -> None:
        """Enqueue all that was captured."""
        self.call("cuGraphLaunch", graph, self.stream)

    def synchronise(self) -> None:
        """Wait until everything enqueued is done."""
        self.call("cuEventRecord", self._done, self.stream)
        self.call("cuEventSynchronize", self._done)

    def close(self) -> None:
        """Give back all that was taken, the last first, and the context. Never fails: a GPU in error can't be tidied
        up, and neither can one on which a frame hangs."""
        if not self._busy.acquire(timeout=5):  # a frame that another thread has in the works ends first
            return
        with contextlib.suppress(EngineError), self.current():
            while self._taken:
                with contextlib.suppress(Exception):
                    self._taken.popitem()[1]()
        if self._context is not None:
            self._context = None
            with contextlib.suppress(EngineError):
                self.call("cuDevicePrimaryCtxRelease", self._number)
        atexit.unregister(self.close)
        self._busy.release()
