import pytest

from drive_seg.runtimes.nvml import Nvml


def test_without_a_gpu_or_pynvml_there_is_no_temperature():
    """Where pynvml and a GPU are there, 0000:ff:1f.0 is still none."""
    nvml = Nvml("0000:ff:1f.0")
    assert nvml.temperature() is None
    nvml.close()
    nvml.close()


def test_this_machine_s_gpu():
    pynvml = pytest.importorskip("pynvml", reason="pynvml is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        pytest.skip(f"no NVIDIA GPU: {error}")
    bus_id = pynvml.nvmlDeviceGetPciInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).busId
    pynvml.nvmlShutdown()
    nvml = Nvml(bus_id if isinstance(bus_id, str) else bus_id.decode())
    assert 0 < nvml.temperature() < 120
    nvml.close()
