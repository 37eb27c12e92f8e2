"""ROS 2: the client library, its middleware, and whether `ros2 launch` finds this package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from drive_seg.doctor.finding import Finding, Level
from drive_seg.ros import transport

_MESSAGES = ("sensor_msgs.msg", "std_msgs.msg", "nav_msgs.msg", "diagnostic_msgs.msg", "geometry_msgs.msg",
             "lifecycle_msgs.msg", "rcl_interfaces.msg", "std_srvs.srv")

_CREATE = """
import rclpy
rclpy.init(args=[])
rclpy.create_node("drive_seg_doctor").destroy_node()
rclpy.try_shutdown()
print(rclpy.get_rmw_implementation_identifier())
"""


def check() -> Iterator[Finding]:
    """rclpy, a real node, messages, the ament index."""
    if find_spec("rclpy") is None:
        yield Finding("rclpy", Level.ERROR, "not installed",
                      "source /opt/ros/DISTRO/setup.bash; without a ROS installation: pip install 'drive-seg[ros]'")
        return
    try:
        number = version("rclpy")
    except PackageNotFoundError:
        number = "version unknown"
    distro = os.environ.get("ROS_DISTRO")
    yield Finding("rclpy", Level.OK, f"{number} ({distro or 'no distribution sourced: Python wheels'})")
    yield _node()
    names, missing = ([module.partition(".")[0] for module in modules]
                      for modules in (_MESSAGES, [module for module in _MESSAGES if not _has(module)]))
    if missing:
        packages = " ".join(f"ros-{distro}-{name.replace('_', '-')}" for name in missing)
        yield Finding("messages", Level.ERROR, f"missing: {', '.join(missing)}",
                      f"apt install {packages}" if distro else "pip install 'drive-seg[ros]'")
    else:
        yield Finding("messages", Level.OK, ", ".join(names))
    yield _index()


def _node() -> Finding:
    """Create a node as the real one is, in a process of its own: with a wrong middleware, importing rclpy ends it."""
    done = subprocess.run([sys.executable, "-c", _CREATE], capture_output=True, text=True, env=transport.environment())
    if done.returncode == 0:
        text = f"{done.stdout.split()[-1]}, domain {os.environ.get('ROS_DOMAIN_ID', 0)}: a node can be created"
        return Finding("middleware", Level.OK, text)
    reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit {done.returncode}")
    return Finding("middleware", Level.ERROR, f"no node can be created: {reason}",
                   "unset RMW_IMPLEMENTATION, or install the middleware that it names")


def _index() -> Finding:
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in prefixes:
        if (prefix / "share/ament_index/resource_index/packages/drive_seg").exists():
            return Finding("ros2 launch", Level.OK, f"finds drive_seg in {prefix}")
    return Finding("ros2 launch", Level.NOTE, "does not find drive_seg in AMENT_PREFIX_PATH",
                   "source install/setup.bash of the workspace; after pip install in a virtual environment:"
                   " export AMENT_PREFIX_PATH=$VIRTUAL_ENV:$AMENT_PREFIX_PATH")


def _has(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True
