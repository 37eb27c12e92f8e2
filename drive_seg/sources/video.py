"""Video files and cameras, through OpenCV: it decodes as fast as PyAV, and turns rotated videos upright."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from drive_seg.core.frame import Frame
from drive_seg.sources.frame_source import FrameSource, Intrinsics, Shot, SourceError

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: what is wrong is said by SourceError

_FALLBACK_RATE = 25.0


class VideoSource(FrameSource):
    """A video file, from `start` seconds on. Shots are named by their number in the file."""

    def __init__(self, path: Path, start: float = 0.0, camera: Intrinsics | None = None) -> None:
        """Raises SourceError when OpenCV can't read a frame of the file."""
        self.source, self.camera = str(path), camera
        self._path = path
        capture = self._open()
        self.rate = _plausible(capture.get(cv2.CAP_PROP_FPS))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - round(_starts_at(path) * self.rate)
        readable = capture.grab()
        capture.release()
        if not readable:
            raise _unreadable(path)
        self._first = round(start * self.rate)
        if 0 < frames <= self._first:
            raise SourceError(f"{path} is {frames / self.rate:.1f} s long, it has nothing at {start:g} s")
        self.count = frames - self._first if frames > 0 else None

    def __iter__(self) -> Iterator[Shot]:
        capture = self._open()
        try:
            if self._first:
                capture.set(cv2.CAP_PROP_POS_FRAMES, self._first)
            number, last = self._first, -1
            while True:
                good, image = capture.read()
                if not good:
                    return
                stamp = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                if stamp <= last:  # a file without time stamps
                    stamp = last + round(1e9 / self.rate)
                last = stamp
                yield Shot(stamp, f"{number:06d}", Frame.from_array(image))
                number += 1
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        with _quiet():
            capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise SourceError(f"{self._path} is not a video that OpenCV reads",
                              "it is damaged or of another kind (H.264 in an .mp4 works)")
        return capture


class CameraSource(FrameSource):
    """A camera of this machine, `/dev/videoN`. Stamps are the system clock's when the frame arrives."""

    live = True
    count = None

    def __init__(self, device: str) -> None:
        """Raises SourceError when it can't be opened."""
        if not Path(device).exists():
            raise SourceError(f"there is no camera {device}", "plug it in, or see `ls /dev/video*`")
        if not os.access(device, os.R_OK | os.W_OK):
            raise SourceError(f"no permission for {device}", "add the user to the group `video` and log in again")
        self.source = device
        capture = self._open()
        self.rate = _plausible(capture.get(cv2.CAP_PROP_FPS))
        capture.release()  # for the process that will read it

    def __iter__(self) -> Iterator[Shot]:
        capture = self._open()
        try:
            number = 0
            while True:
                good, image = capture.read()
                if not good:
                    raise SourceError(f"{self.source} gives no frames", "check its cable")
                yield Shot(time.time_ns(), f"{number:06d}", Frame.from_array(image))
                number += 1
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(int(re.sub(r"\D", "", self.source)), cv2.CAP_V4L2)
        if not capture.isOpened():
            raise SourceError(f"{self.source} can't be opened", "it is in use, or captures no video")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not the oldest
        return capture


def _starts_at(path: Path) -> float:
    """Seconds before the first frame of a file whose container counts them as part of its length, as OpenCV then does;
    0 for the others."""
    import av  # 15 MB, which replaying a bag does without

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return 0.0 if stream.frames else max(0, container.start_time or 0) / av.time_base
    except (av.FFmpegError, OSError, IndexError):
        return 0.0


def _unreadable(path: Path) -> SourceError:
    """Why OpenCV reads no frame of a file that it opens: it lacks the codec, or the file its pictures."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            next(container.decode(stream))
            codec = (stream.codec.canonical_name or stream.codec.name).upper()
    except (av.FFmpegError, OSError, IndexError, StopIteration):
        return SourceError(f"{path} has no frame that OpenCV reads", "is the file complete?")
    return SourceError(f"{path} is {codec} video, which OpenCV does not decode here",
                       f"convert it: ffmpeg -i '{path.name}' -c:v libx264 '{path.stem}_h264.mp4'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from complaining to stderr as well."""
    set_level = _log_level_setter()
    level = set_level(0)
    try:
        yield
    finally:
        set_level(level)


def _log_level_setter() -> Callable[[int], int]:
    """OpenCV 4 has cv2.setLogLevel, OpenCV 5 has it elsewhere; a build without either only complains."""
    utils = getattr(cv2, "utils", None)
    for place in (cv2, getattr(utils, "logging", None)):
        setter = getattr(place, "setLogLevel", None)
        if setter is not None:
            return setter
    return lambda level: level


def _plausible(rate: float) -> float:
    return rate if 0.1 <= rate <= 1000 else _FALLBACK_RATE
