"""Three virtual cameras cut from one wide frame: left, front, right, each turned and with intrinsics of its own.

They show what a vehicle with several cameras would give a node, from footage of one camera whose lens and mounting are
known. All sit in the same place: the real camera's.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.core.camera import Camera
from drive_seg.core.ground import CameraPose
from drive_seg.sources.clip import DEFAULT, PREFIX
from drive_seg.sources.frame_source import FrameSource, Intrinsics, Mounting, SourceError
from drive_seg.sources.open import open_source

NAME = "views"
"""`views`, or `views:NAME` of a clip, names them where the demo asks for a source."""

SIZE = (384, 512)
"""(height, width) of each in pixels."""

_TURNS = {"left": 10.5, "front": 0.0, "right": -10.5}  # degrees
_ACROSS = 38.0  # degrees that each sees from side to side


@dataclass(frozen=True, eq=False)
class View:
    """One of them. yaw: radians to the left. x, y: (h, w) float32, where each of its pixels lies in the wide frame."""

    name: str
    camera: Intrinsics
    yaw: float
    x: np.ndarray
    y: np.ndarray

    def cut(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 of the wide frame -> (h, w, 3) uint8; black where the wide frame ends."""
        return cv2.remap(image, self.x, self.y, cv2.INTER_LINEAR)

    def cut_mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) uint8 likewise, 255 where the wide frame ends."""
        return cv2.remap(mask, self.x, self.y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=255)


def is_views(source: str) -> bool:
    """Whether a source names views."""
    return source == NAME or source.startswith(f"{NAME}:")


def open_wide(source: str, duration: float | None = None) -> FrameSource:
    """The wide footage of `views` or `views:NAME`. Raises SourceError."""
    clip = source.removeprefix(NAME).removeprefix(":")
    footage = open_source(PREFIX + clip if clip else DEFAULT, duration=duration)
    if footage.camera is None or footage.mounting is None:
        raise SourceError(f"{source}: this clip's camera is not calibrated", f"use {NAME}, which cuts {DEFAULT}")
    return footage


def views_of(camera: Intrinsics, mounting: Mounting) -> list[View]:
    """The three views of a wide camera."""
    height, width = SIZE
    focal = width / 2 / np.tan(np.radians(_ACROSS / 2))
    matrix = (focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0)
    wide = Camera((camera.height, camera.width), np.reshape(camera.matrix, (3, 3)), np.array(camera.distortion),
                  camera.model)
    pose = CameraPose.mounted(mounting.height, mounting.pitch, mounting.roll)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(columns - matrix[2]) / focal, (rows - matrix[5]) / focal, np.ones(SIZE)], -1).reshape(-1, 3)
    out = []
    for name, degrees in _TURNS.items():
        yaw = float(np.radians(degrees))
        turned = CameraPose.mounted(mounting.height, mounting.pitch, mounting.roll, yaw)
        x, y = wide.project(rays @ turned.rotation.T @ pose.rotation).astype(np.float32).T.reshape(2, *SIZE)
        out.append(View(name, Intrinsics(width, height, matrix), yaw, x, y))
    return out
