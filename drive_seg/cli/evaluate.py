"""Score a network on labelled images, through the same core that the node runs.

A data set is a folder with SPLIT/images/NAME.jpg (or .png), SPLIT/labels/NAME.png (8-bit class ids) and dataset.yaml:

    name: campus
    licence: CC BY 4.0
    ignore: 255                 # pixels with this id count for nothing
    classes:
      0: {name: rest, group: [background, obstacle]}   # one of these, not known which
      1: {name: road, group: road}                     # background, road, pavement or obstacle

One with the network's classes, by name and group, is scored on them; any other on the planner groups. An id that is
neither a class nor `ignore` is an error. A pixel that may be one of several groups is right with any of them and then
left out of the IoU; called anything else, it is a false pixel.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from drive_seg.cli.options import (
    add_settings,
    is_standard_output,
    json_file,
    open_pipeline,
    out_folder,
    write_json,
)
from drive_seg.errors import CommandError, reason_and_fix
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.evaluation.evaluate import evaluate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set with a dataset.yaml")
    parser.add_argument("--split", required=True, metavar="NAME", help="e.g. val")
    add_settings(parser, ("network", "masks"), without=("output_size", "temporal_filter", "ego_mask"))
    parser.add_argument("--json", type=json_file, metavar="FILE",
                        help="write the scores as JSON; - for standard output")
    parser.add_argument("--pictures", type=out_folder, metavar="DIR",
                        help="write the confusion matrix and the worst images")
    parser.add_argument("--worst", type=int, default=8, metavar="N", help="how many worst images (default: 8)")


def run(args: argparse.Namespace) -> int:
    try:
        dataset = Dataset.load(args.data)
        total = len(dataset.pairs(args.split))
        with (open_pipeline(args) as pipeline,
              tqdm(total=total, unit="image", disable=None, file=sys.stderr) as bar):
            report = evaluate(pipeline.segmenter, dataset, args.split, args.pictures, args.worst,
                              lambda *_: bar.update())
    except DatasetError as error:
        raise CommandError(*reason_and_fix(error)) from error
    if args.json is not None:
        write_json(report, args.json)
    if not is_standard_output(args.json):
        _print(report, pipeline.model.engine)
    return 0


def _print(report: dict, engine) -> None:
    def percent(value: float | None) -> str:
        return "   -" if value is None else f"{100 * value:5.1f}"

    print(f"{report['images']} images on {engine.name} ({engine.precision}), {report['scored_on']}:"
          f" mIoU {percent(report['miou'])}, pixel accuracy {percent(report['pixel_accuracy'])},"
          f" Boundary IoU {percent(report['boundary_iou']['mean'])}")
    print(f"  {'':12}  IoU  boundary")
    for name, value in report["iou"].items():
        print(f"  {name:12} {percent(value)} {percent(report['boundary_iou'][name])}")
    print("groups:   " + ", ".join(f"{name} {percent(value).strip()}" for name, value in report["group_iou"].items()))
    print("drivable: " + ", ".join(f"{name} {percent(value).strip()} %" for name, value in report["drivable"].items()))
