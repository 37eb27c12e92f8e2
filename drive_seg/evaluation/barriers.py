"""How much of a motorway's concrete barrier is called road, and drivable? On frames of two real drives.

The barrier was outlined by hand where it is surely barrier in all frames of a stretch, without its far end.

    python -m drive_seg.evaluation.barriers [--network FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.classes import Group
from drive_seg.core.drivable import DrivableRule
from drive_seg.core.engine import EngineError
from drive_seg.core.segmenter import Segmenter
from drive_seg.network import Network, NetworkError
from drive_seg.resources import default_network
from drive_seg.runtimes import ENGINES, open_engine
from drive_seg.settings import Settings
from drive_seg.sources.clip import CLIPS, fetch
from drive_seg.sources.frame_source import SourceError

_AROUND = (-0.12, 0.0, 0.12)


@dataclass(frozen=True)
class _Stretch:
    """Frames of a clip in which the barrier is in one place. seconds: of the clip. outline: (x, y) in 1280x720."""

    clip: str
    seconds: tuple[float, ...]
    outline: tuple[tuple[int, int], ...]


STRETCHES = (
    _Stretch("motorway", tuple(3 + dt for dt in _AROUND), ((0, 472), (457, 445), (503, 442), (0, 603))),
    _Stretch("motorway", tuple(8 + dt for dt in _AROUND), ((0, 457), (518, 436), (549, 436), (0, 567))),
    _Stretch("bridge", tuple(3 + dt for dt in _AROUND), ((0, 457), (518, 430), (564, 430), (0, 610))),
    _Stretch("bridge", tuple(8 + dt for dt in _AROUND), ((0, 457), (335, 445), (594, 430), (0, 573))),
    _Stretch("motorway", tuple(np.arange(14, 20.01, 0.25).tolist()),
             ((0, 470), (300, 450), (500, 432), (560, 428), (500, 440), (400, 465), (250, 505), (100, 545), (0, 545))),
)


@dataclass(frozen=True)
class Row:
    """One frame. road, drivable: shares 0..1 of the barrier's pixels that are labelled road, that are drivable."""

    clip: str
    second: float
    road: float
    drivable: float


def measure(segmenter: Segmenter, every: int = 1) -> Iterator[Row]:
    """A row for each frame, or every so many. Raises SourceError when the clips can't be had, and EngineError."""
    folder = fetch()
    for stretch in STRETCHES:
        clip = CLIPS[stretch.clip]
        video = cv2.VideoCapture(str(folder / clip.file))
        for second in stretch.seconds[::every]:
            video.set(cv2.CAP_PROP_POS_MSEC, 1000 * (clip.start + second))
            there, image = video.read()
            if not there:
                raise SourceError(f"{clip.file} has no frame at {clip.start + second:.2f} s",
                                  "remove it from the cache: it is fetched again")
            region = np.zeros(image.shape[:2], np.uint8)
            cv2.fillPoly(region, [np.array(stretch.outline, np.int32)], (1,))
            result = segmenter.segment(image)
            yield Row(stretch.clip, second, float((result.labels[region != 0] == Group.ROAD).mean()),
                      float((result.drivable_mask[region != 0] != 0).mean()))


def main(argv: Sequence[str] | None = None) -> int:
    """The command above; 2 when it can't run."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.evaluation.barriers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, metavar="FILE", help="default: the one that ships")
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto")
    parser.add_argument("--min-confidence", type=float, default=Settings().min_confidence, metavar="P")
    args = parser.parse_args(argv)
    try:
        network = Network.load(args.network or default_network())
        with open_engine(args.engine, network, precision="fp32") as engine:
            rule = DrivableRule(min_confidence=args.min_confidence)
            rows = list(measure(Segmenter(engine, network.table, rule, surface=network.surface)))
    except (NetworkError, EngineError, SourceError) as error:
        print(error, file=sys.stderr)
        return 2
    drivable = [row.drivable for row in rows]
    worst = rows[int(np.argmax(drivable))]
    print(f"{len(rows)} frames, of the barrier: called road {np.mean([row.road for row in rows]):.1%}, drivable"
          f" {np.mean(drivable):.1%}, in the worst frame {worst.drivable:.1%} ({worst.clip}, {worst.second:.2f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
