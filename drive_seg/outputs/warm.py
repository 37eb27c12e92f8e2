"""Compiling ahead: what draws, and what measures the ground, so that no frame waits for it."""

from __future__ import annotations

import cv2
import numpy as np

from drive_seg.core.around import Around
from drive_seg.core.camera import Camera
from drive_seg.core.frame import Frame
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundView
from drive_seg.core.overlay import draw_overlay
from drive_seg.core.points import Points
from drive_seg.core.scan import Scan


def warm_up(*, compressed: bool = True, progressive: bool = True, several: bool = True) -> None:
    """Run every compiled function of the outputs once, on a tiny image; where Numba's cache has them it is quick.

    compressed: also what checks JPEGs. progressive: and such ones, which hardly a camera sends and which take as long
    to compile as much of the rest; a node at its first start leaves that to the first such frame. several: also what
    joins several cameras.
    """
    height, width = 48, 64
    image, road = np.zeros((height, width, 3), np.uint8), np.ones((height, width), np.uint8)
    draw_overlay(image, road, road)
    for kind in range(compressed + (compressed and progressive)):
        Frame.from_compressed(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_PROGRESSIVE, kind))[1])
    camera = Camera((height, width), np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]]), np.empty(0))
    view = GroundView(camera, CameraPose.mounted(1.5, 0.3), max_pixel_length=5.0)
    sight = view.see(road, road)
    grid = Grid(view, GridShape(0.5, 0.0, 10.0, -5.0, 5.0))
    grid.fill(sight)
    if several:
        around = Around({"": view}, {"": grid}, increment=0.1)
        around.scan({"": around.look("", sight)})
    Scan(view).ranges(sight)
    Points(view).cloud(road, sight)
