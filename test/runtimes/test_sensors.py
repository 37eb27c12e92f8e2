"""Memory and temperature, read from folders laid out as Linux lays them out."""

import subprocess
import sys

import pytest

from drive_seg.runtimes import sensors


def zones(folder, **temperatures):
    for number, (name, value) in enumerate(temperatures.items()):
        zone = folder / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "type").write_text(name.replace("_", "-") + "\n")
        if value is not None:
            (zone / "temp").write_text(f"{value}\n")
    return folder


def test_a_jetson_s_gpu_is_found_among_its_zones(tmp_path):
    tree = zones(tmp_path, cpu_thermal=51500, gpu_thermal=48250, tj_thermal=52000)
    assert sensors.temperature(sensors.GPU_ZONES, tree) == 48.25
    assert sensors.temperature(sensors.CPU_ZONES, tree) == 51.5


@pytest.mark.parametrize("value", [None, "", "no number", -256000, 250000])
def test_a_zone_that_can_not_be_read_gives_no_temperature(tmp_path, value):
    assert sensors.temperature(sensors.GPU_ZONES, zones(tmp_path, gpu_thermal=value)) is None


def test_without_zones_there_is_no_temperature(tmp_path):
    assert sensors.temperature(sensors.CPU_ZONES, tmp_path) is None
    assert sensors.temperature(sensors.CPU_ZONES, tmp_path / "nowhere") is None


HOLDS = """
import runpy, sys
resident_memory = runpy.run_path(sys.argv[1])["resident_memory"]
before = resident_memory()
held = bytearray(b"x") * 50_000_000
print(resident_memory() - before)
"""


def test_this_process_s_memory_grows_with_what_it_holds():
    """In a process of its own: from a large one that has been idle the kernel may take memory back meanwhile."""
    done = subprocess.run([sys.executable, "-c", HOLDS, sensors.__file__], capture_output=True, text=True, check=True)
    assert 40_000_000 < int(done.stdout) < 80_000_000


def test_memory_that_can_not_be_read(tmp_path):
    assert sensors.resident_memory(tmp_path / "status") is None
    (tmp_path / "status").write_text("VmSize: 5 kB\n")
    assert sensors.resident_memory(tmp_path / "status") is None


def test_only_what_was_read_is_reported():
    assert sensors.readings() == {}
    assert sensors.readings(process=432_100_000, gpu=(6_000_000_000, 8_000_000_000), degrees=48.25) == {
        "memory": "432 MB of this process", "gpu_memory": "2000 of 8000 MB used", "temperature": "48 C"}
