import cv2
import numpy as np
import pytest

from drive_seg.core.classes import UNKNOWN
from drive_seg.core.frame import Frame
from drive_seg.core.surface import CELLS, SurfaceRule, distrust, strange_surface

SIZE = (352, 480)
ROAD = (95, 95, 98)


def street(objects=()):
    """Grainy road below a sky; objects (x, y, side, BGR)."""
    random = np.random.default_rng(3)
    image = np.full((*SIZE, 3), (230, 190, 160), np.uint8)
    image[140:] = ROAD
    for x, y, side, colour in objects:
        image[y:y + side, x:x + side] = colour
    image = np.clip(image + random.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    labels = np.zeros(SIZE, np.uint8)
    labels[140:] = 1
    return Frame.from_array(image), labels


@pytest.mark.parametrize("colour", [(40, 40, 190), (60, 150, 60), (20, 20, 20), (230, 230, 230)])
def test_a_thing_of_another_look_becomes_unknown(colour):
    frame, labels = street([(200, 240, 48, colour)])
    distrust(frame, labels, SurfaceRule(4.0))
    inside = labels[250:280, 210:240]
    assert (inside == UNKNOWN).mean() > 0.95
    labels[232:296, 192:256] = 1  # the object and the cells at its edge
    assert (labels[140:] == UNKNOWN).mean() < 0.01


def test_plain_road_stays_road_whatever_its_light():
    for gain in (0.4, 1.0, 2.0):
        frame, labels = street()
        light = np.clip(frame.data * (gain * np.linspace(0.8, 1.2, SIZE[1])[:, None]), 0, 255).astype(np.uint8)
        distrust(Frame.from_array(light), labels, SurfaceRule(5.0))
        assert (labels[140:] == UNKNOWN).mean() < 0.01


def test_only_road_is_judged():
    frame, labels = street([(200, 240, 48, (40, 40, 190))])
    labels[240:288, 200:248] = 3
    before = labels.copy()
    distrust(frame, labels, SurfaceRule(4.0))
    other = before != 1
    assert np.array_equal(labels[other], before[other])
    strange = strange_surface(frame, before)
    assert strange.shape == CELLS and not strange[:17].any()


def test_labels_may_have_another_size_than_the_frame():
    frame, labels = street([(200, 240, 48, (40, 40, 190))])
    large = cv2.resize(labels, (1280, 720), interpolation=cv2.INTER_NEAREST)
    distrust(frame, large, SurfaceRule(4.0))
    assert large[240 * 720 // 352 + 40, 200 * 1280 // 480 + 40] == UNKNOWN


def test_a_frame_without_road_is_left_alone():
    frame, labels = street()
    labels[:] = 0
    distrust(frame, labels, SurfaceRule(1e-3))
    assert not labels.any()


def test_a_limit_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        SurfaceRule(0.0)
