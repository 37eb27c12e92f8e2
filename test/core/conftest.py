"""Synthetic street scenes with known metric answers, rendered by ray casting with OpenCV's own lens functions."""

import functools
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

ROAD, PAVEMENT, OBSTACLE, UNKNOWN = 1, 2, 3, 255


@dataclass
class Scene:
    """Flat ground at z = 0: road with pavement left of `kerb` metres; boxes (x0, x1, y0, y1, height, label)."""

    kerb: float = np.inf
    boxes: list = field(default_factory=list)

    def ground(self, x, y):
        return np.where(y >= self.kerb, PAVEMENT, ROAD).astype(np.uint8)


@functools.cache
def opencv_rays(size, K, D, model):
    """Unit rays in the optical frame by OpenCV, independent of the code under test."""
    K = np.array(K)
    v, u = np.mgrid[:size[0], :size[1]].astype(np.float64)
    pixels = np.stack([u, v], -1).reshape(-1, 1, 2)
    if model == "equidistant":
        flat = cv2.fisheye.undistortPoints(pixels, K, np.asarray(D, np.float64))
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
        D = np.asarray(D, np.float64)
        if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
            flat = cv2.undistortPointsIter(pixels, K, D, None, None, criteria)
        else:
            flat = cv2.undistortPoints(pixels, K, D, criteria=criteria)
    rays = np.concatenate([flat[:, 0], np.ones((len(pixels), 1))], 1)
    return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).reshape(*size, 3)


def render(scene, size, K, D, model, rotation, translation):
    """(labels, depth along the ray) of a scene: background 0 above the horizon, nearest surface else."""
    rays = (rotation @ opencv_rays(size, tuple(map(tuple, K)), tuple(D), model).reshape(-1, 3).T).reshape(3, *size)
    origin = np.asarray(translation, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        nearest = np.where(rays[2] < 0, -origin[2] / rays[2], np.inf)
        ground = scene.ground(origin[0] + nearest * rays[0], origin[1] + nearest * rays[1])
        labels = np.where(np.isfinite(nearest), ground, 0).astype(np.uint8)
        for x0, x1, y0, y1, height, label in scene.boxes:
            low = (np.array([x0, y0, 0.0]) - origin)[:, None, None] / rays
            high = (np.array([x1, y1, height]) - origin)[:, None, None] / rays
            enter = np.minimum(low, high).max(axis=0)
            leave = np.maximum(low, high).min(axis=0)
            struck = (enter < leave) & (enter > 0) & (enter < nearest)
            nearest = np.where(struck, enter, nearest)
            labels[struck] = label
    return labels, nearest


@pytest.fixture
def make_scene():
    return Scene


@pytest.fixture
def render_scene():
    return render
