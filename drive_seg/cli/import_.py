"""Turn labels from a labelling tool, or another data set, into a data set that train and evaluate read.

DIR is a folder of labels and pictures, or one label file. Formats: CVAT for images 1.1 (XML), COCO (panoptic,
polygons, run lengths), Cityscapes' folders, Pascal VOC masks, labelme's JSON, Label Studio's JSON, and mask PNGs
(palette, colour or grey ids) in labels/ or masks/ beside images/, also in train/, val/ and so on.

Classes are known by the names that the usual data sets use. For any others, and for the colours of masks, give a class
table with --classes (or put it beside the labels as classes.yaml):

    ignore: 255
    classes:
      0: {name: road, group: road, colour: [128, 64, 128], also: [Fahrbahn, lane]}
      1: {name: kerb, group: [pavement, background]}    # one of these, not known which
      2: {name: our own hood, group: ignore}            # counts for nothing

A name or a colour that is not known ends the import with a list of all of them: none is dropped unseen. The split is by
drive, by the hash of its name: pictures of one drive lie all in train or all in val. A picture's drive is what
`drive-seg pick` noted, else its folder and its name up to the frame's number or time, or what --drives finds; CVAT's
task where all that says nothing (frame_000012.png).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from drive_seg.cli.options import out_folder
from drive_seg.labelling.importer import FORMATS, import_labels, lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `drive-seg import`."""
    parser.add_argument("labels", type=Path, metavar="DIR", help="a folder of labels, or one label file")
    parser.add_argument("-o", "--out", type=out_folder, required=True, metavar="DATASET", help="a new folder")
    parser.add_argument("--format", choices=FORMATS, help="of the labels (default: found out)")
    parser.add_argument("--classes", type=Path, metavar="FILE",
                        help="class table: YAML, labelmap.txt or label_colors.txt")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the pictures, where they are not beside the labels")
    parser.add_argument("--name", help="of the data set (default: its folder's)")
    parser.add_argument("--licence", default="not stated", help="of the pictures and labels")
    parser.add_argument("--val", type=_share, default=0.2, metavar="SHARE", help="of the drives, 0..1 (default: 0.2)")
    parser.add_argument("--drives", metavar="REGEX", help="finds the drive in a picture's name")
    parser.add_argument("--ignore-unknown", action="store_true",
                        help="leave out pixels whose class is not known, and list them")


def run(args: argparse.Namespace) -> int:
    """Import; returns the exit code."""
    with tqdm(unit="picture", disable=None, file=sys.stderr) as bar:
        result = import_labels(args.labels, args.out, form=args.format, classes=args.classes, images=args.images,
                               name=args.name, licence=args.licence, val_share=args.val, drive_pattern=args.drives,
                               ignore_unknown=args.ignore_unknown, progress=lambda _: bar.update())
    for line in lines(result):
        print(line)
    split = "val" if "val" in result.pictures else next(iter(result.pictures))
    print(f"look at {args.out / 'preview.jpg'}, then: drive-seg evaluate --data {args.out} --split {split}")
    return 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share: give a number from 0 up to 1, e.g. 0.2")
    return value
