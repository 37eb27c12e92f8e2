"""Replays with the colour network."""

from __future__ import annotations

import json
from pathlib import Path

from drive_seg.cli.main import main
from drive_seg.replay.resultbag import ResultReader


def read_summary(out: Path, name: str = "street") -> dict:
    """summary.json of a result."""
    return json.loads((out / name / "summary.json").read_text())


class Replay:
    """Runs `drive-seg replay` with the colour network and reads what it wrote."""

    def __init__(self, network: Path, out: Path) -> None:
        self.network, self.out = network, out

    def __call__(self, *arguments: object, report: bool = False) -> int:
        """The exit code."""
        words = ["replay", *arguments, "--out", self.out, "--network", self.network, "--engine", "openvino"]
        return main([str(w) for w in words + ([] if report else ["--no-report"])])

    def summary(self, name: str = "street") -> dict:
        return read_summary(self.out, name)

    def frames(self, name: str = "street") -> list[dict]:
        return [json.loads(line) for line in (self.out / name / "frames.jsonl").read_text().splitlines()]

    def masks(self, name: str = "street", outputs=("labels", "drivable_area", "classes", "confidence")) -> list:
        with ResultReader(self.out / name / "result", outputs) as reader:
            return list(reader.frames())
