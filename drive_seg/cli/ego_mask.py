"""Find where the camera sees its own vehicle, and write it as an ego mask.

Looks for what keeps its place at the picture's edge while the world moves past: bonnet, bumper, roof rack, a logo or
text that a recorder burns in. Writes the mask, and beside it NAME_check.jpg, a picture to judge it by. Give the mask to
every command and to the node as ego_mask.

It takes a drive of a minute or so with bends; where the footage does not move enough to tell, it says so. Dirt on the
lens is not the vehicle: at most the lowest 35 % and the highest 20 % of the picture can become part of the mask.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from drive_seg.cli.options import out_file
from drive_seg.core.ego import Ego, EgoError, EgoFinder
from drive_seg.core.frame import FrameError
from drive_seg.errors import CommandError
from drive_seg.sources.open import KINDS, open_source

_EVERY_S = 0.2  # seconds between the frames that are looked at
_ENOUGH = 300  # frames that differ: more change nothing
_LIVE_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `drive-seg ego-mask`."""
    parser.add_argument("input", metavar="INPUT", help=f"{KINDS}; of one drive")
    parser.add_argument("-o", "--out", type=out_file, default=Path("ego.png"), metavar="FILE",
                        help="the mask to write, a .png (default: ego.png)")
    parser.add_argument("--topic", help="image topic, for bags with several cameras")
    parser.add_argument("--duration", type=float, metavar="SECONDS",
                        help=f"look at so much of it (default: all; of a camera {_LIVE_S:g} s)")


def run(args: argparse.Namespace) -> int:
    """Find and write; returns the exit code."""
    if args.out.suffix.lower() != ".png":
        raise CommandError(f"{args.out} is not a .png, and a mask must be stored without loss", "end its name in .png")
    source = open_source(args.input, duration=args.duration, topic=args.topic)
    if source.live and args.duration is None:
        source = open_source(args.input, duration=_LIVE_S)
    finder, last = EgoFinder(), None
    next_ns = None
    with tqdm(total=source.count, unit="frame", disable=None, file=sys.stderr) as bar:
        for shot in source:
            bar.update()
            if next_ns is not None and 0 <= next_ns - shot.stamp_ns <= _EVERY_S * 1e9:
                continue
            next_ns = shot.stamp_ns + round(_EVERY_S * 1e9)
            try:
                image = shot.frame.bgr()
            except FrameError:
                continue  # a damaged frame among others says nothing
            if finder.add(image):
                last = image
            if finder.frames >= _ENOUGH:
                break
    if last is None:
        raise EgoError(f"{args.input} has no picture that can be read", "give a drive of a minute or more")
    ego = finder.find()
    if not ego.found:
        print(f"Nothing keeps its place at the picture's edge in {finder.frames} frames that differ: no ego mask is"
              " needed, and none was written.")
        return 0
    check = args.out.with_name(f"{args.out.stem}_check.jpg")
    for path, picture in ((args.out, ego.mask), (check, draw(last, ego))):
        if not cv2.imwrite(str(path), picture):
            raise CommandError(f"{path} can't be written", "name a file in a folder that exists and is writable")
    print(f"{', '.join(ego.found)}: {ego.share:.1%} of the picture, from {finder.frames} frames that differ.\n"
          f"{args.out} is the mask; look at {check} before you use it.")
    return 0


def draw(image: np.ndarray, ego: Ego) -> np.ndarray:
    """The picture (H, W, 3) uint8 BGR with the mask in red and its outline."""
    out, mask = image.copy(), ego.mask > 0
    out[mask] = out[mask] // 2 + np.array([0, 0, 127], np.uint8)
    outlines, _ = cv2.findContours(ego.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, outlines, -1, (255, 255, 255), 1)
    return out
