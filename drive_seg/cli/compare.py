"""Compare two results of `drive-seg replay`, or two networks.

Results: exit code 0 when they agree, 1 when they differ. A and B are result folders of one bag each, or whole --out
folders, whose bags are matched by name. The worst frames are listed, and drawn side by side with --pictures.

Networks: A and B are .onnx files, the former and the new one. Both run on the labelled pictures of --data and on the
drives of --on; --page gets one page with the figures of both, the pictures and regions that changed most, and whether
that is better where the truth is known. Exit code 1 when the mean IoU of road, pavement and obstacle is more than
half a point worse on any labelled set.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import cv2
from tqdm import tqdm

from drive_seg.cli.options import (
    add_settings,
    given_settings,
    is_standard_output,
    json_file,
    open_pipeline,
    out_file,
    out_folder,
    positive,
    typed_settings,
    write_json,
)
from drive_seg.cli.replay import add_limits
from drive_seg.comparison import report
from drive_seg.comparison.networks import Side, compare_drive, compare_labelled, worse_sets
from drive_seg.errors import CommandError, reason_and_fix
from drive_seg.evaluation.dataset import Dataset
from drive_seg.labelling.pick import expected, name_drives
from drive_seg.replay.compare import Comparison, Limits, compare, draw_worst, find_results
from drive_seg.replay.settings import ReplayError
from drive_seg.sources.bag import BagError
from drive_seg.sources.open import KINDS, open_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="a result, the --out folder of a run, or a network (.onnx)")
    parser.add_argument("b", type=Path, metavar="B", help="another")
    add_limits(parser)
    networks = parser.add_argument_group("networks")
    networks.add_argument("--data", type=Path, action="append", default=[], metavar="DIR",
                          help="data set with a dataset.yaml; may be repeated")
    networks.add_argument("--split", default="val", metavar="NAME", help="of the data sets (default: val)")
    networks.add_argument("--on", action="append", default=[], metavar="INPUT", help=f"{KINDS}; may be repeated")
    networks.add_argument("--topic", help="image topic, for a bag with several cameras")
    networks.add_argument("--duration", type=float, metavar="SECONDS", help="look at so much of each drive")
    networks.add_argument("--every", type=positive, default=1, metavar="K", help="look at every K-th frame of a drive")
    networks.add_argument("--page", type=out_file, metavar="FILE.html", help="write the page")
    add_settings(parser, ("network", "masks"), without=("network", "output_size", "temporal_filter", "ego_mask"))
    parser.add_argument("--pictures", type=out_folder, metavar="DIR", help="write the worst frames side by side")
    parser.add_argument("--json", type=json_file, metavar="FILE",
                        help="write the figures as JSON; - for standard output (the text then goes to standard error)")


def run(args: argparse.Namespace) -> int:
    networks = [path.suffix == ".onnx" for path in (args.a, args.b)]
    if all(networks):
        return _compare_networks(args)
    if any(networks):
        raise CommandError(f"{args.a} and {args.b} are a network and something else",
                           "give two .onnx files, or two results of `drive-seg replay`")
    if given := _of_networks(args):
        raise CommandError(f"{', '.join(given)} can only be used with two networks, these are two results of `drive-seg"
                           " replay`",
                           "leave that out, or give two .onnx files")
    try:
        return _run(args)
    except (ReplayError, BagError) as error:
        raise CommandError(*reason_and_fix(error)) from error


def _of_networks(args: argparse.Namespace) -> list[str]:
    """The options for two networks that were given."""
    given = {"--data": args.data, "--on": args.on, "--page": args.page, "--topic": args.topic,
             "--duration": args.duration is not None, "--every": args.every != 1, "--split": args.split != "val"}
    return [option for option, value in given.items() if value] + typed_settings(args)


def _of_results(args: argparse.Namespace) -> list[str]:
    """The options for two results that were given."""
    usual = Limits()
    given = {"--min-labels": args.min_labels != usual.labels, "--min-drivable": args.min_drivable != usual.drivable,
             "--max-frames": args.max_frames != usual.frames, "--pictures": args.pictures is not None}
    return [option for option, value in given.items() if value]


def _run(args: argparse.Namespace) -> int:
    limits = Limits(args.min_labels, args.min_drivable, args.max_frames)
    ours, theirs = find_results(args.a), find_results(args.b)
    if len(ours) == len(theirs) == 1:
        (name, folder), = ours.items()
        pairs = [(name, folder, next(iter(theirs.values())))]
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


def _compare_networks(args: argparse.Namespace) -> int:
    if not args.data and not args.on:
        raise CommandError("two networks are compared on pictures",
                           "give labelled ones with --data, drives with --on, or both")
    if given := _of_results(args):
        raise CommandError(f"{', '.join(given)} can only be used with two results of `drive-seg replay`, these are two"
                           " networks",
                           "leave that out" + "; for pictures give --page FILE.html" * (args.pictures is not None))
    datasets = [Dataset.load(folder) for folder in args.data]
    sources = name_drives([open_source(text, duration=args.duration, topic=args.topic) for text in args.on])
    for drive in sources:
        if drive.source.live and args.duration is None:
            raise CommandError(f"{drive.source.source} never ends", "say how long with --duration SECONDS")
    text = sys.stderr if is_standard_output(args.json) else sys.stdout
    given_settings(args)  # so that both have the file's
    with ExitStack() as stack:
        former, new = (_open(args, path, stack) for path in (args.a, args.b))
        frames = expected(sources, args.every)
        total = None if frames is None else frames + sum(len(dataset.pairs(args.split)) for dataset in datasets)
        with tqdm(total=total, unit="picture", disable=None, file=sys.stderr) as bar:
            done = [compare_labelled(former, new, dataset, args.split, bar.update) for dataset in datasets]
            done += [compare_drive(former, new, drive.source, drive.name, every=args.every, progress=bar.update)
                     for drive in sources]
        if args.page is not None:
            report.write_report(args.page, former, new, done)
    for line in report.lines(done):
        print(line, file=text)
    if args.page is not None:
        print(f"page: {args.page}", file=text)
    if args.json is not None:
        write_json({"former": str(args.a), "new": str(args.b), "compared": [one.to_dict() for one in done],
                    "worse_on": [one.name for one in worse_sets(done)]}, args.json)
    return 1 if worse_sets(done) else 0


def _open(args: argparse.Namespace, path: Path, stack: ExitStack) -> Side:
    pipeline = stack.enter_context(open_pipeline(argparse.Namespace(**{**vars(args), "network": str(path)})))
    return Side(pipeline.model.network, pipeline.segmenter)
