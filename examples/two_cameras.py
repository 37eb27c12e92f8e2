"""Two cameras of a vehicle on one network, and the ground that they see together, from above.

    python examples/two_cameras.py front.jpg left.jpg ground.png
"""

import sys

import cv2
import numpy as np

from drive_seg.core.around import Around
from drive_seg.core.camera import Camera
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundView
from drive_seg.core.overlay import draw_grid
from drive_seg.pipeline import Model, Pipeline
from drive_seg.settings import Settings

POSES = {"front": CameraPose.mounted(1.5, pitch=0.2, x=1.8),  # metres and radians, in base_link
         "left": CameraPose.mounted(1.3, pitch=0.4, yaw=np.radians(60), y=0.8)}
SHAPE = GridShape(0.1, back=-5.0, front=15.0, right=-10.0, left=15.0)

settings = Settings()
with Model.open(settings) as model:
    views, sights = {}, {}
    for (name, pose), path in zip(POSES.items(), sys.argv[1:3], strict=True):
        image = cv2.imread(path)
        height, width = image.shape[:2]
        matrix = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])  # calibrate yours
        views[name] = GroundView(Camera((height, width), matrix, []), pose, max_pixel_length=1.0)
        result = Pipeline(settings, model).segment(image)
        sights[name] = views[name].see(result.labels, result.drivable)

around = Around(views, {name: Grid(view, SHAPE) for name, view in views.items()})
looks = {name: around.look(name, sight) for name, sight in sights.items()}
cells = around.grid(looks)
ranges, far = around.scan(looks)
print(f"{np.mean(cells >= 0):.0%} of the grid is known, {np.isfinite(ranges).sum()} of {len(ranges)} rays meet"
      f" something within {far:.1f} m")
cv2.imwrite(sys.argv[3], draw_grid(cells))
