"""How a camera's frames get to the GPU: which bytes, read by which kernel, scaled by which weights."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.core.frame import Frame
from drive_seg.runtimes.tensorrt.kernels import MOST_HALVINGS, PREPARE

TAP = np.dtype([("place", np.int32), ("weight", np.int32)])
PLACE = np.dtype([("lower", np.int32), ("weight", np.float32)])


def taps(pixels: int, source: int) -> np.ndarray:
    """Where each of `pixels` falls between `source` ones, as OpenCV's INTER_LINEAR for uint8 has it: TAP."""
    place = ((np.arange(pixels) + 0.5) * (source / pixels) - 0.5).astype(np.float32)
    lower = np.floor(place)
    weight = np.where((lower < 0) | (lower >= source - 1), np.float32(0), place - lower)
    out = np.empty(pixels, TAP)
    out["place"] = np.clip(lower, 0, source - 1)
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
class Intake:
    """The way of one kind of frame into a network.

    kernel: what reads its bytes. rows, row_bytes: the bytes it reads, tightly packed. height: rows of pixels in them.
    halved: (height, width) after `halvings` on the GPU. on_host: halvings that the processor does before, as BGR: of
    odd sizes and of huge images. converts: Bayer patterns become BGR on the processor.
    """

    encoding: str
    size: tuple[int, int]
    kernel: str
    rows: int
    row_bytes: int
    height: int
    halvings: int
    halved: tuple[int, int]
    on_host: int
    converts: bool

    @classmethod
    def of(cls, frame: Frame, network_size: tuple[int, int]) -> Intake:
        """The way of this frame and all like it into a network that sees network_size = (height, width)."""
        sizes = [frame.size]
        while sizes[-1][0] >= 2 * network_size[0] and sizes[-1][1] >= 2 * network_size[1]:
            sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
        last = len(sizes) - 1
        odd = [i for i in range(last) if sizes[i][0] % 2 or sizes[i][1] % 2]
        on_host = max(odd[-1] + 1 if odd else 0, last - MOST_HALVINGS)
        converts = on_host == 0 and frame.encoding not in PREPARE
        height, width = sizes[on_host]
        if on_host or converts:
            kernel, rows, row_bytes = PREPARE["bgr8"], height, 3 * width
        else:
            kernel, rows = PREPARE[frame.encoding], frame.data.shape[0]
            row_bytes = width * (frame.data.shape[2] if frame.data.ndim == 3 else 1)
        return cls(frame.encoding, frame.size, kernel, rows, row_bytes, height, last - on_host, sizes[-1], on_host,
                   converts)

    def pixels(self, frame: Frame) -> np.ndarray:
        """The bytes to hand to the kernel; a view of the frame's own unless the processor has work to do."""
        for _ in range(self.on_host):
            frame = Frame.from_array(frame.resized((frame.height // 2, frame.width // 2), cv2.INTER_AREA))
        return frame.bgr() if self.converts else frame.data
