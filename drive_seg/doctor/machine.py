"""The processor, its cores and memory, and the Python that runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from drive_seg.doctor.finding import Finding, Level

_FEW_CORES = 2


def check() -> Iterator[Finding]:
    """Processor, memory, Python."""
    cores = len(os.sched_getaffinity(0))
    text = f"{_processor()}, {cores} of {os.cpu_count()} cores usable"
    if cores < _FEW_CORES:
        yield Finding("processor", Level.WARNING, text,
                      "give the node at least 2 cores (docker --cpus, taskset): one receives while the other infers")
    else:
        yield Finding("processor", Level.OK, text)
    yield Finding("memory", Level.OK, f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GB")
    yield Finding("python", Level.OK, f"{platform.python_version()} on {platform.platform(terse=True)}")
    jetson = Path("/etc/nv_tegra_release")
    if jetson.is_file():
        yield Finding("jetson", Level.OK, jetson.read_text().splitlines()[0].lstrip("# "))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
