"""What every kind of footage gives: shots, one after the other, with time stamps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from drive_seg.core.frame import Frame
from drive_seg.errors import DriveSegError


class SourceError(DriveSegError, ValueError):
    """FrameSource that can't be read; the message names the source and the fix."""


@dataclass(frozen=True)
class Intrinsics:
    """A camera's intrinsics at one image size, as in sensor_msgs/CameraInfo.

    width, height in pixels. matrix: the nine values of K, row by row, in pixels. distortion: coefficients of `model`
    (`plumb_bob`: k1, k2, p1, p2, k3).
    """

    width: int
    height: int
    matrix: tuple[float, ...]
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    model: str = "plumb_bob"


@dataclass(frozen=True)
class Mounting:
    """How the camera sits over the ground. height: metres. pitch: radians that it looks down. roll: radians that its
    right side is lower.
    """

    height: float
    pitch: float = 0.0
    roll: float = 0.0


class Shot:
    """One image of some footage.

    stamp_ns: nanoseconds on the footage's own clock (a video starts at 0, a bag has the recorded stamps). name: unique
    within the footage and fit for a file name, e.g. `000012`. encoded: JPEG or PNG bytes as recorded, with the `format`
    of their CompressedImage; None for raw images.
    """

    def __init__(self, stamp_ns: int, name: str, pixels: Frame | Callable[[], Frame] | None = None,
                 encoded: bytes | memoryview | None = None, encoded_format: str = "") -> None:
        """Give pixels, or what makes them or raises FrameError, or encoded."""
        self.stamp_ns = stamp_ns
        self.name = name
        self.encoded = encoded
        self.encoded_format = encoded_format
        self._pixels = pixels

    @cached_property
    def frame(self) -> Frame:
        """The image, decoded when first asked for. Raises FrameError when the bytes are not an image."""
        if isinstance(self._pixels, Frame):
            return self._pixels
        if self._pixels is not None:
            return self._pixels()
        assert self.encoded is not None
        return Frame.from_compressed(self.encoded, self.encoded_format)


class FrameSource(ABC):
    """A sequence of shots; iterating starts from the beginning each time, except for a live camera."""

    source: str
    """What the user gave."""

    rate: float
    """Frames a second."""

    count: int | None
    """Number of shots, None when nobody knows before the end."""

    camera: Intrinsics | None = None
    """The camera's intrinsics, None where the footage does not bring them."""

    mounting: Mounting | None = None
    """The camera's pose over the ground, None where the footage does not bring it."""

    ego_mask: np.ndarray | None = None
    """(h, w) uint8, non-zero where the camera sees its own vehicle; None where the footage does not bring it."""

    live: bool = False
    """A camera: it can't be seen twice."""

    compressed: bool = False
    """The shots carry the encoded bytes as they were recorded."""

    @abstractmethod
    def __iter__(self) -> Iterator[Shot]:
        """The shots in order of time. Raises SourceError."""


class Section(FrameSource):
    """The beginning of some footage: the shots of the first `duration` seconds."""

    def __init__(self, whole: FrameSource, duration: float) -> None:
        """duration: seconds, more than 0 and finite. Raises SourceError when it is not."""
        if not (duration > 0 and math.isfinite(duration * 1e9 * whole.rate)):
            raise SourceError(f"the duration must be more than 0 s and finite, it is {duration:g}",
                              "give seconds, e.g. 20")
        self.whole = whole
        self.source, self.rate, self.camera = whole.source, whole.rate, whole.camera
        self.mounting, self.ego_mask = whole.mounting, whole.ego_mask
        self.live, self.compressed = whole.live, whole.compressed
        self._duration_ns = round(duration * 1e9)
        most = max(1, round(duration * whole.rate))
        self.count = most if whole.count is None else min(whole.count, most)

    def __iter__(self) -> Iterator[Shot]:
        end: int | None = None
        for shot in self.whole:
            if end is None:
                end = shot.stamp_ns + self._duration_ns
            if shot.stamp_ns >= end:
                return
            yield shot
