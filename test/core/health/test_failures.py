"""Frames that fail: a few among good ones are a warning, all of them a fault, as no masks come.

pytest -rP shows the times. They are the README's.
"""

import cv2
import numpy as np
import pytest

from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.health.camera import CameraLimits
from drive_seg.core.health.failures import failure
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.status import Health
from drive_seg.core.segmentation import Segmentation

FPS = 25.0
LIMIT = 0.6
"""Seconds until health is FAULT where all frames fail."""


@pytest.fixture(scope="module")
def messages(drive):
    """The drive as JPEG messages."""
    return [cv2.imencode(".jpg", image)[1].reshape(-1) for image in drive[:110]]


@pytest.fixture
def play(messages):
    """Plays frames first..last to a monitor as the node does; returns (seconds, state, reasons) after each."""
    labels = np.ones((72, 128), np.uint8)
    result = Segmentation(labels, labels, labels, np.full_like(labels, 255), {})

    def play(monitor, first, last, *, damaged=lambda i: False, breaks=lambda i: False):
        history = []
        for i in range(first, last):
            now = i / FPS
            monitor.received(now)
            try:
                frame = Frame.from_compressed(messages[i][:20 if damaged(i) else None], "jpeg")
                assert monitor.arrived(frame, now, now)
                if breaks(i):
                    raise EngineError("out of memory")
                monitor.finished(result, 0.03, 0, now)
            except (FrameError, EngineError) as error:
                monitor.failed(*failure(error), now)
            history.append((now, *monitor.state(now)))
        return history

    return play


FAILURES = {"unusable messages": ("damaged", "camera: an image message is unusable"),
            "engine errors": ("breaks", "engine: the engine failed on a frame: out of memory")}


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("every", [2, 25])
def test_failures_among_good_frames_are_a_warning(play, kind, every):
    """Masks come of the others."""
    which, words = FAILURES[kind]
    history = play(Monitor(now=0.0), 0, 76, **{which: lambda i: i % every == 1})
    assert {state for now, state, _ in history[1:]} == {Health.DEGRADED}
    assert all(words in reasons[0] for _, _, reasons in history[1:])


@pytest.mark.parametrize("kind", FAILURES)
def test_nothing_but_failures_is_a_fault_until_a_frame_is_good(play, kind):
    which, words = FAILURES[kind]
    monitor = Monitor(now=0.0)
    assert {state for _, state, _ in play(monitor, 0, 50)} == {Health.READY}
    history = play(monitor, 50, 80, **{which: lambda i: True})
    assert history[0][1] == Health.DEGRADED and words in history[0][2][0]
    after = next(now for now, state, _ in history if state is Health.FAULT) - history[0][0]
    print(f"nothing but {kind}: DEGRADED at once, FAULT after {after:.2f} s (at most {LIMIT:g} s)")
    assert after <= LIMIT and history[-1][1] == Health.FAULT
    good = [state for _, state, _ in play(monitor, 80, 110)]
    assert good[0] is Health.DEGRADED and Health.FAULT not in good and good[-1] is Health.READY, "masks come again"


@pytest.mark.parametrize("kind", FAILURES)
def test_before_the_first_good_frame_a_failure_is_a_fault_at_once(play, kind):
    which, words = FAILURES[kind]
    ((_, state, reasons),) = play(Monitor(now=0.0), 0, 1, **{which: lambda i: True})
    assert state is Health.FAULT and words in reasons[0]


def test_a_failure_is_reported_beside_another_finding(play):
    monitor = Monitor(now=0.0)
    monitor.use_engine("128x64")
    history = play(monitor, 0, 5, breaks=lambda i: i == 2)
    assert "out of memory" in history[-1][2][0] and "128x64" in history[-1][2][0]


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("apart", [38, 100])
def test_a_failure_stands_until_a_frame_succeeds_however_rarely_they_come(play, kind, apart):
    """Frames every 1.5 and every 4 seconds: between them health has heard nothing better."""
    which, words = FAILURES[kind]
    monitor = Monitor(limits=CameraLimits(timeout=10.0), now=0.0)
    play(monitor, 0, 2)
    for number in (2, 2 + apart):
        if number < 110:
            play(monitor, number, number + 1, **{which: lambda i: True})
        for later in range(apart):
            state, reasons = monitor.state((number + later) / FPS)
            assert state is not Health.READY and words in reasons[0], later
    play(monitor, 105, 106)
    assert monitor.state(105 / FPS + 1.1)[0] is Health.READY


def test_a_text_from_outside_is_cut():
    monitor = Monitor(now=0.0)
    monitor.failed(*failure(FrameError("encoding " + "x" * 100_000 + " is not supported")), 0.1)
    assert len(monitor.state(0.1)[1][0]) < 700
