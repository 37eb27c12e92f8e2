"""A camera that OpenCV refuses takes a replay's ground outputs, nothing else."""

from types import SimpleNamespace

import cv2
import pytest

from drive_seg.core.ground import CameraPose
from drive_seg.core.mounted import Mount
from drive_seg.outputs.ground import GROUND_ERRORS, CameraState, GroundTables
from drive_seg.replay.messages import BAG


def test_a_camera_that_opencv_refuses_is_a_known_error(monkeypatch):
    def refuse(*_):
        raise cv2.error("OpenCV: Overload resolution failed")

    for name in ("undistortPoints", "undistortPointsIter"):  # OpenCV 5 and 4
        monkeypatch.setattr(cv2, name, refuse, raising=False)
    nothing = SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0)
    info = SimpleNamespace(header=SimpleNamespace(frame_id="camera"), height=120, width=200,
                           distortion_model="plumb_bob", d=[-0.2, 0.05, 0.0, 0.0, 0.0],
                           k=[150.0, 0.0, 99.5, 0.0, 150.0, 59.5, 0.0, 0.0, 1.0], r=[0.0] * 9, p=[0.0] * 12,
                           binning_x=0, binning_y=0, roi=nothing)
    ground = GroundTables(BAG, Mount(1.5))
    for _ in range(2):
        with pytest.raises(GROUND_ERRORS, match="refuses this camera"):
            ground.find(CameraState(info, "camera", CameraPose.mounted(1.5)), (120, 200), (120, 200))
