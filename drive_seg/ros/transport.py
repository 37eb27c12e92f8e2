"""What a process needs so that camera images travel without loss and without waste.

Two faults of a stock set-up, and what cures them:

- Fast DDS offers a 512 KB shared-memory segment: a best-effort image does not fit and is lost. A profile with a 64 MB
  segment (config/fastdds_large_images.xml) cures it, in the process that publishes.
  Where /dev/shm has no room for that segment, Fast DDS would die of a bus error on some later image: then images go
  through UDP, and one line says so.
- glibc gives the buffer of each large message back to the kernel and faults it in again for the next: up to four times
  the CPU time per message. Higher thresholds keep the memory.

Nothing here overrides what the user has set: a profile, FASTDDS_BUILTIN_TRANSPORTS, another RMW, MALLOC_* variables, or
ROS_LOCALHOST_ONLY up to Humble, where the profile would undo it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from drive_seg.resources import share

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Where Fast DDS looks for a profile: 3.x (ROS 2 Kilted and later), 2.x (up to Jazzy)."""

_LOCALHOST_BY_TRANSPORT = ("foxy", "galactic", "humble")
"""Where ROS_LOCALHOST_ONLY adds a transport to those of a profile, which would still reach the network."""

_FAST_DDS_2_DISTROS = ("foxy", "galactic", "humble", "iron", "jazzy")

_OWN_TRANSPORT = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")
_FAST_DDS = ("", "rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp")

MALLOC_THRESHOLDS = {
    # 32 MB is the most that every glibc takes, and a 4K image is less.
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 128 << 20),
    "MALLOC_TOP_PAD_": (-2, 16 << 20),
}
"""glibc's environment variables: (the number that mallopt(3) knows them by, bytes)."""

SHARED_MEMORY = Path("/dev/shm")
SEGMENT = 64 << 20  # bytes of shared memory that the profile takes in each process
_ROOM = SEGMENT + (8 << 20)  # and what Fast DDS takes besides

_ROS_WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child process that sends or receives images.

    base: the environment to start from, this process's own by default; it is not changed. Also leaves out what belongs
    to this Python alone: ROS wheels set LD_LIBRARY_PATH to their own libraries and a variable that says so, which a
    child of another virtual environment would trip over. A child of this one sets both again by itself.
    """
    child = dict(os.environ if base is None else base)
    child.update(_profile(child))
    for variable, (_, size) in MALLOC_THRESHOLDS.items():
        child.setdefault(variable, str(size))
    if child.pop(_ROS_WHEELS_GUARD, None) is not None:
        parts = child.get("LD_LIBRARY_PATH", "").split(os.pathsep)
        kept = [part for part in parts if part and not _is_below(part, sys.prefix)]
        child["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
        if not kept:
            del child["LD_LIBRARY_PATH"]
    return child


def apply() -> None:
    """Give this process the same; call it before rclpy is imported.

    Fast DDS reads its profile when the first node is created. Where the C library is not glibc, malloc is left alone.
    """
    added = _profile(os.environ)
    os.environ.update(added)
    if added == _WITHOUT_SHARED_MEMORY:
        print(f"drive_seg: {SHARED_MEMORY} has {free_shared_memory() / 1e6:.0f} MB free, large images need"
              f" {_ROOM / 1e6:.0f} MB: they go through UDP now, which loses some. Give it more (docker run"
              " --shm-size=512m), or remove what ended processes left there (fastdds_*)", file=sys.stderr, flush=True)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, (number, size) in MALLOC_THRESHOLDS.items():
        if variable not in os.environ:
            mallopt(number, size)


def give_back() -> None:
    """Return to the kernel what malloc keeps of memory that nobody uses; nothing where the C library is not glibc."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


_WITHOUT_SHARED_MEMORY = {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}


def free_shared_memory() -> int:
    """Bytes that are free for shared memory; 0 where there is none."""
    try:
        space = os.statvfs(SHARED_MEMORY)
    except OSError:
        return 0
    return space.f_bavail * space.f_frsize


def profile_in_force(variables: Mapping[str, str]) -> str | None:
    """The Fast DDS profile that a process with these environment variables reads, None when there is none."""
    if variables.get("RMW_IMPLEMENTATION", "") not in _FAST_DDS:
        return None
    return next((variables[name] for name in PROFILE_VARIABLES if variables.get(name)), None)


def _profile(variables: Mapping[str, str]) -> dict[str, str]:
    """The profile variables to add; none where the user has chosen a transport, or none but this machine's."""
    if variables.get("RMW_IMPLEMENTATION", "") not in _FAST_DDS or any(variables.get(name) for name in _OWN_TRANSPORT):
        return {}
    if variables.get("ROS_LOCALHOST_ONLY") == "1" and variables.get("ROS_DISTRO") in _LOCALHOST_BY_TRANSPORT:
        return {}
    if free_shared_memory() < _ROOM:
        return dict(_WITHOUT_SHARED_MEMORY)
    name = PROFILE_VARIABLES[_is_fast_dds_2(variables)]  # each knows one name, and 3.x warns about the other
    return {name: str(share("config", "fastdds_large_images.xml"))}


def _is_fast_dds_2(variables: Mapping[str, str]) -> bool:
    """Whether a process with these environment variables loads Fast DDS 2.

    The library tells: 2.x is libfastrtps, 3.x libfastdds, and the loader takes the first on its way. ROS_DISTRO does
    not: wheels don't set it. It decides only where no library is found.
    """
    folders = [*variables.get("LD_LIBRARY_PATH", "").split(os.pathsep),
               *(f"{prefix}/lib" for prefix in variables.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix),
               f"{sys.prefix}/lib"]
    for folder in filter(None, folders):
        for library, second in (("libfastdds.so*", False), ("libfastrtps.so*", True)):
            if next(Path(folder).glob(library), None) is not None:
                return second
    return variables.get("ROS_DISTRO") in _FAST_DDS_2_DISTROS


def _is_below(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)
