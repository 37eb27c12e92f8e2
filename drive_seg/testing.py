"""For tests in your own repository: replay a bag and assert on what came out.

    from drive_seg.testing import replay_bag

    def test_the_yard(tmp_path):
        drive = replay_bag("bags/yard", tmp_path)
        assert drive.failed == drive.withheld == 0
        assert drive.summary["drivable"]["min"] > 0.05
        drive.assert_same("golden/yard", labels=0.99, drivable=0.97)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drive_seg.errors import ParameterError
from drive_seg.replay.compare import Comparison, Limits, compare, find_result
from drive_seg.replay.frames import read_frames
from drive_seg.replay.job import Job, run_job
from drive_seg.replay.resultbag import OUTPUTS, USUAL, Masks, ResultReader
from drive_seg.replay.settings import ReplayError
from drive_seg.settings import Settings

__all__ = ["Replayed", "ReplayError", "replay_bag"]


@dataclass(frozen=True)
class Replayed:
    """A finished replay. folder: its result bag, frames.jsonl, summary.json and report.html. summary: summary.json."""

    folder: Path
    summary: dict

    @property
    def failed(self) -> int:
        """How many frames could not be segmented: no image, or an error of the engine."""
        return self.summary["frames"]["failed"]

    @property
    def withheld(self) -> int:
        """How many frames came while the camera could not be believed: they have no masks, or all unknown."""
        return self.summary["frames"]["withheld"]

    @property
    def scores(self) -> dict:
        """Scores against the labels, as `drive-seg evaluate` reports them. Raises ReplayError without labels."""
        if self.summary["truth"] is None:
            raise ReplayError("this replay had no labels", "replay_bag(..., labels=DIR)")
        return self.summary["truth"]

    def frames(self) -> Iterator[dict]:
        """The figures of each frame, as in frames.jsonl."""
        return read_frames(self.folder / "frames.jsonl")

    def masks(self) -> Iterator[Masks]:
        """The images of each frame: .images["labels"] and so on, (H, W) uint8; .stamp_ns."""
        with ResultReader(self.folder / "result", OUTPUTS) as reader:
            yield from reader.frames()

    def compare(self, golden: str | Path, labels: float = 1.0, drivable: float = 1.0, frames: int = 0) -> Comparison:
        """Compare with an earlier result. The limits are those of drive_seg.replay.compare.Limits."""
        return compare(find_result(Path(golden)), self.folder, Limits(labels, drivable, frames))

    def assert_same(self, golden: str | Path, labels: float = 1.0, drivable: float = 1.0, frames: int = 0) -> None:
        """Fail with the worst frames when this replay differs from an earlier result by more than the limits."""
        comparison = self.compare(golden, labels, drivable, frames)
        assert comparison.same, "\n".join(["the replay differs from the golden result:", *comparison.lines()])


def replay_bag(bag: str | Path, out: str | Path, *, labels: str | Path | None = None, report: bool = True,
               again: bool = False, topic: str | None = None, outputs: Sequence[str] = USUAL, storage: str = "mcap",
               **settings: Any) -> Replayed:
    """Replay a bag offline, every frame, into the folder out/NAME. What is there already is taken as it is, or replaced
    with `again`.

    labels: folder of ground truth (see `drive-seg replay --help`). topic: the image topic, None for the bag's only
    camera. outputs, storage: of the result bag. settings: fields of drive_seg.settings.Settings, e.g.
    network="my.onnx", engine="openvino"; also size=(height, width) for input_height and input_width, and a
    drive_seg.core.mounted.Mount as mount. Frames without a result don't raise; see Replayed.failed and
    Replayed.withheld. Raises ReplayError when the bag can't be replayed.
    """
    bag = Path(bag).expanduser()
    folder = Path(out) / (bag.name if bag.is_dir() else bag.stem)
    job = Job(bag, folder, _settings(settings), Path(labels) if labels else None, report=report, again=again,
              topic=topic, outputs=tuple(outputs), storage=storage)
    outcome = run_job(job)
    if outcome.summary is None or outcome.summary["problem"]:
        raise ReplayError(outcome.problem or "the bag can't be replayed")
    return Replayed(outcome.folder, json.loads((outcome.folder / "summary.json").read_text()))


def _settings(given: dict[str, Any]) -> Settings:
    """What replay_bag was given, also under the names of before."""
    values = {name: value for name, value in given.items() if value is not None}
    if "size" in values:
        values["input_height"], values["input_width"] = values.pop("size")
    if "mount" in values:
        values |= asdict(values.pop("mount"))
    try:
        return Settings.from_values(values, exact=False)
    except ParameterError as error:
        raise ReplayError(error.reason, error.fix) from error
