"""Choose the frames of some drives that are most worth labelling, with the network's own labels as a first draft.

The network looks at all frames. Those are chosen that it trusts least, whose labels flicker, and that are unlike one
another; no two are near duplicates or closer than --apart seconds. In the output folder:

    contact_sheet.jpg   the chosen frames, with the reasons
    pick.json           the same as figures
    images/             the pictures, as they were recorded where they are JPEG or PNG
    annotations.xml     the draft for CVAT (CVAT for images 1.1): upload images/, then this file as annotations
    label_studio/       tasks.json with the draft as predictions, and label_config.xml
    coco/               instances.json, and panoptic.json with its PNGs
    classes.yaml        the classes, for `drive-seg import`

What the network does not trust has no label in the draft. Correct it in the tool, export it, and turn what comes back
into a data set with `drive-seg import`.
"""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from drive_seg.cli.options import add_settings, open_pipeline, open_recorded, out_folder, positive
from drive_seg.labelling.pick import expected, lines, name_drives, pick
from drive_seg.labelling.select import NEAR
from drive_seg.sources.open import RECORDED_KINDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `drive-seg pick`."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=RECORDED_KINDS)
    parser.add_argument("-o", "--out", type=out_folder, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("-n", "--count", type=positive, default=50, metavar="N", help="frames to pick (default: 50)")
    add_settings(parser, ("network", "masks"), without=("output_size", "temporal_filter"))
    parser.add_argument("--topic", help="image topic, for bags with several cameras")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="look at so much of each input")
    parser.add_argument("--every", type=positive, default=1, metavar="K", help="look at every K-th frame (default: 1)")
    parser.add_argument("--apart", type=_not_negative, default=1.0, metavar="SECONDS",
                        help="least time between two picks of a drive (default: 1)")
    parser.add_argument("--near", type=_not_negative, default=NEAR, metavar="DISTANCE",
                        help=f"two frames nearer than this are duplicates (default: {NEAR})")


def run(args: argparse.Namespace) -> int:
    """Pick; returns the exit code."""
    sources = open_recorded(args)
    drives = name_drives(sources)
    with (open_pipeline(args, sources[0].ego_mask) as pipeline,
          tqdm(total=expected(drives, args.every), unit="frame", disable=None, file=sys.stderr) as bar):
        result = pick(drives, pipeline.segmenter, args.out, args.count, every=args.every, apart_s=args.apart,
                      near=args.near, progress=bar.update)
    for line in lines(result):
        print(line)
    return 0


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value
