"""One GPU through pycuda: memory that the camera and the network share, kernels, and one stream."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.runtimes import sensors
from drive_seg.runtimes.tensorrt.driver import Graph, first_gpu, load_driver, pop_context
from drive_seg.runtimes.tensorrt.nvml import Nvml


@dataclass
class Buffer:
    """GPU memory. pointer: its address on the device. host: the same bytes for the processor, None if there are none.

    Where the GPU shares the processor's memory, both are one memory and copies cost nothing.
    """

    pointer: int
    nbytes: int
    host: np.ndarray | None
    memory: tuple  # what keeps it alive


def import_pycuda():
    """pycuda.driver. Raises EngineError naming the fix."""
    try:
        import pycuda.driver
    except ImportError as error:
        raise EngineError(f"pycuda can't be loaded ({error})",
                          "`pip install pycuda` builds it against the CUDA toolkit (nvcc and cuda.h must be there: on a"
                          " Jetson `sudo apt install cuda-toolkit`; if it asks for curand.h, libcurand-dev)") from None
    return pycuda.driver


class Gpu:
    """The first CUDA device, its primary context (which TensorRT uses too), and a stream.

    Wrap every use in `with gpu.current():` - it makes the context current on this thread and turns CUDA's errors into
    EngineError.
    """

    def __init__(self) -> None:
        """Raises EngineError without a driver, a GPU or pycuda."""
        self._driver = load_driver()
        self.name, self.compute_capability = first_gpu()
        self._cuda = import_pycuda()
        self._module = None
        self._functions: dict[str, object] = {}
        self._context = None
        self._nvml: Nvml | None = None
        try:
            self._cuda.init()
            device = self._cuda.Device(0)
            self.integrated = bool(device.get_attribute(self._cuda.device_attribute.INTEGRATED))
            self._bus_id: str = device.pci_bus_id()
            self.memory: int = device.total_memory()
            self.cache: int = device.get_attribute(self._cuda.device_attribute.L2_CACHE_SIZE)
            self._context = device.retain_primary_context()
        except self._cuda.Error as error:
            raise EngineError(f"the GPU can't be opened ({error})",
                              "another process may hold it exclusively, or use up its memory") from error
        self._stream = None
        try:
            with self.current():
                self._stream = self._cuda.Stream()
        except EngineError:
            self.close()
            raise

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU's context current here. Raises EngineError for any CUDA error inside."""
        if self._context is None:
            raise EngineError("the GPU was closed", "configure the engine again")
        try:
            self._context.push()
            try:
                yield
            finally:
                self._cuda.Context.pop()
        except self._cuda.MemoryError as error:
            raise EngineError(f"the GPU's memory is used up ({error})",
                              "close other programs on it, or use a smaller network input") from error
        except self._cuda.Error as error:
            raise EngineError(f"the GPU failed ({error})") from error

    @property
    def stream(self) -> int:
        """Handle of the stream that everything runs on."""
        return self._stream.handle

    def free_and_total(self) -> tuple[int, int]:
        """Bytes of the GPU's memory: free, and all of it. Where it is the processor's too, others take from it."""
        free, total = self._cuda.mem_get_info()
        return int(free), int(total)

    def temperature(self) -> float | None:
        """Degrees Celsius: a Jetson's from its thermal zones, else from NVML where pynvml is installed; None where
        neither can be read."""
        if self.integrated:
            return sensors.temperature(sensors.GPU_ZONES)
        if self._nvml is None:
            self._nvml = Nvml(self._bus_id)
        return self._nvml.temperature()

    def allocate(self, nbytes: int, host: bool = False) -> Buffer:
        """Memory on the GPU, with host=True also for the processor: one memory on an integrated GPU, a page-locked
        copy elsewhere."""
        if not host:
            device = self._cuda.mem_alloc(nbytes)
            return Buffer(int(device), nbytes, None, (device,))
        flags = self._cuda.host_alloc_flags.DEVICEMAP if self.integrated else 0
        pinned = self._cuda.pagelocked_empty(nbytes, np.uint8, mem_flags=flags)
        if self.integrated:
            return Buffer(int(pinned.base.get_device_pointer()), nbytes, pinned, (pinned,))
        device = self._cuda.mem_alloc(nbytes)
        return Buffer(int(device), nbytes, pinned, (device, pinned))

    def constant(self, values: np.ndarray) -> Buffer:
        """Memory on the GPU that holds a copy of `values`."""
        values = np.ascontiguousarray(values)
        buffer = self.allocate(values.nbytes)
        self.write(buffer, values)
        return buffer

    def free(self, buffer: Buffer) -> None:
        """Give memory back."""
        for memory in buffer.memory:
            release = getattr(memory, "free", None) or memory.base.free
            release()
        buffer.memory = ()

    def write(self, buffer: Buffer, values: np.ndarray) -> None:
        """Bytes to the beginning of a buffer that only the GPU has, at once."""
        self._cuda.memcpy_htod(buffer.pointer, values)

    def upload(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue: its first bytes from the processor to the GPU. Nothing to do where both have one memory."""
        if not self.integrated:
            self._cuda.memcpy_htod_async(buffer.pointer, buffer.host[:nbytes], self._stream)

    def download(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue: its first bytes from the GPU to the processor. Nothing to do where both have one memory."""
        if not self.integrated:
            self._cuda.memcpy_dtoh_async(buffer.host[:nbytes], buffer.pointer, self._stream)

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Enqueue: one buffer to another on the GPU."""
        self._cuda.memcpy_dtod_async(target.pointer, source.pointer, target.nbytes, self._stream)

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Set every byte of a buffer, on both sides, and wait."""
        if buffer.host is not None:
            buffer.host[:] = byte
        if buffer.host is None or not self.integrated:
            self._cuda.memset_d8_async(buffer.pointer, byte, buffer.nbytes, self._stream)
            self._stream.synchronize()

    def read(self, buffer: Buffer) -> np.ndarray:
        """The bytes of a buffer, as they are on the GPU."""
        out = np.empty(buffer.nbytes, np.uint8)
        self._stream.synchronize()
        self._cuda.memcpy_dtoh(out, buffer.pointer)
        return out

    def load_kernels(self, cubin: Path) -> None:
        """Load compiled kernels. Raises EngineError when they don't fit this GPU."""
        try:
            self._module = self._cuda.module_from_buffer(cubin.read_bytes())
        except self._cuda.Error as error:
            raise EngineError(f"{cubin} can't be loaded ({error})", "delete it, it is compiled again") from error
        self._functions = {}

    def launch(self, kernel: str, grid: tuple[int, int], block: tuple[int, int], arguments: ctypes.Structure,
               shared: int = 0) -> None:
        """Enqueue a kernel whose one parameter is a struct. shared: bytes of shared memory for each block."""
        function = self._functions.get(kernel)
        if function is None:
            function = self._module.get_function(kernel)
            function.prepare([f"{ctypes.sizeof(arguments)}s"])
            self._functions[kernel] = function
        function.prepared_async_call((*grid, 1), (*block, 1), self._stream, bytes(arguments),
                                     shared_size=shared)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Capture the work that `work` enqueues. Raises EngineError."""
        try:
            return Graph(self._driver, self.stream, work)
        except self._cuda.Error as error:  # once something breaks the capture, all that is enqueued after it fails
            raise EngineError(f"the work can't be captured ({error})") from error

    def synchronise(self) -> None:
        """Wait until everything enqueued is done."""
        self._stream.synchronize()

    def event(self):
        """Record an event now: `later.time_since(earlier)` gives milliseconds once it is synchronised."""
        return self._cuda.Event().record(self._stream)

    def close(self) -> None:
        """Give back the context; never fails, a GPU in error can't be tidied up. Buffers must be freed before."""
        if self._context is None:
            return
        context, self._context = self._context, None
        if self._nvml is not None:
            self._nvml.close()
        with contextlib.suppress(self._cuda.Error):
            context.push()
            self._functions, self._module, self._stream = {}, None, None
            # pycuda lets go of a context only while it thinks it current (or on the thread that opened it), and then
            # leaves a primary one current for CUDA: this thread's next CUDA call would find a context that is gone.
            pop_context(self._driver)
            context.detach()
