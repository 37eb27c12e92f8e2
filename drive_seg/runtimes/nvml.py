"""A GPU's temperature from the driver's management library, where pynvml is installed."""

from __future__ import annotations

import contextlib


class Nvml:
    """One GPU in NVML. Whatever goes wrong there, there is no reading: the engine doesn't need it."""

    def __init__(self, bus_id: str) -> None:
        """bus_id: of PCI, as CUDA names it; NVML counts the GPUs in another order."""
        self._library = self._device = None
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
            self._library = pynvml
            self._device = pynvml.nvmlDeviceGetHandleByPciBusId(bus_id.encode())
        except pynvml.NVMLError:
            self.close()

    def temperature(self) -> float | None:
        """Degrees Celsius; None where it can't be read."""
        if self._library is None:
            return None
        try:
            return float(self._library.nvmlDeviceGetTemperature(self._device, self._library.NVML_TEMPERATURE_GPU))
        except self._library.NVMLError:
            return None

    def close(self) -> None:
        """Give NVML back."""
        library, self._library, self._device = self._library, None, None
        if library is not None:
            with contextlib.suppress(library.NVMLError):
                library.nvmlShutdown()
