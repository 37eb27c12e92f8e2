"""The vehicle itself on real drives: where a bonnet is seen, where one is painted in, and where there is none."""

import cv2
import numpy as np
import pytest

from drive_seg.core.ego import LEAST_FRAMES, EgoError, EgoFinder
from drive_seg.sources.clip import CLIPS, ClipSource


def frames(clips, name, count, step=6):
    video = cv2.VideoCapture(str(clips / CLIPS[name].file))
    for number in range(count * step):
        if not video.grab():
            return
        if number % step == 0:
            yield video.retrieve()[1]


@pytest.fixture(scope="module")
def bridge(clips):
    """All of a drive with a bonnet that mirrors the world, every sixth frame."""
    return list(frames(clips, "bridge", 42))


def with_bonnet(image):
    """A bonnet of one colour, and the recorder's text."""
    out, (height, width) = image.copy(), image.shape[:2]
    outline = [(0, height), (0, int(height * 0.86)), (width // 2, int(height * 0.8)), (width, int(height * 0.85)),
               (width, height)]
    cv2.fillPoly(out, [np.array(outline, np.int32)], (60, 50, 45))
    cv2.putText(out, "CAM1 12:00", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
    return out, outline


def test_a_bonnet_that_mirrors_the_world_is_found(bridge):
    finder = EgoFinder()
    for image in bridge:
        finder.add(image)
    ego, truth = finder.find(), ClipSource("bridge").ego_mask > 0
    mask = ego.mask > 0
    assert ego.found == ("bonnet or bumper",) and ego.mask.shape == truth.shape
    assert (mask & truth).sum() >= 0.93 * truth.sum(), "next to all of it"
    assert (mask & ~truth).mean() < 0.02


def test_a_painted_bonnet_and_text_are_found_and_nothing_where_there_is_none(clips):
    plain, painted = EgoFinder(), EgoFinder()
    for image in frames(clips, "hills", 85):
        plain.add(image)
        dressed, outline = with_bonnet(image)
        painted.add(dressed)
    assert plain.find().found == () and not plain.find().mask.any()
    ego = painted.find()
    truth = np.zeros(ego.mask.shape, np.uint8)
    cv2.fillPoly(truth, [np.array(outline, np.int32)], 255)
    assert ego.found == ("bonnet or bumper", "logo or text")
    assert (ego.mask[truth > 0] > 0).mean() > 0.98
    assert (ego.mask[15:40, 25:180] > 0).mean() > 0.8, "the text"
    assert (ego.mask[(truth == 0)] > 0).mean() < 0.05, "the text, and a margin"


def test_mud_in_the_middle_of_the_picture_is_not_the_vehicle(bridge):
    finder = EgoFinder()
    for image in bridge:
        dirty = image.copy()
        cv2.ellipse(dirty, (640, 380), (250, 200), 0, 0, 360, (40, 60, 70), -1)
        finder.add(dirty)
    mask = finder.find().mask > 0
    assert not mask[200:560].any()


def test_footage_that_does_not_move_says_so(clips):
    image = next(frames(clips, "hills", 1))
    finder = EgoFinder()
    assert [finder.add(image) for _ in range(30)] == [True] + [False] * 29
    with pytest.raises(EgoError, match="does not move enough") as error:
        finder.find()
    assert "drive of a minute" in error.value.fix
    with pytest.raises(EgoError, match="change from 960x540 to 480x270"):
        finder.add(image[::2, ::2])


def test_footage_of_which_only_a_part_moves_says_so():
    finder, rng = EgoFinder(), np.random.default_rng(0)
    for _ in range(LEAST_FRAMES + 5):
        image = np.full((180, 320, 3), 90, np.uint8)
        image[:50] = rng.integers(0, 255, (50, 320, 3))
        finder.add(image)
    with pytest.raises(EgoError, match="of the picture changes"):
        finder.find()
