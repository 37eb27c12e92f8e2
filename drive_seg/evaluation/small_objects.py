"""What small things may the drivable area overlook? Sizes in metres, on real drives whose camera is calibrated.

Objects that no class covers are drawn onto the road of the clips, as large as they would be where they stand, and it is
counted whether the columns behind them stay closed. Beside it stands what the same rule loses on labelled pictures: the
share of true road that is left out. Each row is one value of DrivableRule.speck.

    python -m drive_seg.evaluation.small_objects --data CAMVID --data LUMS
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.camera import Camera
from drive_seg.core.classes import Group
from drive_seg.core.drivable import DrivableRule, drivable_area
from drive_seg.core.engine import EngineError
from drive_seg.core.ground import CameraPose, GroundView
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.evaluation.pasted import KINDS, Pasted, paste_at
from drive_seg.network import Network, NetworkError
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine
from drive_seg.sources.clip import CLIPS, ClipSource
from drive_seg.sources.frame_source import SourceError

SPECKS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
"""Values of DrivableRule.speck, metres."""
SIZES = (0.2, 0.3, 0.5)
"""Height and least width of the objects, metres."""
NEAREST, FARTHEST = 4.0, 20.0
"""Metres in front of the camera."""
_CLOSED = 0.8  # share of an object's columns that must be closed


@dataclass(frozen=True)
class Placement:
    """One object. closed: by value of SPECKS, whether the columns behind it are closed; by `metric`, with the camera's
    true scale."""

    size: float
    distance: float
    kind: str
    metric: bool
    closed: tuple[bool, ...]


def placements(segmenter: Segmenter, *, frames: int, per_frame: int = 3, seed: int = 0) -> Iterator[Placement]:
    """Objects on the road of the clips whose camera is calibrated. frames: pictures of each clip.

    Raises SourceError when the clips can't be had.
    """
    rng = np.random.default_rng(seed)
    for name in (name for name, clip in CLIPS.items() if clip.camera is not None):
        source = ClipSource(name)
        view = _view(source)
        ego = None if source.ego_mask is None else source.ego_mask != 0
        for image in _pictures(source, frames):
            clean = segmenter.segment(image)
            road = _area(clean, segmenter, 0.0, ego, view.scale) > 0
            shown, objects = image, []
            for _ in range(per_frame):
                placed = _place(shown, road, view, rng)
                if placed is not None:
                    pasted, size, distance = placed
                    shown = pasted.image
                    objects.append((pasted, size, distance))
                    wider = cv2.dilate(pasted.where.astype(np.uint8), np.ones((1, 41), np.uint8))
                    road &= ~wider.any(axis=0, keepdims=True)
            if not objects:
                continue
            result = segmenter.segment(shown)
            for metric in (False, True):
                masks = [_area(result, segmenter, speck, ego, view.scale if metric else None) for speck in SPECKS]
                for pasted, size, distance in objects:
                    yield Placement(size, distance, pasted.kind, metric,
                                    tuple(_closed(mask, pasted.where) for mask in masks))


def _view(source: ClipSource) -> GroundView:
    seen, mounting = source.camera, source.mounting
    if seen is None or mounting is None:
        raise ValueError(f"nothing is known of the camera of {source.source}")
    camera = Camera((seen.height, seen.width), np.reshape(seen.matrix, (3, 3)), np.array(seen.distortion),
                    seen.model)
    return GroundView(camera, CameraPose.mounted(mounting.height, mounting.pitch))


def _pictures(source: ClipSource, count: int) -> Iterator[np.ndarray]:
    total = source.count or 1
    wanted = set(np.linspace(0, total - 1, count + 2).astype(int)[1:-1].tolist())
    for number, shot in enumerate(source):
        if number in wanted:
            yield shot.frame.bgr()
        if number >= max(wanted):
            return


def _place(image: np.ndarray, road: np.ndarray, view: GroundView,
           rng: np.random.Generator) -> tuple[Pasted, float, float] | None:
    for _ in range(20):
        size, distance = float(rng.choice(SIZES)), float(rng.uniform(NEAREST, FARTHEST))
        aside = float(rng.uniform(-3, 3))
        pose = view.pose
        foot = np.array([[pose.translation[0] + distance, pose.translation[1] + aside, view.ground_z]])
        column, row = view.camera.project((foot - pose.translation) @ pose.rotation)[0]
        if not (0 <= column < road.shape[1] and 0 <= row < road.shape[0]):
            continue
        pixels = round(size * float(view.scale[int(row)]))
        pasted = paste_at(image, road, str(rng.choice(KINDS)), rng, foot=int(row), centre=int(column), size=pixels)
        if pasted is not None:
            return pasted, size, distance
    return None


def _area(result: Segmentation, segmenter: Segmenter, speck: float, ego: np.ndarray | None,
          scale: np.ndarray | None) -> np.ndarray:
    return drivable_area(result.labels, result.classes, result.confidence, segmenter.table,
                         replace(segmenter.rule, speck=speck), ego, scale)


def _closed(mask: np.ndarray, where: np.ndarray) -> bool:
    """Whether nothing behind an object is drivable, nor itself, in most of its columns."""
    foot = int(np.flatnonzero(where.any(axis=1))[-1])
    columns = where.any(axis=0)
    return float((~(mask[:foot - 2, columns] > 0).any(axis=0)).mean()) >= _CLOSED


def left_out(segmenter: Segmenter, dataset: Dataset, split: str, images: int) -> list[tuple[float, float]]:
    """By value of SPECKS: share of true road that is not drivable, share of the drivable area that is not road."""
    sure = [c.id for c in dataset.classes if c.groups == (Group.ROAD,) and c.id != dataset.ignore]
    maybe = [c.id for c in dataset.classes if Group.ROAD in c.groups and c.id not in sure]
    if dataset.ignore is not None:
        maybe.append(dataset.ignore)
    pairs = dataset.pairs(split)
    counts = np.zeros((len(SPECKS), 2))
    road_pixels = 0
    for pair in pairs[::max(1, len(pairs) // images)]:
        image, truth = pair.read()
        result, road = segmenter.segment(image, drivable=False), np.isin(truth, sure)
        road_pixels += int(road.sum())
        labelled = ~np.isin(truth, maybe)
        for i, speck in enumerate(SPECKS):
            mask = (_area(result, segmenter, speck, None, None) > 0) & labelled
            counts[i] += (mask & road).sum(), mask.sum()
    return [(1 - hit / max(1, road_pixels), 1 - hit / max(1, called)) for hit, called in counts]


def table(found: Sequence[Placement], costs: dict[str, list[tuple[float, float]]]) -> str:
    """Markdown for the model card: the trade-off as a curve."""
    names = [f"{name}: road left out, falsely drivable" for name in costs]
    sizes = [f"{size:g} m" for size in SIZES]
    lines = ["| speck | " + " | ".join(f"{size} stay closed{true}" for size in sizes
                                       for true in ("", ", camera known")) + " | " + " | ".join(names) + " |",
             "|" + "---|" * (1 + 2 * len(sizes) + len(names))]
    for i, speck in enumerate(SPECKS):
        cells = [f"{speck:g} m"]
        for size in SIZES:
            for metric in (False, True):
                before = [p for p in found if p.size == size and p.metric is metric and p.closed[0]]
                kept = sum(p.closed[i] for p in before)
                cells.append(f"{kept / max(1, len(before)):.1%} of {len(before)}")
        cells += [f"{cost[i][0]:.2%}, {cost[i][1]:.2%}" for cost in costs.values()]
        lines.append("| " + " | ".join(cells) + " |")
    seen = [p for p in found if p.metric]
    lines += ["", f"Of {len(seen)} objects, {NEAREST:g} to {FARTHEST:g} m away, the network and the surface check close"
              f" the road at {np.mean([p.closed[0] for p in seen]) if seen else 0:.1%} without the rule; the rows say"
              " how many of these stay closed."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.evaluation.small_objects", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="a data set; may be repeated")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=100, help="pictures of each data set")
    parser.add_argument("--frames", type=int, default=40, help="pictures of each clip")
    parser.add_argument("--network", type=Path, help="an .onnx file (default: the one that ships)")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args(argv)
    try:
        network = Network.load(args.network or default_network())
        engine = open_engine(args.engine, network)
        segmenter = Segmenter(engine, network.table, DrivableRule(), surface=network.surface)
        found = list(placements(segmenter, frames=args.frames))
        costs = {}
        for path in args.data:
            dataset = Dataset.load(path)
            costs[dataset.name] = left_out(segmenter, dataset, args.split, args.images)
        engine.close()
        print(table(found, costs))
    except (DatasetError, NetworkError, EngineError, SourceError, FileNotFoundError) as error:
        print(f"small_objects: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
