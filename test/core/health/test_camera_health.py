"""Faults injected into real frames: each is found, within a stated time, and clean footage gives no alarm.

pytest -rP shows the times. They are the README's.
"""

import functools

import cv2
import numpy as np
import pytest

from drive_seg.core.frame import Frame
from drive_seg.core.health.camera import CameraHealth
from drive_seg.core.health.lens import look
from drive_seg.core.health.status import Level
from drive_seg.sources.clip import CLIPS

FPS = 25.0
FAULT_AT = 3.0


@functools.cache
def grain(shape):
    return np.random.default_rng(0).integers(0, 3, shape, np.uint8)


def noise(image):
    return grain(image.shape)


def misted(image):
    """Nothing but a slow change of grey, as through frosted glass."""
    few = cv2.resize(image, (4, 3), interpolation=cv2.INTER_AREA) // 16 + 60
    return cv2.resize(few, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def defocused(image):
    few = cv2.resize(image, (16, 9), interpolation=cv2.INTER_AREA)
    return cv2.resize(few, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def half_covered(image):
    out = image.copy()
    out[:, :640] = (30, 40, 45) + noise(out[:, :640]) // 2
    return out


FAULTS = {  # what the fault does to the frames after FAULT_AT; level; words; most seconds until it is reported
    "frozen": (lambda frames, i: frames[int(FAULT_AT * FPS)], Level.ERROR, "stands still, byte for byte", 1.1),
    "black": (lambda frames, i: np.zeros_like(frames[i]) + noise(frames[i]), Level.ERROR, "black", 0.3),
    "white": (lambda frames, i: np.full_like(frames[i], 255) - noise(frames[i]), Level.ERROR, "full brightness", 0.3),
    "grey": (lambda frames, i: misted(frames[i]), Level.ERROR, "shows nothing", 0.3),
    "blurred": (lambda frames, i: cv2.GaussianBlur(frames[i], (0, 0), 4), Level.WARN, "blurred", 0.3),
    "noise": (lambda frames, i: np.random.default_rng(i).integers(0, 256, frames[i].shape, np.uint8), Level.ERROR,
              "nothing but noise", 0.3),
    "heavily blurred": (lambda frames, i: defocused(frames[i]), Level.WARN, "blurred", 0.3),
    "half covered": (lambda frames, i: half_covered(frames[i]), Level.ERROR, "of the lens seems covered", 2.0),
}


def show(health, image, stamp, now):
    """A frame arrives and is looked at."""
    health.received(now)
    health.observe(Frame.from_array(image), stamp, now)


def play(health, images, start=0.0):
    """Feed frames at FPS; (time, status) after each."""
    out = []
    for i, image in enumerate(images):
        now = start + i / FPS
        show(health, image, now, now)
        out.append((now, health.status(now)))
    return out


@pytest.fixture(scope="module", params=CLIPS)
def watched(request, clips):
    """One of the six drives, all of it: the alarms, and every 30th frame."""
    video = cv2.VideoCapture(str(clips / CLIPS[request.param].file))
    health, reported, stills, number, rate = CameraHealth(), [], [], 0, video.get(cv2.CAP_PROP_FPS)
    while (read := video.read())[0]:
        now = number / rate
        show(health, read[1], now, now)
        status = health.status(now)
        reported += [(now, status.message)] if status.level else []
        number += 1
        stills += [] if number % 30 else [read[1]]
    assert number > 200
    return reported, stills


def test_no_real_drive_gives_an_alarm(watched):
    """Glare, reflections, shadows, darkness under a bridge."""
    reported, _ = watched
    assert not reported


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_in_time_and_taken_back(drive, name):
    change, level, words, limit = FAULTS[name]
    first = int(FAULT_AT * FPS)
    images = [image if i < first else change(drive, i) for i, image in enumerate(drive[:130])]
    health = CameraHealth()
    reported = play(health, images)
    assert not any(s.level for t, s in reported if t < FAULT_AT)
    found = [t - FAULT_AT for t, s in reported if s.level >= level and words in s.reason]
    assert found and found[0] <= limit, reported[-1]
    print(f"{name}: {level.name} after {found[0]:.2f} s (at most {limit:g} s)")
    assert reported[-1][1].fix
    after = play(health, drive, start=130 / FPS)
    assert after[-1][1].level == Level.OK


@pytest.mark.parametrize("size", [(180, 320), (480, 640), (1080, 1920)])
@pytest.mark.parametrize("compressed", [False, True])
def test_noise_of_any_size_is_noise(size, compressed):
    health = CameraHealth()
    for number in range(9):
        image = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        if compressed:
            image = cv2.imdecode(cv2.imencode(".jpg", image)[1], cv2.IMREAD_COLOR)
        show(health, image, number / FPS, number / FPS)
    status = health.status(8 / FPS)
    assert status.level == Level.ERROR and "nothing but noise" in status.reason


@functools.cache
def normal(shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_night_and_grain_are_not_noise(watched):
    """As it is with grain of 40 levels, and at an eighth of its brightness with grain of 8. Each picture by itself, so
    that the grain may be the same in all."""
    least = CameraHealth().limits.structure
    for number, still in enumerate(watched[1]):
        for size in (still.shape[:2], (180, 320)):
            small = cv2.resize(still.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
            for gain, grain_ in ((1.0, 40), (0.125, 8)):
                seen = np.clip(gain * small + grain_ * normal(small.shape), 0, 255).astype(np.uint8)
                assert look(Frame.from_array(seen)).structure > least, (number, size, gain)


def test_silence_is_stale():
    health = CameraHealth(start=10.0)
    waiting = health.status(11.9)
    assert waiting.level == Level.WARN and waiting.reason == "no image yet"
    silent = health.status(12.1)
    assert silent.level == Level.STALE and "no image for 2.1 s" in silent.reason and "remapping" in silent.fix


def test_a_clock_that_stands_still_while_images_come_is_an_error(drive):
    """As with use_sim_time and no /clock, where nothing that lasts could be found."""
    for now in (0.0, 1.7e9):
        health = CameraHealth(start=now or None)
        for number in range(30):
            show(health, drive[0], number / 30, now)
        stopped = health.status(now)
        assert stopped.level == Level.ERROR and "the clock stands still" in stopped.reason
        assert "use_sim_time" in stopped.fix
        show(health, drive[1], 1.1, now + 0.1)
        assert health.status(now + 0.1).level == Level.OK, "it moves again"


def test_a_stall_is_reported_and_ends_with_the_next_image(drive):
    health = CameraHealth()
    play(health, drive[:30])
    assert health.status(1.2 + 1.9).level < Level.STALE
    assert health.status(1.2 + 2.1).level == Level.STALE
    play(health, drive[30:60], start=6.0)
    assert health.status(7.2).level == Level.OK


def test_a_camera_that_slows_down_is_reported(drive):
    health = CameraHealth()
    play(health, drive[:75])
    reported = []
    for i, image in enumerate(drive[75:105]):
        now = 3.0 + i * 0.1
        show(health, image, now, now)
        reported += [(now - 3.0, health.status(now))] if health.status(now).level else []
    after, slow = reported[0]
    print(f"10 of 25 images a second: {slow.level.name} after {after:.2f} s (at most 2 s)")
    assert after <= 2.0 and slow.level == Level.WARN and "instead of 25" in slow.reason


def test_a_machine_that_manages_fewer_images_makes_no_camera_slow(drive):
    """60 images a second arrive; the network has no rival for two seconds, and then time for 25 of them."""
    health, looked_at = CameraHealth(), 0
    for i in range(360):
        now = i / 60
        health.received(now)
        if now < 2.0 or (now - 2.0) * 25 >= looked_at:
            health.observe(Frame.from_array(drive[i % len(drive)]), now, now)
            looked_at += now >= 2.0
        assert health.status(now).level == Level.OK, health.status(now)
    assert 95 <= looked_at <= 105 and health.rate(now) == pytest.approx(60, rel=0.05)


def test_images_that_nobody_has_time_for_are_no_silence(drive):
    health = CameraHealth()
    play(health, drive[:75])
    for i in range(75):  # an engine that stalls for three seconds
        health.received(3.0 + i / FPS)
    assert health.status(6.0).level == Level.OK, health.status(6.0)


def test_time_that_jumps_back_is_reported_at_once_and_forgotten(drive):
    health = CameraHealth()
    play(health, drive[:75])
    show(health, drive[0], 0.0, 3.0)
    assert health.jumped
    status = health.status(3.0)
    assert status.level == Level.WARN and "jumped back by 2.96 s" in status.reason
    for i, image in enumerate(drive[1:40], 1):
        show(health, image, i / FPS, 3.0 + i / FPS)
        assert not health.jumped
    assert health.status(3.0 + i / FPS).level == Level.OK


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2)], ids=["late stamps", "late stamps and sizes by turns"])
def test_stamps_that_are_often_a_little_late_hide_no_black_image(drive, sizes):
    health = CameraHealth()
    for i in range(60):
        now, step = i / FPS, sizes[i % 2]
        black = np.zeros_like(drive[i]) + noise(drive[i])
        show(health, black[::step, ::step].copy(), now - (0.047 if i % 5 == 4 else 0.0), now)
    assert health.status(now).level == Level.ERROR and "black" in health.status(now).reason


def test_a_change_of_resolution_is_reported(drive):
    health = CameraHealth()
    play(health, drive[:30])
    show(health, drive[30][::2, ::2].copy(), 1.2, 1.2)
    assert "from 1280x720 to 640x360" in health.status(1.2).reason


def test_the_vehicle_itself_is_not_taken_for_dirt(drive):
    covered = [half_covered(image) for image in drive[:75]]
    ego = np.zeros((720, 1280), bool)
    ego[:, :640] = True
    assert play(CameraHealth(ego=ego), covered)[-1][1].level == Level.OK


@pytest.mark.parametrize("encoding, convert", [
    ("mono8", lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)),
    ("bgra8", lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)),
])
def test_other_encodings_look_alike(drive, encoding, convert):
    expected, seen = (look(Frame.from_array(image, name)) for image, name in
                      ((drive[0], "bgr8"), (convert(drive[0]), encoding)))
    assert seen.mean == pytest.approx(expected.mean, abs=6)
    assert seen.sharpness == pytest.approx(expected.sharpness, abs=0.05)


def test_yuv_and_bayer_bytes_are_read_as_brightness():
    # Brightness rises to the right; the colour bytes are constant.
    ramp = np.tile(np.linspace(20, 220, 128).astype(np.uint8), (72, 1))
    uyvy = np.full((72, 128, 2), 128, np.uint8)
    uyvy[..., 1] = ramp
    nv12 = np.concatenate([ramp, np.full((36, 128), 128, np.uint8)])
    frames = [Frame.from_array(ramp, "mono8"), Frame.from_bytes(uyvy.tobytes(), "uyvy", 72, 128, 256),
              Frame.from_bytes(nv12.tobytes(), "nv12", 72, 128, 128)]
    assert [look(f).mean for f in frames] == pytest.approx([look(frames[0]).mean] * 3)
