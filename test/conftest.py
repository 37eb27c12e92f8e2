"""What every test can ask for: a real network whose right answer is known, and real drives."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import bag_metadata
import cv2
import loop
import numpy as np
import pytest
from colours import paint_scene, write_colour_network
from hypothesis import HealthCheck, settings

from drive_seg import lean_imports
from drive_seg.network import Network
from drive_seg.sources.clip import CLIPS, fetch
from drive_seg.sources.frame_source import SourceError

# How long an example takes says nothing on a busy machine.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    loop.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background job ignores SIGINT, and so would all that the tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(loop.Loop(config))


@pytest.fixture(scope="session", autouse=True)
def scipy_is_left_out() -> None:
    """It takes as long to load as all functions that are compiled."""
    lean_imports.load_numba_without_scipy()


@pytest.fixture(scope="session", autouse=True)
def bag_metadata_is_kept() -> Iterator[None]:
    """See bag_metadata."""
    with pytest.MonkeyPatch.context() as patch:
        if "rosbags.rosbag2" in sys.modules:
            bag_metadata.keep(patch)
        yield


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


class Drive(Sequence):
    """The first frames of a video, each decoded when it is first asked for."""

    def __init__(self, path: Path, count: int) -> None:
        self._video, self._count = cv2.VideoCapture(str(path)), count
        self._frames: list[np.ndarray] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, which: int | slice) -> np.ndarray | list[np.ndarray]:
        wanted = range(self._count)[which]
        last = max(wanted, default=-1) if isinstance(wanted, range) else wanted
        while len(self._frames) <= last:
            ok, image = self._video.read()
            assert ok
            self._frames.append(image)
        return [self._frames[i] for i in wanted] if isinstance(wanted, range) else self._frames[wanted]


@pytest.fixture(scope="session")
def drive(clips: Path) -> Drive:
    """Six seconds of real driving, 1280x720 BGR at 25 Hz."""
    return Drive(clips / CLIPS["bridge"].file, 150)


@pytest.fixture(scope="session")
def no_driver() -> None:
    """Skips a test of what is said without an NVIDIA driver where there is one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    pytest.skip("this machine has an NVIDIA driver")
