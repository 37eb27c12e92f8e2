"""The CUDA driver's functions from Python, by pycuda where it is installed, else by NVIDIA's cuda-bindings.

Both take and give what cuda-bindings does: handles, addresses as integers, and no status, for that is a CudaError.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_uint8, c_ulonglong, c_void_p
from typing import Any

from drive_seg.core.engine import EngineError
from drive_seg.errors import DriveSegError
from drive_seg.runtimes.tensorrt.driver import error_name, load_driver

INSTALL = "pip install 'drive-seg[gpu]', which brings cuda-bindings; there is nothing to compile"


class CudaError(DriveSegError):
    """A function of the driver failed."""

    def __init__(self, message: str, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


def open_backend() -> Bindings | Pycuda:
    """The package to call the driver with. Raises EngineError naming the fix where there is none."""
    why = []
    for backend in (Pycuda, Bindings):
        try:
            return backend()
        except Exception as error:  # missing, or built for another Python, CUDA or driver
            why.append(f"{backend.package}: {' '.join(str(error).split())}")
    raise EngineError(f"neither pycuda nor cuda-bindings can be loaded ({'; '.join(why)})", INSTALL)


class Bindings:
    """NVIDIA's cuda-bindings: the driver's functions as they are."""

    package = "cuda-bindings"

    def __init__(self) -> None:
        from cuda.bindings import driver

        self._driver = driver
        self._relaxed = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self.call("cuInit", 0)

    def call(self, function: str, *arguments):
        """Call a function of the driver. Raises CudaError."""
        try:
            status, *values = getattr(self._driver, function)(*arguments)
        except RuntimeError as error:  # this driver is too old to have the function
            raise CudaError(f"{function}: {error}") from error
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise CudaError(f"{function}: {status.name}",
                            status == self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY)
        return values[0] if len(values) == 1 else tuple(values)

    def launch(self, function, blocks: tuple[int, int], threads: int, shared: int, stream,
               arguments: ctypes.Structure) -> None:
        """Enqueue a kernel whose one parameter is a struct. Raises CudaError."""
        parameters = (c_void_p * 1)(ctypes.addressof(arguments))
        self.call("cuLaunchKernel", function, *blocks, 1, threads, 1, 1, shared, stream, ctypes.addressof(parameters),
                  0)

    def begin_capture(self, stream) -> None:
        """Other threads may call CUDA while this one captures."""
        self.call("cuStreamBeginCapture", stream, self._relaxed)


class Pycuda:
    """pycuda, in the form of cuda-bindings. What it lacks (CUDA graphs) goes to the driver itself."""

    package = "pycuda"

    def __init__(self) -> None:
        import pycuda.driver as cuda

        self._cuda = cuda
        self._driver = load_driver()
        self._live: dict[int, Any] = {}  # all of pycuda's objects, by their handles
        self._calls = self._table()
        cuda.init()

    def call(self, function: str, *arguments):
        """Call a function of the driver. Raises CudaError."""
        try:
            return self._calls[function](*arguments)
        except self._cuda.Error as error:
            failed = CudaError(str(error), isinstance(error, self._cuda.MemoryError))
        raise failed  # without the first one's traceback, which refers to streams and modules: they would end too late

    def launch(self, function, blocks: tuple[int, int], threads: int, shared: int, stream,
               arguments: ctypes.Structure) -> None:
        """Enqueue a kernel whose one parameter is a struct. Raises CudaError."""
        self.call("cuLaunchKernel", function, blocks, threads, shared, stream, arguments)

    def begin_capture(self, stream) -> None:
        """Other threads may call CUDA while this one captures."""
        self._raw("cuStreamBeginCapture_v2", c_void_p(stream), 2)  # CU_STREAM_CAPTURE_MODE_RELAXED

    def _table(self) -> dict[str, Callable]:
        cuda, live, keep = self._cuda, self._live, self._keep
        return {
            "cuDeviceGet": cuda.Device,
            "cuDevicePrimaryCtxRetain": lambda device: keep(device.retain_primary_context()),
            "cuDevicePrimaryCtxRelease": lambda device: self._release(),
            "cuCtxPushCurrent": lambda context: live[context].push(),
            "cuCtxPopCurrent": cuda.Context.pop,
            "cuMemGetInfo": cuda.mem_get_info,
            "cuMemAlloc": lambda nbytes: keep(memory := cuda.mem_alloc(nbytes), int(memory)),
            "cuMemFree": lambda address: live.pop(address).free(),
            "cuMemHostAlloc": lambda nbytes, flags: keep(
                memory := cuda.pagelocked_empty(nbytes, "u1", mem_flags=flags), memory.ctypes.data),
            "cuMemFreeHost": lambda address: live.pop(address).base.free(),
            "cuMemcpyHtoDAsync": lambda target, source, nbytes, stream: cuda.memcpy_htod_async(
                target, _bytes_at(source, nbytes), live[stream]),
            "cuMemcpyDtoHAsync": lambda target, source, nbytes, stream: cuda.memcpy_dtoh_async(
                _bytes_at(target, nbytes), source, live[stream]),
            "cuMemcpyDtoDAsync": lambda target, source, nbytes, stream: cuda.memcpy_dtod_async(
                target, source, nbytes, live[stream]),
            "cuMemsetD8Async": lambda target, byte, nbytes, stream: cuda.memset_d8_async(
                target, byte, nbytes, live[stream]),
            "cuStreamCreate": lambda flags: keep(stream := cuda.Stream(flags), stream.handle),
            "cuStreamDestroy": live.pop,
            "cuEventCreate": lambda flags: keep(cuda.Event(flags)),
            "cuEventDestroy": live.pop,
            "cuEventRecord": lambda event, stream: live[event].record(live[stream]),
            "cuEventSynchronize": lambda event: live[event].synchronize(),
            "cuEventElapsedTime": lambda start, end: live[end].time_since(live[start]),
            "cuModuleLoadData": lambda image: keep(cuda.module_from_buffer(image)),
            "cuModuleUnload": live.pop,
            "cuModuleGetFunction": lambda module, name: (module, name.decode()),
            "cuLaunchKernel": self._launch,
            "cuStreamEndCapture": lambda stream: self._made("cuStreamEndCapture", c_void_p(stream)),
            "cuGraphInstantiate": lambda graph, flags: self._made("cuGraphInstantiateWithFlags", graph,
                                                                  c_ulonglong(flags), first=True),
            "cuGraphLaunch": lambda graph, stream: self._raw("cuGraphLaunch", graph, c_void_p(stream)),
            "cuGraphDestroy": lambda graph: self._raw("cuGraphDestroy", graph),
            "cuGraphExecDestroy": lambda graph: self._raw("cuGraphExecDestroy", graph),
        }

    def _raw(self, function: str, *arguments) -> None:
        status = getattr(self._driver, function)(*arguments)
        if status:
            raise CudaError(f"{function}: {error_name(self._driver, status)}")

    def _made(self, function: str, *arguments, first: bool = False) -> c_void_p:
        """What a function puts into its last parameter, or its first one."""
        out = c_void_p()
        self._raw(function, *((byref(out), *arguments) if first else (*arguments, byref(out))))
        return out

    def _keep(self, thing, handle: int | None = None) -> int:
        handle = id(thing) if handle is None else handle
        self._live[handle] = thing
        return handle

    def _launch(self, function: tuple[int, str], blocks: tuple[int, int], threads: int, shared: int, stream: int,
                arguments: ctypes.Structure) -> None:
        module, name = function
        kernel = self._live[module].get_function(name)
        kernel.prepare([f"{ctypes.sizeof(arguments)}s"])
        kernel.prepared_async_call((*blocks, 1), (threads, 1, 1), self._live[stream], bytes(arguments),
                                   shared_size=shared)

    def _release(self) -> None:
        # pycuda lets go of a context only while it thinks it current (or on the thread that opened it), and then
        # leaves a primary one current for CUDA: this thread's next CUDA call would find a context that is gone.
        for thing in [thing for thing in self._live.values() if isinstance(thing, self._cuda.Context)]:
            thing.push()
            self._raw("cuCtxPopCurrent_v2", byref(c_void_p()))
            thing.detach()
        self._live.clear()


def _bytes_at(address: int, nbytes: int) -> ctypes.Array:
    return (c_uint8 * nbytes).from_address(address)
