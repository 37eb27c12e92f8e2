"""Three cameras cut from a wide one: what they show of the ground is where their intrinsics and poses say."""

import numpy as np
import pytest

from drive_seg.core.camera import Camera
from drive_seg.core.ground import CameraPose
from drive_seg.sources.clip import CLIPS
from drive_seg.sources.frame_source import Mounting
from drive_seg.sources.views import SIZE, is_views, views_of

CAMERA = CLIPS["motorway"].camera
MOUNTING = Mounting(1.2, -0.03, 0.02)


def camera_of(intrinsics):
    return Camera((intrinsics.height, intrinsics.width), np.reshape(intrinsics.matrix, (3, 3)),
                  np.array(intrinsics.distortion), intrinsics.model)


def seen(points, camera, pose):
    """(N, 2) pixels of points of base_link."""
    return camera.project((points - pose.translation) @ pose.rotation)


@pytest.fixture(scope="module")
def views():
    return views_of(CAMERA, MOUNTING)


def test_a_point_of_the_ground_is_the_same_picture_in_both(views):
    points = np.array([(x, y, 0.0) for x in (8, 12, 20) for y in (-4.0, -1, 0, 1, 4)])
    wide = seen(points, camera_of(CAMERA), CameraPose.mounted(MOUNTING.height, MOUNTING.pitch, MOUNTING.roll))
    counts = {}
    for view in views:
        pose = CameraPose.mounted(MOUNTING.height, MOUNTING.pitch, MOUNTING.roll, view.yaw)
        pixels = seen(points, camera_of(view.camera), pose)
        whole = np.round(pixels).astype(int)
        inside = ((whole >= 1) & (whole < (SIZE[1] - 1, SIZE[0] - 1))).all(1)
        rows, columns = whole[inside, 1], whole[inside, 0]
        # From the nearest whole pixel on along the map's own slope to the point itself.
        for place, axis in ((view.x, 0), (view.y, 1)):
            down, across = np.gradient(place)
            offset = pixels[inside] - whole[inside]
            found = place[rows, columns] + across[rows, columns] * offset[:, 0] + down[rows, columns] * offset[:, 1]
            assert np.abs(found - wide[inside, axis]).max() < 0.05
        counts[view.name] = int(inside.sum())
    assert min(counts.values()) >= 5 and [view.name for view in views] == ["left", "front", "right"]
    assert views[0].yaw > views[1].yaw == 0 > views[2].yaw, "left is to the left"


def test_they_lie_within_the_wide_frame_and_overlap(views):
    for view in views_of(CAMERA, Mounting(1.19, -0.031)):
        assert view.x.min() >= 0 and view.x.max() <= CAMERA.width - 1
        assert view.y.min() >= 0 and view.y.max() <= CAMERA.height - 1
    left, front, right = views
    assert left.x.max() > front.x.min() + 200 and front.x.max() > right.x.min() + 200


def test_cutting_moves_pixels_and_masks_alike(views):
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    image[400:500, 600:700] = 200
    mask = image[:, :, 0].copy()
    for view in views:
        inside = (view.x > 601) & (view.x < 698) & (view.y > 401) & (view.y < 498)
        outside = (view.x < 598) | (view.x > 701) | (view.y < 398) | (view.y > 501)
        cut, cut_mask = view.cut(image), view.cut_mask(mask)
        assert (cut[inside] == 200).all() and (cut[outside] == 0).all() and inside.any()
        assert (cut_mask[inside] == 200).all() and (cut_mask[outside] == 0).all()


def test_names():
    assert is_views("views") and is_views("views:forest") and not is_views("views.mp4") and not is_views("clip:forest")
