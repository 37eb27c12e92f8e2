"""Whether camera images get through: Fast DDS profile, shared memory, malloc, sockets."""

from __future__ import annotations

import ctypes
import fcntl
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from drive_seg.doctor.finding import Finding, Level
from drive_seg.ros import transport

SHARED_MEMORY = transport.SHARED_MEMORY
_SEGMENT = transport.SEGMENT
_HOLDS_AN_IMAGE = 8 << 20
_SOCKET_BUFFER = 2 << 20


def check() -> Iterator[Finding]:
    """Settings of this environment, as the node would find them."""
    yield from _profile(transport.environment())
    yield from _shared_memory()
    if hasattr(ctypes.CDLL(None), "mallopt"):
        own = [name for name in transport.MALLOC_THRESHOLDS if name in os.environ]
        yield Finding("malloc", Level.OK, f"yours: {', '.join(own)}" if own else "the node sets glibc's thresholds")
    else:
        yield Finding("malloc", Level.NOTE, "the C library is not glibc: each image may take more CPU time",
                      "use a distribution with glibc")
    yield _sockets()


def _profile(variables: dict[str, str]) -> Iterator[Finding]:
    rmw = variables.get("RMW_IMPLEMENTATION", "")
    path = transport.profile_in_force(variables)
    if path is None and variables.get("FASTDDS_BUILTIN_TRANSPORTS"):
        yield Finding("images", Level.OK, "your FASTDDS_BUILTIN_TRANSPORTS is in force")
    elif path is None:
        yield Finding("images", Level.NOTE, f"{rmw} is in use; its settings for large images are its own",
                      "see its documentation on large messages (Cyclone DDS: SocketReceiveBufferSize and rmem_max)")
    elif path == transport.profile_in_force(transport.environment({})):
        yield Finding("images", Level.OK, f"Fast DDS profile {path}; give it to the camera driver's process as well")
    else:
        yield _own_profile(path)


def _own_profile(path: str) -> Finding:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        return Finding("images", Level.WARNING, f"your Fast DDS profile can't be read ({error})",
                       "correct the path, or unset the variable: the node then uses its own profile")
    texts = [(e.text or "").strip() for e in root.iter() if e.tag.endswith("segment_size")]
    sizes = [int(text) for text in texts if text.isdecimal()]
    if max(sizes, default=0) < _HOLDS_AN_IMAGE:
        return Finding("images", Level.WARNING, f"your Fast DDS profile {path} has no shared-memory segment that holds"
                       " an image: best-effort images are lost", "give its SHM transport a segment_size of 67108864")
    return Finding("images", Level.OK, f"your Fast DDS profile {path}")


def _shared_memory() -> Iterator[Finding]:
    try:
        space = os.statvfs(SHARED_MEMORY)
    except OSError as error:
        yield Finding("shared memory", Level.WARNING, f"no {SHARED_MEMORY} ({error.strerror})",
                      "mount it: images within this machine then need no network")
        return
    free = space.f_bavail * space.f_frsize
    text = f"{free / 2**20:.0f} MB free in {SHARED_MEMORY}"
    if free < 3 * _SEGMENT:  # camera, node, one consumer
        yield Finding("shared memory", Level.WARNING, text + "; every ROS process takes up to 64 MB",
                      "docker run --shm-size=512m (or --ipc=host); else sudo mount -o remount,size=512m /dev/shm")
    else:
        yield Finding("shared memory", Level.OK, text)
    stale = stale_segments(SHARED_MEMORY)
    if stale:
        size = sum(path.stat().st_size for path in stale)
        yield Finding("stale segments", Level.WARNING, f"{len(stale)} of killed processes, {size / 2**20:.0f} MB",
                      f"fastdds shm clean, or in bash: {_removal(SHARED_MEMORY)}")


def stale_segments(folder: Path) -> list[Path]:
    """Fast DDS's shared-memory segments that no process holds: their lock file can be locked."""
    stale = []
    for lock in sorted([*folder.glob("fastdds_*_el"), *folder.glob("fastrtps_*_el")]):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        if "_port" in lock.name or not segment.exists():
            continue
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            stale.append(segment)
        except OSError:  # held, or another user's
            continue
    return stale


def _removal(folder: Path) -> str:
    """A shell command that removes the stale segments: it looks itself which these are, so it fits when it is run."""
    # Segments are named by a hexadecimal number; ports, which processes share, are not.
    return (f"for f in {folder}/fast*s_[0-9a-f]*_el; do flock -ns \"$f\" rm -f \"${{f%_el}}\" \"$f\"; done")


def _sockets() -> Finding:
    try:
        size = int(Path("/proc/sys/net/core/rmem_max").read_text())
    except (OSError, ValueError):
        return Finding("sockets", Level.NOTE, "the receive buffer's limit is unknown", "only for cameras elsewhere")
    if size < _SOCKET_BUFFER:
        return Finding("sockets", Level.NOTE, f"receive buffers up to {size >> 10} KB: a camera on another machine"
                       " would lose large images", "sudo sysctl -w net.core.rmem_max=16777216")
    return Finding("sockets", Level.OK, f"receive buffers up to {size >> 10} KB")
