"""A covered lens, short: two drives, each shape once; `python -m drive_seg.evaluation.covered` plays all of them."""

import cv2
import numpy as np
import pytest

from drive_seg.core.frame import Frame
from drive_seg.core.health.camera import CameraHealth, CameraLimits
from drive_seg.core.health.failures import Failures
from drive_seg.core.health.lens import look
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.status import Health, Level, Status
from drive_seg.evaluation.covered import SHAPES, play
from drive_seg.sources.clip import CLIPS


@pytest.fixture(scope="module")
def hills(clips):
    """Five seconds of an almost empty motorway under a blue sky, 25 Hz: hardly anything moves in it."""
    video = cv2.VideoCapture(str(clips / CLIPS["hills"].file))
    return [video.read()[1] for _ in range(127)]


@pytest.fixture(scope="module")
def small_hills(clips):
    """The first 300 frames of the same drive, 320x180."""
    video = cv2.VideoCapture(str(clips / CLIPS["hills"].file))
    return [cv2.resize(video.read()[1], (320, 180), interpolation=cv2.INTER_AREA) for _ in range(300)]


LOOKS = [("dark", "uniform"), ("mid", "grain"), ("bright", "uniform"), ("mid", "blotches")]


@pytest.mark.parametrize("rate", [None, 1.0])
@pytest.mark.parametrize(("shape", "fill"), [(s, LOOKS[i % 4]) for i, s in enumerate(SHAPES)])
def test_a_cover_is_a_fault_within_two_seconds(hills, shape, fill, rate):
    after, early = play(hills, 25.0, rate, shape, *fill)
    assert after is not None and after <= 2.0 and not early


def test_the_lower_half_of_any_grey(hills):
    for level in ("dark", "mid", "bright"):
        assert play(hills, 25.0, 1.0, "lower half", level, "uniform")[0] is not None


@pytest.mark.parametrize("rate", [None, 1.0])
def test_a_cover_whose_rim_looks_like_the_sky_behind_it(clips, rate):
    """Half-covered cells stand still as well where the sky does, and are darker: all of it varies as clouds do."""
    video = cv2.VideoCapture(str(clips / CLIPS["traffic"].file))
    after, early = play([video.read()[1] for _ in range(102)], 25.0, rate, "band across, high", "bright", "blotches")
    assert after is not None and after <= 2.0 and not early


def alarms(images, rate=25.0, ego=None):
    health, found = CameraHealth(ego=ego), []
    for number, image in enumerate(images):
        now = number / rate
        health.received(now)
        health.observe(Frame.from_array(image), now, now)
        found.append(health.status(now))
    return found


def test_a_cover_stands_until_moving_pictures_are_without_it(hills):
    """The same picture again says nothing new about the lens, however often it comes."""
    covered = [image.copy() for image in hills[:50]]
    for image in covered:
        image[len(image) // 2:] = 120
    health, number, levels = CameraHealth(CameraLimits(frozen=0.0)), 0, []
    for part in (covered, [hills[50]] * 100, hills[50:100]):
        for image in part:
            number += 1
            health.received(number / 25)
            health.observe(Frame.from_array(image), number / 25, number / 25)
        levels.append(health.status(number / 25).level)
    assert levels == [Level.ERROR, Level.ERROR, Level.OK]


@pytest.mark.parametrize("slower", [2, 3, 5])
@pytest.mark.parametrize("rate", [None, 1.0])
def test_slow_motion_is_not_a_cover(small_hills, slower, rate):
    """In a small image the road shows no texture and stays the same for a second at most places."""
    step = 1 if rate is None else round(25 / slower / rate)
    health, statuses = CameraHealth(), []
    for number, image in enumerate(small_hills):
        now = slower * number / 25
        health.received(now)
        if number % step == 0:
            health.observe(Frame.from_array(image), now, now)
        statuses.append(health.status(now))
    assert [s.reason for s in statuses if s.level > Level.OK] == []


def test_a_small_cover_is_found_when_it_has_lasted(hills):
    """6 % of the picture, on the road: not at once, as so much of a road can stand still for a second."""
    seen = [image.copy() for image in (*hills, *hills[-2:0:-1])]
    for image in seen:
        image[330:460, 330:560] = (60, 70, 80)
    statuses = alarms(seen)
    first = next(number for number, status in enumerate(statuses) if status.level == Level.ERROR)
    assert "of the lens seems covered" in statuses[first].reason
    assert first / 25 <= 6.0
    assert statuses[-1].level == Level.ERROR


def bonnet(image, height=0.12):
    out = image.copy()
    out[round(len(out) * (1 - height)):] = (60, 50, 45)
    return out


def test_a_bonnet_without_a_mask_is_no_fault_and_with_one_nothing(hills):
    seen = [bonnet(image) for image in hills]
    statuses = alarms(seen)
    assert max(s.level for s in statuses) == Level.WARN and "ego-mask" in statuses[-1].fix
    ego = np.zeros(hills[0].shape[:2], bool)
    ego[round(len(ego) * 0.88):] = True
    assert max(s.level for s in alarms(seen, ego=ego)) == Level.OK


def test_mud_above_a_masked_bonnet_is_a_fault(hills):
    ego = np.zeros(hills[0].shape[:2], bool)
    ego[round(len(ego) * 0.88):] = True
    seen = [bonnet(image) for image in hills]
    for image in seen:
        cv2.ellipse(image, (500, 380), (200, 90), 0, 0, 360, (50, 60, 70), -1)
    assert alarms(seen, ego=ego)[50].level == Level.ERROR


def test_a_vehicle_that_stands_is_not_covered(hills):
    """The same picture with the grain of a camera, while a car drives by."""
    rng = np.random.default_rng(0)
    still, seen = hills[0].astype(np.int16), []
    for number in range(75):
        image = np.clip(still + rng.normal(0, 2, still.shape), 0, 255).astype(np.uint8)
        left = 9 * number
        image[330:430, left:left + 220] = hills[number][100:200, 300:520]
        seen.append(image)
    statuses = alarms(seen)
    assert max(s.level for s in statuses) == Level.OK
    assert "not known" in statuses[-1].values["blocked"]


def test_too_few_images_say_that_nothing_can_be_told(hills):
    statuses = alarms(hills[::10], rate=0.2)
    assert "too few images" in statuses[-1].reason and statuses[-1].level == Level.WARN
    assert statuses[-1].values["blocked"] == "not known: too few images"
    assert not any("too few" in s.reason for s in alarms(hills[::10], rate=0.5))


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (1000, 2), (2, 1000), (3, 5), (54, 96)])
def test_an_image_of_any_shape_can_be_looked_at(size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    seen = look(Frame.from_array(image))
    assert np.isfinite(seen.mean) and seen.thumb.shape == (72, 128)
    monitor = Monitor(now=0.0)
    for number in range(30):
        monitor.received(number / 10)
        monitor.arrived(Frame.from_array(np.roll(image, number, axis=0)), number / 10, number / 10)
        monitor.state(number / 10)


def test_a_failure_stands_until_a_frame_succeeds():
    """At one frame in two seconds: no READY between faults."""
    failures, well = Failures("engine"), Status("engine")
    failures.succeeded()
    for number in range(4):
        failures.failed("out of memory", "free some", 2.0 * number)
        levels = {failures.added_to(well, 2.0 * number + later).level for later in (0.1, 0.9, 1.1, 1.9)}
        assert levels == {Level.WARN if number == 0 else Level.ERROR}
    failures.succeeded()
    assert failures.added_to(well, 6.5).level == Level.WARN, "statuses for a second"
    assert failures.added_to(well, 7.1).level == Level.OK


def test_ground_that_fails_on_every_frame_stands_and_ends_with_a_frame_that_has_it(hills):
    from drive_seg.core.segmentation import Segmentation

    monitor, labels = Monitor(now=0.0), np.ones((72, 128), np.uint8)
    result = Segmentation(labels, labels, labels, np.full_like(labels, 255), {})
    said = []
    for number in range(10):
        now = 2.0 * number
        monitor.received(now)
        monitor.arrived(Frame.from_array(hills[8 * number]), now, now)
        if number < 5:
            monitor.failed("geometry", "no grid", "set camera_height", now)
        monitor.finished(result, 0.03, 0, now)
        said.append(any("no grid" in reason for reason in monitor.state(now + 1.5)[1]))
    assert said == [True] * 6 + [False] * 4, "the frame after the first good one knows"
    assert monitor.state(18.0)[0] is not Health.FAULT
