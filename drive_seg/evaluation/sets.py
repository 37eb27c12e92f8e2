"""One network on several data sets: a row each, and what `min_confidence` trades on them.

    python -m drive_seg.evaluation.sets --data DIR --data DIR [--network FILE] [--split val] [--every N] [--curve]

Road, pavement, obstacle and background are IoU of the planner groups; classes is the mIoU of the classes that data set
and network can both tell. False drivable is a share of the pixels called drivable, missed a share of the true road, as
`drive-seg evaluate` gives them. With --curve a second table has both for several values of `min_confidence`.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drive_seg.arguments import size
from drive_seg.core.drivable import DrivableRule
from drive_seg.core.frame import Frame
from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.scores import Scores
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes import ENGINES, PRECISIONS, open_engine

VALUES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Values of min_confidence."""


@dataclass(frozen=True)
class SetReport:
    """name: the data set's. report: see Scores.report. curve: min_confidence with the report's `drivable` at it."""

    name: str
    report: dict
    curve: dict[float, dict[str, float | None]]


def score_set(segmenter: Segmenter, dataset: Dataset, split: str, every: int = 1,
              values: Sequence[float] = ()) -> SetReport:
    """Scores every so many-th image of a split, each run through the engine once whatever the `values` of
    min_confidence. Raises DatasetError, FrameError or EngineError."""
    scores = Scores(dataset, segmenter.table)
    at = {value: (Segmenter(segmenter.engine, segmenter.table, replace(segmenter.rule, min_confidence=value),
                            surface=segmenter.surface), Scores(dataset, segmenter.table)) for value in values}
    for pair in dataset.pairs(split)[::every]:
        image, truth = pair.read()
        frame = Frame.from_array(image)
        decoded = segmenter.engine.decode(frame, frame.size, {})
        for other, counts in at.values():
            drivable = other.complete(frame, copy.deepcopy(decoded), {}).drivable
            assert drivable is not None
            counts.add_drivable(drivable, truth)
        scores.add(segmenter.complete(frame, decoded, {}), truth)
    return SetReport(dataset.name, scores.report(),
                     {value: counts.report()["drivable"] for value, (_, counts) in at.items()})


def table(reports: Sequence[SetReport]) -> str:
    """A Markdown table, a row a data set."""
    lines = ["| data set | images | road | pavement | obstacle | background | classes | false drivable | of it obstacle"
             " | missed |", "|" + "---|" * 10]
    for one in reports:
        groups, drivable = one.report["group_iou"], one.report["drivable"]
        values = [*(groups[name] for name in ("road", "pavement", "obstacle", "background")),
                  one.report["miou"] if one.report["scored_on"] == "classes" else None,
                  *(drivable[name] for name in ("false_drivable", "false_drivable_obstacle", "missed"))]
        lines.append(f"| {one.name} | {one.report['images']} | " + " | ".join(map(_percent, values)) + " |")
    return "\n".join(lines)


def curve(reports: Sequence[SetReport]) -> str:
    """A Markdown table, a row a value of min_confidence: false drivable and missed of each data set."""
    lines = ["| `min_confidence` | " + " | ".join(f"{one.name}: false | missed" for one in reports) + " |",
             "|" + "---|" * (1 + 2 * len(reports))]
    for value in reports[0].curve:
        pairs = [one.curve[value][name] for one in reports for name in ("false_drivable", "missed")]
        lines.append(f"| {value:g} | " + " | ".join(map(_percent, pairs)) + " |")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.evaluation.sets", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR",
                        help="data set with a dataset.yaml; may be repeated")
    parser.add_argument("--split", default="val", help="default: val")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every so many-th picture")
    parser.add_argument("--curve", action="store_true", help="also the table by min_confidence")
    parser.add_argument("--network", type=Path, metavar="FILE", help="an .onnx file (default: the one that ships)")
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="runtime (default: auto)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the arithmetic (default: auto)")
    parser.add_argument("--size", type=size, metavar="HxW", help="network input size (default: the network's own)")
    args = parser.parse_args(argv)
    if args.every < 1:
        parser.error(f"--every must be 1 or more, it is {args.every}")
    try:
        datasets = [Dataset.load(folder) for folder in args.data]
        network = Network.load(args.network or default_network())
        with open_engine(args.engine, network, input_size=args.size, precision=args.precision,
                         progress=lambda line: print(line, file=sys.stderr, flush=True)) as engine:
            print(f"{engine.name} ({engine.precision}), {args.split}, min_confidence"
                  f" {DrivableRule().min_confidence:g}\n")
            segmenter = Segmenter(engine, network.table, surface=network.surface)
            reports = [score_set(segmenter, dataset, args.split, args.every, VALUES if args.curve else ())
                       for dataset in datasets]
    except DriveSegError as error:
        print(f"sets: {error}", file=sys.stderr)
        return 2
    print(table(reports))
    if args.curve:
        print("\n" + curve(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
