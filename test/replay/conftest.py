"""Replays of the painted street with the colour network."""

from __future__ import annotations

from pathlib import Path

import pytest
from bags import write_bag
from replays import Replay


@pytest.fixture(scope="session")
def street_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag of 12 frames."""
    return write_bag(tmp_path_factory.mktemp("bags") / "street")


@pytest.fixture
def replay(colour_network_path: Path, tmp_path: Path) -> Replay:
    """A replay into a fresh folder."""
    return Replay(colour_network_path, tmp_path / "out")


@pytest.fixture
def another(colour_network_path: Path, tmp_path: Path) -> Replay:
    """A second replay, into a folder of its own."""
    return Replay(colour_network_path, tmp_path / "another")
