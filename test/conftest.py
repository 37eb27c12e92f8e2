"""What every test can ask for: a real network whose right answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from colours import paint_scene, write_colour_network

from drive_seg.network import Network


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
