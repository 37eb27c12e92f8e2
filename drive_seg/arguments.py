"""Arguments that commands and the tools of `python -m` share."""

from __future__ import annotations

import argparse

from drive_seg.network import STRIDE, fits_stride


def size(text: str) -> tuple[int, int]:
    """Parse HxW, in pixels, e.g. 352x480."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: use HEIGHTxWIDTH, e.g. 352x480") from None
    if height <= 0 or width <= 0 or not fits_stride((height, width)):
        raise argparse.ArgumentTypeError(f"height and width must be positive multiples of {STRIDE}, this is {text}")
    return height, width
