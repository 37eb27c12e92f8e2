"""Segment an image, a folder of images, a video or a bag, and write what the node would publish for it.

In the output folder, one PNG a frame: labels/ (0 background, 1 road, 2 pavement, 3 obstacle, 255 unknown), classes/
(the network's own ids), drivable/ (255 drivable, else 0), with --confidence also confidence/; and the picture to look
at: overlay.png of a single image, else overlay.mp4.

A frame that is not an image is left out and counted; the exit code is 2 only where no frame could be segmented.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from drive_seg.cli.options import add_settings, open_pipeline, out_folder
from drive_seg.core.classes import LABEL_NAMES
from drive_seg.core.frame import FrameError
from drive_seg.core.overlay import draw_overlay
from drive_seg.core.segmentation import Segmentation
from drive_seg.errors import CommandError
from drive_seg.pipeline import Pipeline
from drive_seg.sources.frame_source import FrameSource, Shot
from drive_seg.sources.open import KINDS, open_source
from drive_seg.sources.write import VideoWriter

_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `drive-seg segment`."""
    parser.add_argument("input", metavar="INPUT", help=KINDS)
    parser.add_argument("-o", "--out", type=out_folder, required=True, metavar="FOLDER", help="folder for the results")
    add_settings(parser, ("network", "masks"), without=("output_size",))
    parser.add_argument("--topic", help="image topic, for a bag with several cameras")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="stop after so much footage")
    parser.add_argument("--confidence", action="store_true", help="also write confidence/ (255 = certain)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Segment everything; returns the exit code."""
    footage = open_source(args.input, duration=args.duration, topic=args.topic)
    if footage.live and args.duration is None:
        raise CommandError(f"{args.input} never ends", "say how long with --duration SECONDS")
    with open_pipeline(args, footage.ego_mask) as pipeline:
        summary = _segment(footage, pipeline, args.out, args.confidence)
    print(json.dumps(summary, indent=2) if args.json else _text(summary))
    return 0


def _segment(footage: FrameSource, pipeline: Pipeline, out: Path, with_confidence: bool) -> dict[str, Any]:
    stages: dict[str, list[float]] = defaultdict(list)
    pixels = np.zeros(256, np.int64)
    drivable = frames = 0
    skipped: list[str] = []
    images = ["labels", "classes", "drivable"] + ["confidence"] * with_confidence
    for name in images:
        (out / name).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        video = None
        if footage.count != 1:
            video = stack.enter_context(VideoWriter(out / "overlay.mp4", footage.rate))
        for shot, bgr, result in _results(footage, pipeline, skipped):
            for name in images:
                _write(out / name / f"{shot.name}.png", getattr(result, name))
            picture = draw_overlay(bgr, result.labels, result.drivable)
            if video is None:
                _write(out / "overlay.png", picture)
            else:
                video.write(picture, shot.stamp_ns)
            for stage, milliseconds in result.stages.items():
                stages[stage].append(milliseconds)
            pixels += np.bincount(result.labels.ravel(), minlength=256)
            drivable += np.count_nonzero(result.drivable_mask)
            frames += 1
    seen = frames + len(skipped)
    if not seen:
        raise CommandError(f"{footage.source} has no frames", "give footage that has some")
    if not frames:
        raise CommandError(f"{footage.source}: none of its {seen} frames could be segmented, {skipped[0]}")
    if skipped:
        print(f"warning: {footage.source}: {len(skipped)} of {seen} frames could not be segmented, {skipped[0]}",
              file=sys.stderr)
    if footage.count is not None and seen < 0.9 * footage.count:
        print(f"warning: {footage.source} ended after {seen} of {footage.count} frames: it may be cut short",
              file=sys.stderr)
    engine, total = pipeline.model.engine, int(pixels.sum())
    medians = {stage: round(float(np.median(values)), 3) for stage, values in stages.items()}
    return {
        "frames": frames, "skipped": len(skipped), "out": str(out),
        "network": pipeline.model.network.name, "input_size": list(engine.input_size),
        "engine": engine.name, "precision": engine.precision, "device": engine.device,
        "milliseconds": medians | {"total": round(sum(medians.values()), 3)},
        "label_share": {name: round(int(pixels[label]) / total, 4) for label, name in LABEL_NAMES.items()},
        "drivable_share": round(drivable / total, 4),
    }


def _results(footage: FrameSource, pipeline: Pipeline,
             skipped: list[str]) -> Iterator[tuple[Shot, np.ndarray, Segmentation]]:
    """skipped: gets what is wrong with each frame that is left out."""
    # A progress bar is for people: it goes to stderr, and only where that is a terminal.
    for shot in tqdm(footage, total=footage.count, unit="frame", disable=None, file=sys.stderr):
        try:
            bgr, result = shot.frame.bgr(), pipeline.segment(shot.frame, stamp=shot.stamp_ns / 1e9)
        except FrameError as error:
            skipped.append(f"frame {shot.name}: {error}")
            continue
        yield shot, bgr, result


def _write(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image, _PNG):
        raise CommandError(f"can't write {path}", "is there space, and may you write there?")


def _text(summary: dict[str, Any]) -> str:
    height, width = summary["input_size"]
    milliseconds = dict(summary["milliseconds"])
    total = milliseconds.pop("total")
    shares = ", ".join(f"{name} {share:.1%}" for name, share in summary["label_share"].items())
    return "\n".join([
        f"{summary['frames']} frames -> {summary['out']}",
        f"network   {summary['network']}, {width}x{height}, on {summary['engine']} {summary['precision']}"
        f" ({summary['device']})",
        f"a frame   {total:.1f} ms: " + ", ".join(f"{stage} {ms:.1f}" for stage, ms in milliseconds.items()),
        f"pixels    {shares}",
        f"drivable  {summary['drivable_share']:.1%}",
    ])
