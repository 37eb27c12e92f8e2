import itertools

import numpy as np
import pytest

from drive_seg.core.frame import Frame
from drive_seg.core.health.latency import LatencyHealth
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.network import NetworkHealth, Typical
from drive_seg.core.health.output import OutputHealth
from drive_seg.core.health.status import Health, Level, Status, summarise, worst
from drive_seg.core.segmentation import Segmentation


@pytest.mark.parametrize("levels, expected", [
    ([], Health.READY),
    ([Level.OK, Level.OK], Health.READY),
    ([Level.OK, Level.WARN], Health.DEGRADED),
    ([Level.WARN, Level.ERROR], Health.FAULT),
    ([Level.STALE], Health.FAULT),
])
def test_the_gravest_status_decides(levels, expected):
    state, reasons = summarise([Status(str(i), level, "bad") for i, level in enumerate(levels)])
    assert state == expected
    assert len(reasons) == sum(level > Level.OK for level in levels)


def test_the_gravest_finding_leads_with_its_fix():
    status = worst("camera", [Status("a", Level.WARN, "dim", "lamp"), Status("b", Level.ERROR, "black", "uncover")])
    assert (status.level, status.message) == (Level.ERROR, "black (also dim): uncover")
    assert worst("camera", [Status("a")]).message == "ok"


def test_latency_is_measured_against_its_budget():
    health = LatencyHealth(budget=0.05)
    for i in range(100):
        health.observe(0.03, 0, i * 0.04)
    fine = health.status(4.0)
    assert fine.level == Level.OK and fine.values["p50"] == "30.0 ms" and health.over_budget_for(4.0) == 0
    for i in range(50):
        health.observe(0.08, 0, 4.0 + i * 0.04)
    late = health.status(6.0)
    assert late.level == Level.WARN and "33% of the frames took longer than 50 ms" in late.reason
    assert health.over_budget_for(6.0) == pytest.approx(2.0)
    health.observe(0.04, 0, 6.0)
    assert health.over_budget_for(6.0) == 0


def test_two_late_frames_with_a_pause_between_miss_no_budget_for_long():
    health = LatencyHealth(budget=0.05)
    health.observe(0.2, 0, 1.0)
    health.observe(0.2, 0, 11.0)
    assert health.over_budget_for(11.0) == 0
    for i in range(5):
        health.observe(0.2, 0, 11.2 + i / 5)
    assert health.over_budget_for(12.0) > 0


def test_without_a_budget_only_drops_count():
    health = LatencyHealth()
    for i in range(20):
        health.observe(1.0, 3 * i, i * 0.1)
    assert "57 frames were dropped for 20" in health.status(2.0).reason
    assert health.status(60.0).level == Level.OK  # nothing is known any more


def frames(confidence, unknown):
    labels = np.ones((240, 320), np.uint8)
    labels[:, :round(320 * unknown)] = 255
    return labels, np.full((240, 320), round(confidence * 255), np.uint8)


@pytest.mark.parametrize("confidence, unknown, words", [
    (0.90, 0.02, ""), (0.60, 0.02, "unlike the training data"), (0.90, 0.30, "unlike the training data"),
    (0.90, 0.60, "60% of the image is unknown"),
])
def test_the_network_is_compared_with_its_training_data(confidence, unknown, words):
    health = NetworkHealth(Typical(confidence=(0.92, 0.03), unknown=(0.02, 0.02)))
    for i in range(100):
        health.observe(*frames(confidence, unknown), i * 0.1)
    status = health.status(10.0)
    assert (status.level == Level.OK) == (not words) and words in status.reason


def test_one_odd_frame_is_no_domain_shift():
    health = NetworkHealth(Typical(confidence=(0.92, 0.03), unknown=(0.02, 0.02)))
    for i in range(50):
        health.observe(*frames(0.4 if i == 49 else 0.92, 0.02), i * 0.04)
    assert health.status(2.0).level == Level.OK


def test_flicker_and_missing_road_are_told():
    health = OutputHealth()
    random = np.random.default_rng(0)
    for i in range(60):
        labels = random.integers(0, 2, (240, 320)).astype(np.uint8)
        health.observe(labels, np.where(labels == 1, 255, 0).astype(np.uint8), i * 0.04)
    status = health.status(2.4)
    assert status.level == Level.WARN and "labels change from frame to frame" in status.reason
    health.reset()
    nothing = np.zeros((240, 320), np.uint8)
    for i in range(60):
        health.observe(nothing, nothing, i * 0.04)
    status = health.status(2.4)
    assert "nothing is drivable" in status.reason and status.values["flicker"] == "0.0%"


def test_nothing_is_said_of_drivable_area_that_nobody_asked_for():
    health, labels = OutputHealth(), np.zeros((240, 320), np.uint8)
    for i in range(50):
        health.observe(labels, labels, i * 0.04)
    assert "nothing is drivable" in health.status(2.0).reason
    for i in range(50, 100):
        health.observe(labels, None, i * 0.04)
    assert health.status(4.0).level == Level.OK and "drivable" not in health.status(4.0).values
    health.observe(labels, labels, 4.0)
    assert health.status(4.0).level == Level.OK, "one frame"


def test_a_clock_that_starts_late_is_no_silent_camera():
    """With use_sim_time the time is 0 until /clock comes, and then far from 0 at once."""
    monitor = Monitor(now=None)
    assert monitor.state(0.0)[0] == Health.DEGRADED, "no image yet"
    assert monitor.state(1.7e9)[0] == Health.DEGRADED
    assert monitor.state(1.7e9 + 1)[0] == Health.DEGRADED
    assert monitor.state(1.7e9 + 3)[0] == Health.FAULT, "from then on images are waited for"


def test_frames_that_nobody_looks_at_are_no_jump_in_time():
    monitor = Monitor(now=1.7e9)
    frame = Frame.from_array(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    looked_at = 0
    for i in range(1, 31):
        now = 1.7e9 + i / 30
        monitor.received(now)
        if monitor.idle(now):
            monitor.arrived(frame, now, now)
            looked_at += 1
        assert not any("jumped" in reason for reason in monitor.state(now)[1]), i
    assert 0 < looked_at < 30


def pictures(count):
    random = np.random.default_rng(0)
    return [Frame.from_array(random.integers(0, 255, (72, 128, 3), np.uint8)) for _ in range(count)]


def play(monitor, start, seconds, rate=25, result=None):
    """Frames that move, in the time of the clock; all that health says of them."""
    shown, history = pictures(8), []
    for i in range(round(seconds * rate)):
        now = start + i / rate
        monitor.received(now)
        monitor.arrived(shown[i % 8], now, now)
        if result is not None:
            monitor.finished(result, 0.03, 0, now)
        history.append((now, monitor.state(now)))
    return history


def test_in_a_loop_all_starts_anew():
    """A bag played again and again, with its clock: each time is as the first one was."""
    monitor, result = Monitor(now=0.0, budget=0.05), Segmentation.unknown((72, 128))
    for loop in range(4):
        history = play(monitor, 0.0, 20.0, result=result)
        late = {state for now, state in history if now > 1.5}
        assert not any("images a second" in str(reasons) or "FAULT" in state for _, (state, reasons) in history)
        assert loop == 0 or "time jumped back by 19.96 s" in str(history[0][1])
        assert not any("jumped" in str(reasons) for _, reasons in late)
        values = {s.name: s.values for s in monitor.statuses(20.0)}
        assert values["camera"]["rate"] == "25.0 Hz"
        assert int(values["latency"]["frames"]) == pytest.approx(250, abs=2), "of ten seconds"


def test_a_camera_that_slows_down_in_a_later_loop_is_reported():
    monitor = Monitor(now=0.0)
    for _ in range(3):
        play(monitor, 0.0, 5.0)
    history = [now for now, (_, reasons) in play(monitor, 0.0, 4.0, rate=5) if "instead of 25" in str(reasons)]
    assert history and history[0] <= 2.0


def test_a_camera_that_is_gone_after_a_jump_is_reported():
    monitor = Monitor(now=0.0)
    play(monitor, 100.0, 5.0)
    assert "jumped back" in str(monitor.state(3.0))
    assert monitor.state(4.9)[0] != Health.FAULT
    assert "no image for 2.1 s" in str(monitor.state(5.1))


def test_a_clock_that_ticks_more_rarely_than_images_come_makes_no_camera_slow():
    monitor, shown = Monitor(now=0.0), pictures(8)
    for i in range(150):
        now = 1.0 + i // 3 / 10  # 30 images a second, /clock at 10 Hz
        monitor.received(now)
        monitor.arrived(shown[i % 8], 1.0 + i / 30, now)
        assert monitor.state(now) == (Health.READY, ()), i


def test_a_thread_that_had_to_wait_is_no_jump_of_the_clock():
    monitor = Monitor(now=0.0)
    play(monitor, 0.0, 3.0)
    monitor.received(2.2)
    assert monitor.state(3.0) == (Health.READY, ())


def test_a_frame_follows_on_the_segmented_one_before_it_unless_something_came_between():
    monitor, labels, shown = Monitor(now=0.0), np.zeros((72, 128), np.uint8), itertools.cycle(pictures(8))
    black = Frame.from_array(np.zeros((72, 128, 3), np.uint8))

    def follows(now, frame=None, segmented=True):
        """The result of a frame at a time; None when it is withheld."""
        monitor.received(now)
        if not monitor.arrived(frame or next(shown), now, now):
            return None
        if segmented:
            monitor.finished(Segmentation(labels, labels, labels, labels, {}), 0.1, 0, now + 0.1)
        return monitor.follows

    assert not follows(0.0), "the first one"
    assert follows(0.2) and follows(0.6)
    assert not follows(1.2), "half a second is long"
    assert follows(1.4)
    for i in range(8):  # only looked at
        follows(1.5 + i / 10, segmented=False)
    assert not follows(2.3)
    assert [follows(now, black) for now in (2.5, 2.6, 2.7, 2.8)] == [True, True, True, None], "withheld"
    assert [follows(now) for now in (2.9, 3.0, 3.1, 3.2, 3.3)] == [None, None, None, False, True]
    assert not follows(0.1), "the clock jumped back"


def test_what_was_before_a_pause_is_no_flicker_and_no_missing_road():
    health = OutputHealth()
    road, none = np.full((240, 320), 255, np.uint8), np.zeros((240, 320), np.uint8)
    for i in range(25):
        health.observe(none, none if i > 20 else road, i * 0.04)
    for i in range(25):
        health.observe(np.ones((240, 320), np.uint8), none if i == 0 else road, 11.0 + i * 0.04)
        assert health.status(11.0 + i * 0.04).level == Level.OK, i


@pytest.mark.parametrize("clock", [
    pytest.param(lambda i: 0.0 if i < 60 else 1.7e9 + i * 0.04, id="comes late"),
    pytest.param(lambda i: 1.7e9 + i // 25, id="ticks once a second"),
])
def test_a_camera_s_own_rate_is_not_learned_from_a_clock_that_stands(clock):
    monitor = Monitor(now=None)
    frame = Frame.from_array(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for i in range(400):
        now = clock(i)
        monitor.received(now)
        frame.data[i % 64] ^= 255  # else it stands still
        monitor.arrived(frame, now, now)
        if i % 25 == 24 and i > 100:
            (camera,) = (s for s in monitor.statuses(now) if s.name == "camera")
            assert "instead of" not in camera.reason, (i, camera)
