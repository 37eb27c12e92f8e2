"""Compare two results of `drive-seg replay`: exit code 0 when they agree, 1 when they differ.

A and B are result folders of one bag each, or whole --out folders, whose bags are matched by name. The worst frames are
listed, and drawn side by side with --pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TextIO

import cv2

from drive_seg.cli.options import is_standard_output, json_file, out_folder, write_json
from drive_seg.cli.replay import add_limits
from drive_seg.errors import CommandError
from drive_seg.replay.compare import Comparison, Limits, compare, draw_worst, find_results
from drive_seg.replay.settings import ReplayError
from drive_seg.sources.bag import BagError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="a result, or the --out folder of a run")
    parser.add_argument("b", type=Path, metavar="B", help="another")
    add_limits(parser)
    parser.add_argument("--pictures", type=out_folder, metavar="DIR", help="write the worst frames side by side")
    parser.add_argument("--json", type=json_file, metavar="FILE",
                        help="write the figures as JSON; - for standard output (the text then goes to standard error)")


def run(args: argparse.Namespace) -> int:
    try:
        return _run(args)
    except (ReplayError, BagError) as error:
        raise CommandError(str(error)) from error


def _run(args: argparse.Namespace) -> int:
    limits = Limits(args.min_labels, args.min_drivable, args.max_frames)
    ours, theirs = find_results(args.a), find_results(args.b)
    if len(ours) == len(theirs) == 1:
        pairs = [(next(iter(ours)), *ours.values(), *theirs.values())]
    else:
        pairs = [(name, folder, theirs[name]) for name, folder in ours.items() if name in theirs]
    missing = sorted(ours.keys() ^ theirs.keys()) if len(pairs) != 1 or len(ours) + len(theirs) > 2 else []
    if not pairs:
        raise CommandError(f"{args.a} and {args.b} have no bag in common")
    text = sys.stderr if is_standard_output(args.json) else sys.stdout
    done: dict[str, Comparison] = {}
    for name, a, b in pairs:
        done[name] = comparison = compare(a, b, limits)
        print(f"{'same' if comparison.same else 'DIFFERENT'}: {a} and {b}", file=text)
        for line in comparison.lines():
            print("  " + line, file=text)
        if args.pictures is not None:
            _draw(comparison, a, b, args.pictures / name if len(pairs) > 1 else args.pictures, text)
    for name in missing:
        print(f"only in {args.a if name in ours else args.b}: {name}", file=text)
    if args.json is not None:
        write_json({name: c.to_dict() for name, c in done.items()}, args.json)
    return 0 if not missing and all(c.same for c in done.values()) else 1


def _draw(comparison: Comparison, a: Path, b: Path, folder: Path, text: TextIO) -> None:
    bag = json.loads((a / "summary.json").read_text())["bag"]
    folder.mkdir(parents=True, exist_ok=True)
    for frame, picture in draw_worst(comparison, a, b, Path(bag["path"]), bag["topic"]):
        file = folder / f"frame_{frame['index']:06d}.png"
        cv2.imwrite(str(file), picture)
        print(f"  {file}", file=text)
