"""One network on several data sets: a row each, and what `min_confidence` trades on them.

    python -m drive_seg.evaluation.sets --data DIR --data DIR [--network FILE] [--split val] [--every N] [--curve]

Road, pavement, obstacle and background are IoU of the planner groups; classes is the mIoU of the classes that data set
and network share. False drivable is a share of the pixels called drivable, missed a share of the true road, as
`drive-seg evaluate` gives them. With --curve a second table has both for several values of `min_confidence`. Several
--size give a row for each input size, with the time of one inference against that of the largest: medians, by turns.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from drive_seg.arguments import size
from drive_seg.core.decode import Decoded
from drive_seg.core.drivable import DrivableRule
from drive_seg.core.engine import Engine
from drive_seg.core.frame import Frame
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset, ego_region
from drive_seg.evaluation.scores import Scores
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes import ENGINES, PRECISIONS, open_engine

VALUES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Values of min_confidence."""


@dataclass(frozen=True)
class SetReport:
    """name: the data set's. report: see Scores.report. curve: min_confidence with the report's `drivable` at it. size:
    (height, width) of the network's input."""

    name: str
    report: dict
    curve: dict[float, dict[str, float | None]]
    size: tuple[int, int]


def score_set(segmenter: Segmenter, dataset: Dataset, split: str, every: int = 1,
              values: Sequence[float] = (), ego: bool = False) -> SetReport:
    """Scores every so many-th image of a split, each run through the engine once whatever the `values` of
    min_confidence. ego: mask the vehicle itself by what each picture's labels ignore at the lower edge (ego_region).
    Raises DatasetError, FrameError or EngineError."""
    scores = Scores(dataset, segmenter.table)
    at = {value: Scores(dataset, segmenter.table) for value in values}
    for pair in dataset.pairs(split)[::every]:
        image, truth = pair.read()
        frame = Frame.from_array(image)
        mask = ego_region(truth == dataset.ignore) if ego else None
        decoded = segmenter.engine.decode(frame, frame.size, {})

        def complete(rule: DrivableRule, decoded: Decoded = decoded, frame: Frame = frame,
                     mask: np.ndarray | None = mask) -> Segmentation:
            one = Segmenter(segmenter.engine, segmenter.table, rule, mask, segmenter.surface)
            return one.complete(frame, copy.deepcopy(decoded), {})

        for value, counts in at.items():
            drivable = complete(replace(segmenter.rule, min_confidence=value)).drivable
            assert drivable is not None
            counts.add_drivable(drivable, truth)
        scores.add(complete(segmenter.rule), truth)
    return SetReport(dataset.name, scores.report(),
                     {value: counts.report()["drivable"] for value, counts in at.items()}, segmenter.engine.input_size)


def table(reports: Sequence[SetReport], times: Mapping[tuple[int, int], float] | None = None) -> str:
    """A Markdown table, a row a data set. times: of an inference by input size, against the largest; several sizes get
    a column of their own."""
    first = "| data set | " if times is None else "| input | time | data set | "
    lines = [first + "images | road | pavement | obstacle | background | classes | false drivable | of it obstacle"
             " | missed |", "|" + "---|" * (10 if times is None else 12)]
    for one in reports:
        groups, drivable = one.report["group_iou"], one.report["drivable"]
        values = [*(groups[name] for name in ("road", "pavement", "obstacle", "background")),
                  one.report["miou"] if one.report["scored_on"] == "classes" else None,
                  *(drivable[name] for name in ("false_drivable", "false_drivable_obstacle", "missed"))]
        size = "" if times is None else f"{one.size[0]}x{one.size[1]} | {times[one.size]:.2f} | "
        lines.append(f"| {size}{one.name} | {one.report['images']} | " + " | ".join(map(_percent, values)) + " |")
    return "\n".join(lines)


def curve(reports: Sequence[SetReport]) -> str:
    """A Markdown table, a row a value of min_confidence: false drivable and missed of each data set."""
    lines = ["| `min_confidence` | " + " | ".join(f"{one.name}: false | missed" for one in reports) + " |",
             "|" + "---|" * (1 + 2 * len(reports))]
    for value in reports[0].curve:
        pairs = [one.curve[value][name] for one in reports for name in ("false_drivable", "missed")]
        lines.append(f"| {value:g} | " + " | ".join(map(_percent, pairs)) + " |")
    return "\n".join(lines)


def relative_times(engines: Sequence[Engine], rounds: int = 30) -> dict[tuple[int, int], float]:
    """Median time of an inference on a 1280x720 frame by input size, the largest one's being 1; by turns."""
    frame = Frame.from_array(np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8))
    took: dict[tuple[int, int], list[float]] = {engine.input_size: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            stages: dict[str, float] = {}
            engine.decode(frame, frame.size, stages)
            took[engine.input_size].append(stages["infer"])
    medians = {size: float(np.median(times)) for size, times in took.items()}
    longest = medians[max(medians, key=prod)]
    return {size: median / longest for size, median in medians.items()}


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
    parser.add_argument("--size", type=size, metavar="HxW", action="append",
                        help="network input size (default: the network's own); may be repeated")
    parser.add_argument("--ego-set", action="append", default=[], metavar="NAME",
                        help="data set whose labels ignore the vehicle itself at the lower edge: mask it; may be"
                             " repeated")
    args = parser.parse_args(argv)
    if args.every < 1:
        parser.error(f"--every must be 1 or more, it is {args.every}")
    try:
        datasets = [Dataset.load(folder) for folder in args.data]
        network = Network.load(args.network or default_network())
        if strange := sorted(set(args.ego_set) - {dataset.name for dataset in datasets}):
            parser.error(f"--ego-set {', '.join(strange)}: the data sets are"
                         f" {', '.join(dataset.name for dataset in datasets)}")
        values = VALUES if args.curve else ()
        with ExitStack() as stack:
            engines = [stack.enter_context(open_engine(args.engine, network, input_size=size, precision=args.precision,
                                                       progress=lambda line: print(line, file=sys.stderr, flush=True)))
                       for size in args.size or [None]]
            print(f"{engines[0].name} ({engines[0].precision}), {args.split}, min_confidence"
                  f" {DrivableRule().min_confidence:g}\n")
            reports = [score_set(Segmenter(engine, network.table, surface=network.surface), dataset, args.split,
                                 args.every, values, dataset.name in args.ego_set)
                       for engine in engines for dataset in datasets]
            times = relative_times(engines) if len(engines) > 1 else None
    except DriveSegError as error:
        print(f"sets: {error}", file=sys.stderr)
        return 2
    print(table(reports, times))
    if args.curve:
        print("\n" + curve(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
