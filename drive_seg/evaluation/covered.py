"""Is a covered lens found? Covers of many shapes, fills and textures, put over the six real drives.

Each drive is played to the health check from where the cover appears, at its full rate and at one frame a second. A row
of the table is a shape: in how many cases it was a FAULT within two seconds, and the median time. The last rows are the
clean drives, all of their frames.

    python -m drive_seg.evaluation.covered            # all of it, 20 minutes
    python -m drive_seg.evaluation.covered --clips hills --rates 1
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.core.frame import Frame
from drive_seg.core.health.camera import CameraHealth
from drive_seg.core.health.status import Level
from drive_seg.sources.clip import CLIPS, ClipSource, fetch
from drive_seg.sources.frame_source import SourceError

WITHIN = 2.0
"""Seconds in which a cover must be a FAULT."""

SHAPES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "lower half": lambda x, y, t: y > 0.5,
    "upper half": lambda x, y, t: y < 0.5,
    "left half": lambda x, y, t: x < 0.5,
    "right half": lambda x, y, t: x >= 0.5,
    "centre": lambda x, y, t: (abs(x - 0.5) < 0.25) & (abs(y - 0.5) < 0.25),
    "band across": lambda x, y, t: abs(y - 0.62) < 0.1,
    "band across, high": lambda x, y, t: abs(y - 0.3) < 0.1,
    "band upright": lambda x, y, t: abs(x - 0.4) < 0.1,
    "large drop": lambda x, y, t: ((x - 0.55) * 16 / 9) ** 2 + (y - 0.6) ** 2 < 0.25 ** 2,
    "mud that grows": lambda x, y, t: _mud(x, y) > 0.75 - 0.25 * min(t, 1.0),
}
"""Where a picture is covered, bool, by x and y in 0..1 and the seconds since the cover began."""

LEVELS = {"dark": 30, "mid": 110, "bright": 220}
TEXTURES = ("uniform", "grain", "blotches")


def _mud(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A blob with a ragged edge, 0..1."""
    ragged = 0.06 * (np.sin(23 * x + 3 * y) + np.sin(17 * y - 9 * x) + np.sin(41 * x * y))
    return 1 - np.hypot((x - 0.45) * 1.3, y - 0.7) + ragged


def fill(shape: tuple[int, ...], level: str, texture: str, seed: int = 0) -> np.ndarray:
    """What covers, `shape` uint8: always the same, as it is fixed to the lens."""
    rng = np.random.default_rng(seed)
    out = np.full(shape[:2], float(LEVELS[level]), np.float32)
    if texture == "grain":
        out += rng.normal(0, 3, shape[:2])
    elif texture == "blotches":
        coarse = cv2.resize(rng.normal(0, 1, (shape[0] // 24, shape[1] // 24)).astype(np.float32), shape[1::-1],
                            interpolation=cv2.INTER_CUBIC)
        out += 5 * coarse / coarse.std()
    return np.repeat(np.clip(out, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@dataclass(frozen=True)
class Case:
    """One cover on one drive. after: seconds until FAULT, None where it was none within WITHIN. early: a FAULT or a
    warning before there was a cover."""

    clip: str
    shape: str
    level: str
    texture: str
    rate: float
    after: float | None
    early: bool


def play(images: Sequence[np.ndarray], fps: float, rate: float | None, shape: str, level: str, texture: str,
         clean_s: float = 2.0) -> tuple[float | None, bool]:
    """Seconds from a cover's begin to FAULT (None: not within WITHIN), and whether there was an alarm before.

    images: successive frames, from clean_s before the cover begins. rate: frames a second that are looked at, None for
    all.
    """
    height, width = images[0].shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = (x + 0.5) / width, (y + 0.5) / height
    cover = fill(images[0].shape, level, texture)
    health, early = CameraHealth(), False
    step = 1 if rate is None else max(1, round(fps / rate))
    where = None
    for number, image in enumerate(images):
        now = number / fps
        health.received(now)
        since = now - clean_s
        if number % step == 0:
            if since >= 0:
                if where is None or "grows" in shape:
                    where = SHAPES[shape](x, y, since)
                image = np.where(where[..., None], cover, image)
            health.observe(Frame.from_array(image), now, now)
        level_now = health.status(now).level
        if since < 0:
            early |= level_now > Level.OK
        elif level_now >= Level.ERROR:
            return since, early
        elif since > WITHIN + 1e-6:
            break
    return None, early


def cases(clips: Sequence[str], rates: Sequence[float | None], shapes: Sequence[str] = tuple(SHAPES),
          levels: Sequence[str] = tuple(LEVELS), textures: Sequence[str] = TEXTURES, seed: int = 0) -> Iterator[Case]:
    """All covers on all clips, each from a place of its own. Raises SourceError when the clips can't be had."""
    rng = np.random.default_rng(seed)
    for clip in clips:
        starts: dict[int, list] = {}
        video = cv2.VideoCapture(str(fetch() / CLIPS[clip].file))
        fps, total = video.get(cv2.CAP_PROP_FPS), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        length = round((2.0 + WITHIN) * fps) + 2
        places = np.linspace(0, max(0, total - length - 1), 4).astype(int).tolist()
        for case in itertools.product(rates, shapes, levels, textures):
            starts.setdefault(places[int(rng.integers(len(places)))], []).append(case)
        for start, wanted in sorted(starts.items()):
            video.set(cv2.CAP_PROP_POS_FRAMES, start)
            images = [image for _ in range(length) if (image := video.read()[1]) is not None]
            for rate, shape, level, texture in wanted:
                after, early = play(images, fps, rate, shape, level, texture)
                yield Case(clip, shape, level, texture, rate or fps, after, early)


def clean(clip: str, rate: float | None) -> tuple[int, list[str]]:
    """Frames of a whole drive that were looked at, and the alarms that they gave."""
    source, health, looked, alarms = ClipSource(clip), CameraHealth(), 0, []
    step = 1 if rate is None else max(1, round(source.rate / rate))
    for number, shot in enumerate(source):
        now = number / source.rate
        health.received(now)
        if number % step == 0:
            health.observe(shot.frame, now, now)
            looked += 1
        status = health.status(now)
        if status.level > Level.OK:
            alarms.append(f"{now:.2f} s: {status.message}")
    return looked, alarms


def table(found: Sequence[Case]) -> str:
    """Markdown, a row a shape."""
    lines = ["| cover | full rate: FAULT within 2 s | median | 1 frame a second: FAULT within 2 s | median |",
             "|---|---|---|---|---|"]
    for shape in SHAPES:
        cells = []
        for slow in (False, True):
            of = [c for c in found if c.shape == shape and (c.rate <= 1.0) is slow]
            times = [c.after for c in of if c.after is not None]
            cells += [f"{len(times)} of {len(of)}", f"{np.median(times):.2f} s" if times else "-"]
        lines.append(f"| {shape} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Play all and print the table; 1 where a cover was missed or a clean drive gave an alarm."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.evaluation.covered", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", choices=list(CLIPS), default=list(CLIPS))
    parser.add_argument("--rates", nargs="+", choices=("full", "1"), default=["full", "1"])
    parser.add_argument("--levels", nargs="+", choices=list(LEVELS), default=list(LEVELS))
    parser.add_argument("--textures", nargs="+", choices=TEXTURES, default=list(TEXTURES))
    args = parser.parse_args(argv)
    rates = [None if rate == "full" else 1.0 for rate in args.rates]
    try:
        found = list(cases(args.clips, rates, levels=args.levels, textures=args.textures))
        print(table(found))
        bad = [c for c in found if c.after is None or c.early]
        failed = bool(bad)
        for case in bad:
            print(f"{'missed' if case.after is None else 'alarm before'}: {case}")
        for clip, rate in itertools.product(args.clips, rates):
            looked, alarms = clean(clip, rate)
            print(f"clean, {clip}, {'all' if rate is None else '1 a second'}: {looked} frames, {len(alarms)} alarms"
                  + (f", the first at {alarms[0]}" if alarms else ""))
            failed = failed or bool(alarms)
    except SourceError as error:
        print(f"covered: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
