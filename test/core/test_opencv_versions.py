"""OpenCV 4, as robots have it, and OpenCV 5, as pip brings it, name the inverse of a lens differently."""

import cv2
import numpy as np
import pytest

from drive_seg.core.camera import Camera

K = np.array([[600.0, 0, 330], [0, 610.0, 230], [0, 0, 1]])


@pytest.mark.parametrize("version", [4, 5])
def test_rays_come_from_the_function_that_this_opencv_has(version, monkeypatch):
    """In OpenCV 4 it is undistortPointsIter that takes criteria, in 5 undistortPoints, and the other is not there."""
    inverse = getattr(cv2, "undistortPointsIter", None) or (
        lambda pixels, K, D, R, P, criteria: new(pixels, K, D, criteria=criteria))
    new = cv2.undistortPoints
    asked = []

    def four(pixels, K, D, R, P, criteria):
        asked.append(4)
        return inverse(pixels, K, D, R, P, criteria)

    def five(pixels, K, D, *, criteria):
        asked.append(5)
        return inverse(pixels, K, D, None, None, criteria)

    def without_criteria(pixels, K, D, dst=None, R=None, P=None):
        raise AssertionError("five iterations are too few")

    if version == 4:
        monkeypatch.setattr(cv2, "undistortPointsIter", four, raising=False)
        monkeypatch.setattr(cv2, "undistortPoints", without_criteria)
    else:
        monkeypatch.delattr(cv2, "undistortPointsIter", raising=False)
        monkeypatch.setattr(cv2, "undistortPoints", five)
    camera = Camera((480, 640), K, [-0.25, 0.06, 0.001, -0.0007, -0.005])
    pixels = np.array([[5.0, 7.0], [600.0, 400.0]])
    assert camera.project(camera.rays(pixels)) == pytest.approx(pixels, abs=1e-3) and asked == [version]
