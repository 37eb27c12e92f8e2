"""The whole of health, with the network that ships, over the six real drives: what is believed, what is warned of?"""

import cv2
import pytest

from drive_seg.core.frame import Frame
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.network import NetworkHealth
from drive_seg.core.health.status import Health
from drive_seg.core.segmenter import Segmenter
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine
from drive_seg.sources.clip import CLIPS

EVERY, SECONDS = 5, 7.0


@pytest.fixture(scope="module")
def segmenter():
    network = Network.load(default_network())
    segmenter = Segmenter(open_engine("openvino", network, threads=1), network.table, surface=network.surface)
    yield segmenter
    segmenter.engine.close()


def frames_of(clips, name):
    """Every fifth frame of a stretch of a clip, with its time."""
    video = cv2.VideoCapture(str(clips / CLIPS[name].file))
    rate = video.get(cv2.CAP_PROP_FPS)
    video.set(cv2.CAP_PROP_POS_FRAMES, round(CLIPS[name].start * rate))
    for number in range(round(SECONDS * rate)):
        if not video.grab():
            break
        if number % EVERY == 0:
            yield 1.0 + number / rate, video.retrieve()[1]


@pytest.mark.parametrize("name", CLIPS)
def test_no_fault_and_no_warning_on_real_roads(clips, segmenter, name):
    monitor, reported, frames = Monitor(typical=segmenter.engine.network.typical, now=1.0), [], 0
    for now, image in frames_of(clips, name):
        frame = Frame.from_array(image)
        monitor.received(now)
        monitor.arrived(frame, now, now)
        monitor.finished(segmenter.segment(frame), 0.03, 0, now)
        state, reasons = monitor.state(now)
        assert state is not Health.FAULT, reasons
        reported += reasons
        frames += 1
    assert frames > 30
    assert reported == []


@pytest.mark.parametrize("name", ["bridge", "underpass", "hills"])
def test_a_camera_upside_down_is_unlike_the_training_data(clips, segmenter, name):
    health = NetworkHealth(segmenter.engine.network.typical)
    reported = []
    for now, image in frames_of(clips, name):
        result = segmenter.segment(cv2.rotate(image, cv2.ROTATE_180), drivable=False)
        health.observe(result.labels, result.confidence, now)
        reported.append(health.status(now).reason)
        if "unlike the training data" in reported[-1]:
            return
    pytest.fail(str(set(reported)))
