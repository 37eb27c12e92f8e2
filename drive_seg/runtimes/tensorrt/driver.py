"""The CUDA driver without any package: whether a GPU is usable, and CUDA graphs, which pycuda doesn't wrap."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_int, c_ulonglong, c_void_p

from drive_seg.core.engine import EngineError

_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: other threads may call CUDA while this one captures


def load_driver() -> ctypes.CDLL:
    """The CUDA driver library, initialised, with at least one GPU. Raises EngineError naming the fix."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(f"no NVIDIA driver ({error})", "install it, or use engine openvino") from None
    status = driver.cuInit(0)
    if status:
        raise EngineError(f"the NVIDIA driver finds no usable GPU ({_name(driver, status)})",
                          "check nvidia-smi, in a container start it with --gpus all or --runtime nvidia; or use engine"
                          " openvino")
    count = c_int(0)
    if driver.cuDeviceGetCount(byref(count)) or count.value < 1:
        raise EngineError("the NVIDIA driver is there but no GPU (is CUDA_VISIBLE_DEVICES empty?)",
                          "use engine openvino")
    return driver


def first_gpu() -> tuple[str, tuple[int, int]]:
    """Name and compute capability of the GPU that is used, e.g. ("Orin, 16 SMs", (8, 7)). Raises EngineError.

    The number of its multiprocessors is part of the name: every Jetson of a generation calls its GPU the same, and a
    plan is tuned for one of them (and for one power mode, which switches multiprocessors off).
    """
    driver = load_driver()
    device, major, minor, sms, name = c_int(0), c_int(0), c_int(0), c_int(0), ctypes.create_string_buffer(256)
    for status in (
            driver.cuDeviceGet(byref(device), 0),
            driver.cuDeviceGetName(name, len(name), device),
            driver.cuDeviceGetAttribute(byref(sms), 16, device),  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
            driver.cuDeviceGetAttribute(byref(major), 75, device),  # ..._COMPUTE_CAPABILITY_MAJOR
            driver.cuDeviceGetAttribute(byref(minor), 76, device)):  # ..._MINOR
        if status:
            raise EngineError(f"the NVIDIA driver doesn't describe its GPU ({_name(driver, status)})",
                              "check nvidia-smi")
    return f"{name.value.decode()}, {sms.value} SMs", (major.value, minor.value)


def pop_context(driver: ctypes.CDLL) -> None:
    """Make the context below the current one current on this thread, if any."""
    driver.cuCtxPopCurrent_v2(byref(c_void_p()))


class Graph:
    """Work captured from a stream, launched as one."""

    def __init__(self, driver: ctypes.CDLL, stream: int, work: Callable[[], None]) -> None:
        """work enqueues on `stream` (its handle) only. Raises EngineError when it can't be captured."""
        self._driver = driver
        self._stream = c_void_p(stream)
        self._executable = c_void_p()
        graph = c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, c_int(_RELAXED))
        try:
            work()
        except BaseException:
            driver.cuStreamEndCapture(self._stream, byref(graph))  # leave the stream usable; its own error is worse
            if graph:
                driver.cuGraphDestroy(graph)
            raise
        self._call("cuStreamEndCapture", self._stream, byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", byref(self._executable), graph, c_ulonglong(0))
        finally:
            driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Enqueue all of it on its stream. Raises EngineError."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Destroy it; the context must be current."""
        if self._executable:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = c_void_p()

    def _call(self, function: str, *arguments) -> None:
        status = getattr(self._driver, function)(*arguments)
        if status:
            raise EngineError(f"{function} failed on the GPU: {_name(self._driver, status)}")


def _name(driver: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorName(status, byref(text))
    return text.value.decode() if text.value else f"CUDA error {status}"
