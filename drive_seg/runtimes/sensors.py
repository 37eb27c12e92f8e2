"""Memory and temperature as Linux tells them; what can't be read is left out, never made up."""

from __future__ import annotations

from pathlib import Path

CPU_ZONES = ("x86_pkg_temp", "cpu-thermal", "CPU-therm", "cpu_thermal", "soc_thermal")
"""Names of thermal zones that measure the processor; `-therm` on JetPack 5, `-thermal` on 6 and 7."""

GPU_ZONES = ("gpu-thermal", "GPU-therm")
"""Names of thermal zones that measure a Jetson's GPU."""

_ZONES = Path("/sys/class/thermal")
_STATUS = Path("/proc/self/status")


def temperature(names: tuple[str, ...], zones: Path = _ZONES) -> float | None:
    """Degrees Celsius of the hottest thermal zone with one of these names; None where there is none to read."""
    found = []
    for zone in zones.glob("thermal_zone*"):
        try:
            if (zone / "type").read_text().strip() in names:
                found.append(int((zone / "temp").read_text()) / 1e3)
        except (OSError, ValueError):  # a Jetson's zone of a unit that sleeps can't be read
            continue
    # A sensor without a reading gives a number far off, e.g. -256 degrees.
    return max((degrees for degrees in found if -50 < degrees < 150), default=None)


def resident_memory(status: Path = _STATUS) -> int | None:
    """Bytes of memory that this process holds; None where it can't be read."""
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def readings(*, process: int | None = None, gpu: tuple[int, int] | None = None,
             degrees: float | None = None) -> dict[str, str]:
    """What was read, for people: the process's memory and the GPU's (free, total) in bytes, degrees Celsius."""
    out = {}
    if process is not None:
        out["memory"] = f"{process / 1e6:.0f} MB of this process"
    if gpu is not None:
        out["gpu_memory"] = f"{(gpu[1] - gpu[0]) / 1e6:.0f} of {gpu[1] / 1e6:.0f} MB used"
    if degrees is not None:
        out["temperature"] = f"{degrees:.0f} C"
    return out
