"""Where the package's own files are, in a source tree and installed, and where it keeps what it makes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "drive_seg"


def share(*parts: str) -> Path:
    """A file that ships with the package, e.g. share("engines", "drive_seg.onnx").

    Looks in the source tree, then in share/drive_seg below the prefix that this code is installed in, below the ament
    prefixes and below this Python's. Raises FileNotFoundError with the places it looked in.
    """
    source = Path(__file__).resolve().parents[1]
    roots = [source] if (source / "package.xml").is_file() else []
    above = [folder for folder in source.parents if (folder / "share" / NAME).is_dir()]
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    roots += [prefix / "share" / NAME for prefix in (*above[:1], *prefixes, Path(sys.prefix))]
    for root in roots:
        if (root / Path(*parts)).exists():
            return root / Path(*parts)
    places = ", ".join(str(root) for root in roots)
    raise FileNotFoundError(f"{'/'.join(parts)} is in none of {places}: install drive_seg again")


def user_cache() -> Path:
    """The folder for what can be made or fetched again: drive_seg below XDG_CACHE_HOME, else below ~/.cache.

    Of a user that has no home it lies below /nonexistent, Debian's home of such users: writing there fails, and that
    error names the fix.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    if not cache:
        home = os.path.expanduser("~")  # noqa: PTH111  Path.home() raises for a user that has none
        return Path("/nonexistent" if home == "~" else home) / ".cache" / NAME
    return Path(cache) / NAME


def default_network() -> Path:
    """The network that ships with the package."""
    return share("engines", "drive_seg.onnx")
