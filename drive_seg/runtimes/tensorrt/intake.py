"""How a camera's frames get to the GPU: which bytes, read by which kernel, scaled by which weights."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.core.frame import Frame

MOST_HALVINGS = 3
"""How often the kernel can halve an image; a larger one is halved on the processor first."""

WORD = 16
"""Bytes that the kernel reads at once: each row of a frame begins at a multiple of it."""

TAP = np.dtype([("lower", np.int32), ("weight", np.int32)])
PLACE = np.dtype([("lower", np.int32), ("weight", np.float32)])


def taps(pixels: int, source: int) -> np.ndarray:
    """Where each of `pixels` falls between `source` ones, as OpenCV's INTER_LINEAR for uint8 has it: TAP."""
    place = ((np.arange(pixels) + 0.5) * (source / pixels) - 0.5).astype(np.float32)
    lower = np.floor(place)
    weight = np.where((lower < 0) | (lower >= source - 1), np.float32(0), place - lower)
    out = np.empty(pixels, TAP)
    out["lower"] = np.clip(lower, 0, source - 1)
    out["weight"] = np.rint(weight * np.float32(2048))
    return out


def places(pixels: int, cells: int) -> np.ndarray:
    """Where each pixel centre falls between cell centres, as core/decode.py has it: PLACE."""
    place = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    lower = np.minimum(place.astype(np.int32), max(cells - 2, 0))
    out = np.empty(pixels, PLACE)
    out["lower"], out["weight"] = lower, place - lower
    return out


@dataclass(frozen=True)
class Layout:
    """Where an encoding has its bytes. step: from a pixel to the next one. at: a pixel's R, G and B; with yuv its Y,
    and U and V in its pair of pixels. chroma_below: U and V lie below all Y, a row of them for two of pixels.
    """

    step: int
    at: tuple[int, int, int]
    yuv: bool = False
    chroma_below: bool = False


_BGR, _BGRA, _MONO = Layout(3, (2, 1, 0)), Layout(4, (2, 1, 0)), Layout(1, (0, 0, 0))
_UYVY, _YUYV = Layout(2, (1, 0, 2), yuv=True), Layout(2, (0, 1, 3), yuv=True)

LAYOUTS = {
    "bgr8": _BGR, "8UC3": _BGR, "rgb8": Layout(3, (0, 1, 2)), "bgra8": _BGRA, "8UC4": _BGRA,
    "rgba8": Layout(4, (0, 1, 2)), "mono8": _MONO, "8UC1": _MONO, "yuv422": _UYVY, "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV, "yuyv": _YUYV, "nv12": Layout(1, (0, 0, 1), True, True),
    "nv21": Layout(1, (0, 1, 0), True, True),
}
"""The encodings that the kernel reads. Others (Bayer patterns) become BGR on the processor first."""


@dataclass(frozen=True)
class Intake:
    """The way of one kind of frame into a network.

    rows, row_bytes: what the kernel reads; a row takes `pitch` bytes. height: rows of pixels in them. halved: (height,
    width) after `halvings` on the GPU. on_host: halvings that the processor does before, as BGR: of odd sizes and of
    huge images. converts: Bayer patterns become BGR on the processor.
    """

    encoding: str
    size: tuple[int, int]
    layout: Layout
    rows: int
    row_bytes: int
    height: int
    halvings: int
    halved: tuple[int, int]
    on_host: int
    converts: bool

    @property
    def pitch(self) -> int:
        """Bytes from a row to the next one."""
        return -(-self.row_bytes // WORD) * WORD

    @classmethod
    def of(cls, frame: Frame, network_size: tuple[int, int]) -> Intake:
        """The way of this frame and all like it into a network that sees network_size = (height, width)."""
        sizes = [frame.size]
        while sizes[-1][0] >= 2 * network_size[0] and sizes[-1][1] >= 2 * network_size[1]:
            sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
        last = len(sizes) - 1
        odd = [i for i in range(last) if sizes[i][0] % 2 or sizes[i][1] % 2]
        on_host = max(odd[-1] + 1 if odd else 0, last - MOST_HALVINGS)
        converts = on_host == 0 and frame.encoding not in LAYOUTS
        height, width = sizes[on_host]
        layout = LAYOUTS["bgr8" if on_host or converts else frame.encoding]
        rows = height + height // 2 if layout.chroma_below else height
        return cls(frame.encoding, frame.size, layout, rows, width * layout.step, height, last - on_host, sizes[-1],
                   on_host, converts)

    def pixels(self, frame: Frame) -> np.ndarray:
        """(rows, row_bytes) uint8 to hand to the kernel; a view of the frame's own unless the processor has work."""
        for _ in range(self.on_host):
            frame = Frame.from_array(frame.resized((frame.height // 2, frame.width // 2), cv2.INTER_AREA))
        data = frame.bgr() if self.converts else frame.data
        return data.reshape(len(data), -1)[:, : self.row_bytes]
