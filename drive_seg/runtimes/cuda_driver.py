"""The CUDA driver: whether a GPU is usable, what it is, and the driver's functions from Python.

Those are called by pycuda where it is installed, else by NVIDIA's cuda-bindings. Both take and give what cuda-bindings
does: handles, addresses as integers, memory of the processor as arrays, and no status, for that is an EngineError.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_char, c_int, c_size_t, c_ulonglong, c_void_p
from dataclasses import dataclass
from functools import partial
from typing import Any

from drive_seg.core.engine import EngineError


@dataclass(frozen=True)
class Device:
    """The GPU that is used. compute_capability: e.g. (8, 7). memory, cache: bytes. integrated: it shares the
    processor's memory. bus_id: its place in PCI, None where it has none.

    The number of its multiprocessors is part of the name, e.g. "Orin, 16 SMs": every Jetson of a generation calls its
    GPU the same, and a plan is tuned for one of them (and for one power mode, which switches multiprocessors off).
    """

    name: str
    compute_capability: tuple[int, int]
    memory: int
    cache: int
    integrated: bool
    bus_id: str | None

    @property
    def title(self) -> str:
        """For messages."""
        return "{} (compute capability {}.{})".format(self.name, *self.compute_capability)


def load_driver() -> ctypes.CDLL:
    """The CUDA driver library, initialised: there is a GPU. Raises EngineError naming the fix."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(f"no NVIDIA driver ({error})", "install it, or use engine openvino") from None
    status = driver.cuInit(0)
    if status:
        raise EngineError(f"the NVIDIA driver finds no usable GPU ({_name(driver, status)})",
                          "check nvidia-smi and CUDA_VISIBLE_DEVICES, start a container with --gpus all or --runtime"
                          " nvidia; or use engine openvino")
    return driver


def first_gpu() -> Device:
    """What the GPU that is used is. Raises EngineError."""
    ask = partial(_get, load_driver())
    device = ask("cuDeviceGet", c_int, ..., 0)
    name = ask("cuDeviceGetName", c_char * 256, ..., 256, device).decode()
    # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, INTEGRATED, L2_CACHE_SIZE, COMPUTE_CAPABILITY_MAJOR and _MINOR
    sms, integrated, cache, major, minor = (ask("cuDeviceGetAttribute", c_int, ..., number, device)
                                            for number in (16, 18, 38, 75, 76))
    try:
        bus_id = ask("cuDeviceGetPCIBusId", c_char * 32, ..., 32, device).decode()
    except EngineError:  # only its temperature needs it
        bus_id = None
    return Device(f"{name}, {sms} SMs", (major, minor), ask("cuDeviceTotalMem_v2", c_size_t, ..., device), cache,
                  bool(integrated), bus_id)


def newest_cuda() -> tuple[int, int] | None:
    """The newest CUDA version that the driver supports, e.g. (12, 4); None without a driver."""
    try:
        version = _get(ctypes.CDLL("libcuda.so.1"), "cuDriverGetVersion", c_int, ...)
    except (OSError, AttributeError, EngineError):
        return None
    return version // 1000, version % 1000 // 10


def _get(driver: ctypes.CDLL, function: str, kind: Any, *arguments: Any) -> Any:
    """Call a function of the driver; what it puts where its arguments have `...`, as a ctypes kind. Raises EngineError.
    """
    out = kind()
    status = getattr(driver, function)(*(byref(out) if argument is ... else argument for argument in arguments))
    if status:
        raise _error(f"{function}: {_name(driver, status)}", status == 2)  # CUDA_ERROR_OUT_OF_MEMORY
    return out.value


def _name(driver: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorName(status, byref(text))
    return text.value.decode() if text.value else f"CUDA error {status}"


def _error(message: str, out_of_memory: bool) -> EngineError:
    if out_of_memory:
        return EngineError(f"the GPU's memory is used up ({message})",
                           "close other programs on it, or use a smaller network input")
    return EngineError(f"the GPU failed ({message})")


def open_backend() -> Bindings | Pycuda:
    """The package to call the driver with. Raises EngineError naming the fix where there is none."""
    why = []
    for backend in (Pycuda, Bindings):
        try:
            return backend()
        except Exception as error:  # missing, or built for another Python, CUDA or driver
            why.append(f"{backend.package}: {' '.join(str(error).split())}")
    raise EngineError(f"neither pycuda nor cuda-bindings can be loaded ({'; '.join(why)})",
                      "pip install 'drive-seg[gpu]', which brings cuda-bindings; there is nothing to compile")


class Bindings:
    """NVIDIA's cuda-bindings: the driver's functions as they are."""

    package = "cuda-bindings"

    def __init__(self) -> None:
        from cuda.bindings import driver

        self._driver = driver
        self.relaxed = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self.call("cuInit", 0)

    def call(self, function: str, *arguments):
        """Call a function of the driver. Raises EngineError."""
        status, *values = getattr(self._driver, function)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise _error(f"{function}: {status.name}", status == self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY)
        return values[0] if len(values) == 1 else tuple(values)


class Pycuda:
    """pycuda, in the form of cuda-bindings. What it lacks (CUDA graphs) goes to the driver itself."""

    package = "pycuda"
    relaxed = 2  # CU_STREAM_CAPTURE_MODE_RELAXED

    def __init__(self) -> None:
        import pycuda.driver as cuda

        self._cuda = cuda
        self._driver = load_driver()
        self._live: dict[int, Any] = {}  # all of pycuda's objects, by their handles
        self._calls = self._table()
        cuda.init()

    def call(self, function: str, *arguments):
        """See Bindings.call."""
        try:
            return self._calls[function](*arguments)
        except self._cuda.Error as error:
            failed = _error(str(error), isinstance(error, self._cuda.MemoryError))
        raise failed  # without the first one's traceback, which refers to streams and modules: they would end too late

    def _table(self) -> dict[str, Callable]:
        cuda, live, keep, raw = self._cuda, self._live, self._keep, partial(_get, self._driver)
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
            "cuMemcpyHtoDAsync": lambda target, source, _, stream: cuda.memcpy_htod_async(target, source, live[stream]),
            "cuMemcpyDtoHAsync": lambda target, source, _, stream: cuda.memcpy_dtoh_async(target, source, live[stream]),
            "cuMemcpyDtoDAsync": lambda target, source, nbytes, stream: cuda.memcpy_dtod_async(
                target, source, nbytes, live[stream]),
            "cuStreamCreate": lambda flags: keep(stream := cuda.Stream(flags), stream.handle),
            "cuEventCreate": lambda flags: keep(cuda.Event(flags)),
            "cuEventRecord": lambda event, stream: live[event].record(live[stream]),
            "cuEventSynchronize": lambda event: live[event].synchronize(),
            "cuEventElapsedTime": lambda start, end: live[end].time_since(live[start]),
            "cuModuleLoadData": lambda image: keep(cuda.module_from_buffer(image)),
            **dict.fromkeys(("cuStreamDestroy", "cuEventDestroy", "cuModuleUnload"), live.pop),
            "cuModuleGetFunction": lambda module, name: (module, name.decode()),  # the function itself keeps it
            "cuLaunchKernel": self._launch,
            "cuStreamBeginCapture": lambda stream, mode: raw("cuStreamBeginCapture_v2", c_int, c_void_p(stream), mode),
            "cuStreamEndCapture": lambda stream: raw("cuStreamEndCapture", c_void_p, c_void_p(stream), ...),
            "cuGraphInstantiate": lambda graph, flags: raw(
                "cuGraphInstantiateWithFlags", c_void_p, ..., c_void_p(graph), c_ulonglong(flags)),
            "cuGraphLaunch": lambda graph, stream: raw("cuGraphLaunch", c_int, c_void_p(graph), c_void_p(stream)),
            "cuGraphDestroy": lambda graph: raw("cuGraphDestroy", c_int, c_void_p(graph)),
            "cuGraphExecDestroy": lambda graph: raw("cuGraphExecDestroy", c_int, c_void_p(graph)),
        }

    def _keep(self, thing, handle: int | None = None) -> int:
        handle = id(thing) if handle is None else handle
        self._live[handle] = thing
        return handle

    def _launch(self, function: tuple[int, str], *arguments: Any) -> None:
        *shape, shared, stream, ((parameter,), _), _ = arguments
        kernel = self._live[function[0]].get_function(function[1])
        kernel.prepare([f"{ctypes.sizeof(parameter)}s"])
        kernel.prepared_async_call(tuple(shape[:3]), tuple(shape[3:]), self._live[stream], bytes(parameter),
                                   shared_size=shared)

    def _release(self) -> None:
        # pycuda lets go of a context only while it thinks it current (or on the thread that opened it), and then
        # leaves a primary one current for CUDA: this thread's next CUDA call would find a context that is gone.
        for thing in [thing for thing in self._live.values() if isinstance(thing, self._cuda.Context)]:
            thing.push()
            _get(self._driver, "cuCtxPopCurrent_v2", c_void_p, ...)
            thing.detach()
        self._live.clear()
