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


def warm_up(*, rare: bool = False) -> None:
    """Run every compiled function of the outputs once, on a tiny image; where Numba's cache has them it is quick.

    rare: also what checks progressive JPEGs, which hardly a camera sends and which takes as long to compile as much of
    the rest; a node at its first start leaves it to the first such frame.
    """
    height, width = 48, 64
    image, road = np.zeros((height, width, 3), np.uint8), np.ones((height, width), np.uint8)
    draw_overlay(image, road, road)
    for progressive in (0, 1) if rare else (0,):
        Frame.from_compressed(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_PROGRESSIVE, progressive))[1])
    camera = Camera((height, width), np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]]), np.empty(0))
    view = GroundView(camera, CameraPose.mounted(1.5, 0.3), max_pixel_length=5.0)
    sight = view.see(road, road)
    grid = Grid(view, GridShape(0.5, 0.0, 10.0, -5.0, 5.0))
    grid.fill(sight)
    around = Around({"": view}, {"": grid}, increment=0.1)
    around.scan({"": around.look("", sight)})
    Scan(view).ranges(sight)
    Points(view).cloud(road, sight)
