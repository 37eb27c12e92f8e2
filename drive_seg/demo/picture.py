"""A small animated picture of a demo's video, for the README.

    python -m drive_seg.demo.picture out/overlay.mp4 docs/overlay.webp

Shows the video in its own time: a frame stays until the next one that the video has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av


def animate(video: Path, out: Path, *, start: float = 0.0, seconds: float = 6.0, width: int = 640, rate: int = 8,
            quality: int = 55) -> int:
    """Write `seconds` of a video from `start` on as an animated WebP that repeats; returns its frames.

    width: in pixels; the height follows, even. rate: frames a second. quality: 0..100. Raises ValueError where the
    video has nothing there.
    """
    frames = list(_at_rate(video, start, seconds, rate))
    if not frames:
        raise ValueError(f"{video} has no frame from second {start:g} on: take an earlier --start")
    height = round(width * frames[0].height / frames[0].width / 2) * 2
    with av.open(str(out), "w", format="webp", options={"loop": "0"}) as container:
        stream = container.add_stream("libwebp_anim", rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"quality": str(quality), "compression_level": "6"}
        for number, frame in enumerate(frames):
            shown = frame.reformat(width, height, "yuv420p", interpolation="AREA")
            shown.pts, shown.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(shown))
        container.mux(stream.encode(None))
    return len(frames)


def _at_rate(video: Path, start: float, seconds: float, rate: int) -> Iterator[av.VideoFrame]:
    """What the video shows at start, start + 1 / rate, ..., for as long as it lasts."""
    with av.open(str(video)) as container:
        wanted, shown, first = 0, None, None
        for frame in container.decode(video=0):
            first = frame.time if first is None else first
            while shown is not None and wanted < seconds * rate and start + wanted / rate < frame.time - first:
                if start + wanted / rate >= shown.time - first:
                    yield shown
                wanted += 1
            shown = frame


def main() -> int:
    """Make the picture and say how large it is."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.demo.picture", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path, help="a .webp file")
    parser.add_argument("--start", type=float, default=2.0, metavar="SECONDS", help="default: 2")
    parser.add_argument("--seconds", type=float, default=6.0, help="default: 6")
    parser.add_argument("--width", type=int, default=640, help="pixels (default: 640)")
    parser.add_argument("--rate", type=int, default=8, help="frames a second (default: 8)")
    parser.add_argument("--quality", type=int, default=55, help="0 to 100 (default: 55)")
    args = parser.parse_args()
    try:
        frames = animate(args.video, args.out, start=args.start, seconds=args.seconds, width=args.width, rate=args.rate,
                         quality=args.quality)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {frames} frames, {args.out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
