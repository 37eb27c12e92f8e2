"""Writing videos that every player and browser shows: H.264, 4:2:0, the index in front."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

_TIME_BASE = Fraction(1, 90_000)
_LONGEST_GAP = 2.0  # seconds that a picture stays at most: a clock that was set, or a pause, must not fill the video


@dataclass(frozen=True)
class _Open:
    """What there is from the first frame on. size: (height, width) of the frames."""

    container: av.container.OutputContainer
    stream: av.VideoStream
    size: tuple[int, int]


class VideoWriter:
    """Writes frames to an .mp4. Use as a context manager: the file appears under its name when all is written."""

    def __init__(self, path: Path, rate: float, quality: int = 21) -> None:
        """rate: frames a second, for players; each frame's own time counts. quality: x264's CRF, lower is better."""
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._rate = Fraction(rate).limit_denominator(1001)
        self._quality = quality
        self._open: _Open | None = None
        self._seconds = 0.0  # in the video
        self._last_ns = 0
        self._last = -1

    def write(self, image: np.ndarray, stamp_ns: int) -> None:
        """Append (H, W, 3) uint8 BGR, shown at stamp_ns on any clock.

        The first frame sets the video's size, made even by a repeated row or column; others are scaled to it. A gap is
        shown as two seconds at most, and a frame that is not later than the one before as one at the video's rate.
        """
        if self._open is None:
            self._open = self._start(image.shape[0], image.shape[1])
            self._last_ns = stamp_ns
        height, width = self._open.size
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        if height % 2 or width % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        frame.pts, frame.time_base = self._next(stamp_ns), _TIME_BASE
        self._open.container.mux(self._open.stream.encode(frame))

    def _next(self, stamp_ns: int) -> int:
        """When the next frame is shown, in units of _TIME_BASE."""
        if self._last >= 0:
            passed = (stamp_ns - self._last_ns) * 1e-9
            self._seconds += min(passed, _LONGEST_GAP) if passed > 0 else float(1 / self._rate)
        self._last_ns = stamp_ns
        self._last = max(self._last + 1, round(self._seconds / _TIME_BASE))
        return self._last

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        if self._open is None:
            return
        if kind is None:
            self._open.container.mux(self._open.stream.encode(None))
        self._open.container.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def _start(self, height: int, width: int) -> _Open:
        container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        stream = container.add_stream("libx264", rate=self._rate,
                                      options={"crf": str(self._quality), "preset": "veryfast"})
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        stream.time_base = _TIME_BASE
        return _Open(container, stream, (height, width))
