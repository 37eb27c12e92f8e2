"""What every test can ask for: a real network whose right answer is known, and real drives."""

from __future__ import annotations

import ctypes
from pathlib import Path

import cv2
import loop
import numpy as np
import pytest
from colours import paint_scene, write_colour_network
from hypothesis import HealthCheck, settings

from drive_seg.network import Network
from drive_seg.sources.clip import CLIPS, fetch
from drive_seg.sources.frame_source import SourceError

# How long an example takes says nothing on a busy machine.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    loop.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(loop.Loop(config))


@pytest.fixture(scope="session")
def colour_network_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the colour network (160x96, stride 4)."""
    return write_colour_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="session")
def colour_network(colour_network_path: Path) -> Network:
    """The colour network, loaded."""
    return Network.load(colour_network_path)


@pytest.fixture(scope="session")
def colour_engine(colour_network: Network):
    """The colour network on OpenVINO."""
    from drive_seg.runtimes import open_engine

    engine = open_engine("openvino", colour_network)
    yield engine
    engine.close()


@pytest.fixture
def scene() -> np.ndarray:
    """See paint_scene."""
    return paint_scene()


@pytest.fixture(scope="session")
def clips() -> Path:
    """Folder of the six real drives."""
    try:
        return fetch()
    except SourceError as error:
        pytest.skip(f"the real clips can't be had: {error}")


@pytest.fixture(scope="session")
def drive(clips: Path) -> list[np.ndarray]:
    """Six seconds of real driving, 1280x720 BGR at 25 Hz."""
    video = cv2.VideoCapture(str(clips / CLIPS["bridge"].file))
    frames = []
    while len(frames) < 150:
        ok, image = video.read()
        assert ok
        frames.append(image)
    return frames


@pytest.fixture(scope="session")
def no_driver() -> None:
    """Skips a test of what is said without an NVIDIA driver where there is one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    pytest.skip("this machine has an NVIDIA driver")
