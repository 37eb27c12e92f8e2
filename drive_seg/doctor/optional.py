"""Packages that add something where they are there."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from drive_seg.doctor.finding import Finding, Level

PACKAGES = {
    "cv_bridge": ("image encodings beyond the usual", "apt install ros-$ROS_DISTRO-cv-bridge"),
    "tf2_ros": ("the camera's pose from TF", "apt install ros-$ROS_DISTRO-tf2-ros-py"),
    "vision_msgs": ("class names as a message", "apt install ros-$ROS_DISTRO-vision-msgs"),
    "launch_ros": ("ros2 launch", "apt install ros-$ROS_DISTRO-launch-ros"),
    "rosbags": ("bags without ROS", "pip install rosbags"),
    "av": ("videos", "pip install av"),
    "torch": ("training", "pip install 'drive-seg[train]'"),
}
"""Module -> (what it adds, how to install it)."""

_SLOW_TO_IMPORT = {"torch"}


def check() -> Iterator[Finding]:
    """One finding a package."""
    for name, (adds, install) in PACKAGES.items():
        if find_spec(name) is None:
            yield Finding(name, Level.NOTE, f"not installed; adds {adds}", install)
            continue
        try:
            if name not in _SLOW_TO_IMPORT:
                importlib.import_module(name)
        except Exception as error:  # a binary built for another numpy, a missing library: anything can come
            yield Finding(name, Level.WARNING, f"installed, but can't be imported ({error})",
                          f"install it again: {install}")
            continue
        yield Finding(name, Level.OK, f"{_version(name)}: {adds}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "installed"
