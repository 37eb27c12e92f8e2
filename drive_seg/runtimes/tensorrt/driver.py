"""The CUDA driver without any package: whether a GPU is usable, and what it is."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int
from dataclasses import dataclass

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
    """The CUDA driver library, initialised, with at least one GPU. Raises EngineError naming the fix."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(f"no NVIDIA driver ({error})", "install it, or use engine openvino") from None
    status = driver.cuInit(0)
    if status:
        raise EngineError(f"the NVIDIA driver finds no usable GPU ({error_name(driver, status)})",
                          "check nvidia-smi, in a container start it with --gpus all or --runtime nvidia; or use engine"
                          " openvino")
    count = c_int(0)
    if driver.cuDeviceGetCount(byref(count)) or count.value < 1:
        raise EngineError("the NVIDIA driver is there but no GPU (is CUDA_VISIBLE_DEVICES empty?)",
                          "use engine openvino")
    return driver


def first_gpu() -> Device:
    """What the GPU that is used is. Raises EngineError."""
    driver = load_driver()
    device, memory = c_int(0), ctypes.c_size_t(0)
    name, bus_id = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32)
    # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, INTEGRATED, L2_CACHE_SIZE, COMPUTE_CAPABILITY_MAJOR and _MINOR
    values = {number: c_int(0) for number in (16, 18, 38, 75, 76)}
    for status in (driver.cuDeviceGet(byref(device), 0), driver.cuDeviceGetName(name, len(name), device),
                   driver.cuDeviceTotalMem_v2(byref(memory), device),
                   *(driver.cuDeviceGetAttribute(byref(value), number, device) for number, value in values.items())):
        if status:
            raise EngineError(f"the NVIDIA driver doesn't describe its GPU ({error_name(driver, status)})",
                              "check nvidia-smi")
    has_bus = driver.cuDeviceGetPCIBusId(bus_id, len(bus_id), device) == 0  # only its temperature needs it
    sms, integrated, cache, major, minor = (value.value for value in values.values())
    return Device(f"{name.value.decode()}, {sms} SMs", (major, minor), memory.value, cache, bool(integrated),
                  bus_id.value.decode() if has_bus else None)


def error_name(driver: ctypes.CDLL, status: int) -> str:
    """CUDA's name of an error."""
    text = ctypes.c_char_p()
    driver.cuGetErrorName(status, byref(text))
    return text.value.decode() if text.value else f"CUDA error {status}"
