"""Replays of the painted street with the colour network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bags import write_bag

from drive_seg.cli.main import main
from drive_seg.replay.resultbag import ResultReader


@pytest.fixture(scope="session")
def street_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag of 12 frames."""
    return write_bag(tmp_path_factory.mktemp("bags") / "street")


class Replay:
    """Runs `drive-seg replay` with the colour network and reads what it wrote."""

    def __init__(self, network: Path, out: Path) -> None:
        self.network, self.out = network, out

    def __call__(self, *arguments: object, report: bool = False) -> int:
        """The exit code."""
        words = ["replay", *arguments, "--out", self.out, "--network", self.network, "--engine", "openvino"]
        return main([str(w) for w in words + ([] if report else ["--no-report"])])

    def summary(self, name: str = "street") -> dict:
        return json.loads((self.out / name / "summary.json").read_text())

    def frames(self, name: str = "street") -> list[dict]:
        return [json.loads(line) for line in (self.out / name / "frames.jsonl").read_text().splitlines()]

    def masks(self, name: str = "street", outputs=("labels", "drivable_area", "classes", "confidence")) -> list:
        with ResultReader(self.out / name / "result", outputs) as reader:
            return list(reader.frames())


@pytest.fixture
def replay(colour_network_path: Path, tmp_path: Path) -> Replay:
    """A replay into a fresh folder."""
    return Replay(colour_network_path, tmp_path / "out")


@pytest.fixture
def another(colour_network_path: Path, tmp_path: Path) -> Replay:
    """A second replay, into a folder of its own."""
    return Replay(colour_network_path, tmp_path / "another")
