"""Picks the frames of some drives that are most worth labelling, and writes them ready for a labelling tool."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import yaml

from drive_seg.core.classes import UNKNOWN, ClassTable
from drive_seg.core.engine import NetworkInfo
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.overlay import draw_overlay
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import DriveSegError
from drive_seg.labelling.candidates import Candidate, Pool
from drive_seg.labelling.describe import describe, distances
from drive_seg.labelling.formats.coco import CocoWriter
from drive_seg.labelling.formats.cvat import CvatWriter
from drive_seg.labelling.formats.label_studio import LabelStudioWriter
from drive_seg.labelling.importer import CLASS_TABLE, PICKED
from drive_seg.labelling.new_folder import named, new_folder
from drive_seg.labelling.select import NEAR, Pick, select
from drive_seg.labelling.sheet import Cell, small, write_sheets
from drive_seg.replay.measure import Measure
from drive_seg.sources.frame_source import FrameSource, Shot
from drive_seg.sources.images import ImageSource

SHEET = "contact_sheet.jpg"
LABEL_STUDIO_PREFIX = "/data/local-files/?d="

_BLANK = 4.0  # standard deviation of the brightness under which a frame shows nothing
_NEIGHBOURS = 0.2  # distance of descriptors above which frames that follow each other are of different scenes
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"


class _Writer(Protocol):
    """What writes a label format."""

    def add(self, name: str, classes: np.ndarray) -> None: ...


class PickError(DriveSegError, RuntimeError):
    """Nothing can be picked; the message names the fix."""


@dataclass(frozen=True)
class Drive:
    """One input. name: fit for a file name, unlike the others'."""

    name: str
    source: FrameSource


@dataclass
class Picked:
    """What came of it. frames: of each pick, as pick.json has them. seen, skipped, blank: frames that were looked at,
    that are not images, that show nothing."""

    out: Path
    wanted: int
    frames: list[dict] = field(default_factory=list)
    seen: int = 0
    skipped: list[str] = field(default_factory=list)
    blank: int = 0
    sheets: list[Path] = field(default_factory=list)


def name_drives(sources: Sequence[FrameSource]) -> list[Drive]:
    """Drives named after their files."""
    drives: list[Drive] = []
    for source in sources:
        path = Path(source.source.replace(":", "_"))
        stem = path.name if path.is_dir() else path.stem
        stem = re.sub(r"[^\w.-]+", "_", stem).strip("._") or "drive"
        taken, name, number = {drive.name for drive in drives}, stem, 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        drives.append(Drive(name, source))
    return drives


def pick(drives: Sequence[Drive], segmenter: Segmenter, out: Path, count: int, *, every: int = 1, apart_s: float = 1.0,
         near: float = NEAR, progress: Callable[[], None] = lambda: None) -> Picked:
    """Look at every `every`-th frame of the drives, choose `count` and write the folder `out`. See drive-seg pick.

    apart_s, near: see select. progress: called after each frame. Raises PickError, SourceError, EngineError or OSError.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PickError(f"{out} is there already", "give a new folder")
    result, pool = Picked(out, count), Pool()
    for number, drive in enumerate(drives):
        _look_at(number, drive, segmenter, every, pool, result, progress)
    if not pool.candidates:
        reason = f": {result.skipped[0]}" if result.skipped else ": they show nothing" if result.blank else ""
        raise PickError(f"none of the {result.seen} frames can be picked{reason}")
    picks = select(pool.candidates, count, apart_s=apart_s, near=near)
    _write(drives, segmenter, pool.candidates, picks, result)
    return result


def _look_at(number: int, drive: Drive, segmenter: Segmenter, every: int, pool: Pool, result: Picked,
             progress: Callable[[], None]) -> None:
    timed = not isinstance(drive.source, ImageSource)
    measure, before, waiting = Measure(), None, None  # a frame's flicker is known when the next one is there
    for shot in _every(drive.source, every):
        result.seen += 1
        progress()
        try:
            bgr = shot.frame.bgr()
            segmentation = segmenter.segment(shot.frame)
        except FrameError as error:
            result.skipped.append(f"{drive.name}, frame {shot.name}: {error}")
            measure.gap()
            before = None
            continue
        if float(bgr[::4, ::4].std()) < _BLANK:
            result.blank += 1
            measure.gap()
            before = None
            continue
        descriptor = describe(bgr, segmentation, len(segmenter.table))
        if before is not None and float(distances(descriptor, before[None])[0]) > _NEIGHBOURS:
            measure.gap()
        before = descriptor
        record = measure.add(segmentation)
        if waiting is not None:
            pool.add(_candidate(number, timed, *waiting))
        waiting = (shot.name, shot.stamp_ns, record, descriptor)
    if waiting is not None:
        pool.add(_candidate(number, timed, *waiting))


def _every(source: FrameSource, every: int) -> Iterator[Shot]:
    return (shot for index, shot in enumerate(source) if index % every == 0)


def _candidate(drive: int, timed: bool, name: str, stamp_ns: int, record: dict, descriptor: np.ndarray) -> Candidate:
    return Candidate(drive, name, stamp_ns, timed, 1 - record["confidence"], record["shares"]["unknown"],
                     record["flicker"] or 0.0, descriptor)


def _write(drives: Sequence[Drive], segmenter: Segmenter, candidates: Sequence[Candidate], picks: list[Pick],
           result: Picked) -> None:
    """Read the drives once more, for the chosen frames alone."""
    out, table = result.out, segmenter.table
    chosen = {(candidates[p.index].drive, candidates[p.index].name): (rank, p) for rank, p in enumerate(picks, 1)}
    network = segmenter.engine.network
    cells: dict[int, Cell] = {}
    rows: dict[int, dict] = {}
    with new_folder(out) as partial:
        (partial / "images").mkdir()
        with ExitStack() as stack:
            writers: list[_Writer] = [
                stack.enter_context(CvatWriter(partial / "annotations.xml", named(out).name, table, len(picks))),
                stack.enter_context(LabelStudioWriter(partial / "label_studio", table, LABEL_STUDIO_PREFIX + "images/",
                                                      network.name)),
                stack.enter_context(CocoWriter(partial / "coco", table)),
            ]
            for number, drive in enumerate(drives):
                left = {name for of, name in chosen if of == number}
                if not left:
                    continue
                for shot in drive.source:
                    if shot.name not in left:
                        continue
                    left.discard(shot.name)
                    rank, picked = chosen[number, shot.name]
                    segmentation = segmenter.segment(shot.frame)
                    picture = _save(shot, partial / "images", f"{drive.name}_{shot.name}")
                    draft = np.where(segmentation.labels == UNKNOWN, np.uint8(UNKNOWN), segmentation.classes)
                    for writer in writers:
                        writer.add(picture, draft)
                    rows[rank] = _row(rank, drive, shot, picture, candidates[picked.index], picked)
                    cells[rank] = _cell(rank, shot.frame, segmentation, picture, picked)
                    if not left:
                        break
        result.frames = [rows[rank] for rank in sorted(rows)]
        _write_facts(partial, segmenter, result, table, network)
        files = write_sheets(partial / SHEET, [cells[rank] for rank in sorted(cells)])
    result.sheets = [out / file.name for file in files]


def _save(shot: Shot, folder: Path, stem: str) -> str:
    """A picture as it was recorded, where it is a JPEG or PNG, else without loss. Returns the file's name."""
    while any((folder / f"{stem}{suffix}").exists() for suffix in (".jpg", ".png")):  # frame b_1 of a, and 1 of a_b
        stem += "_"
    encoded = None if shot.encoded is None else bytes(shot.encoded)
    if encoded is not None and encoded.startswith((_JPEG, _PNG)):
        name = stem + (".jpg" if encoded.startswith(_JPEG) else ".png")
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        if pixels is not None and pixels.shape[:2] == shot.frame.size:  # EXIF may turn it, and the labels with it
            (folder / name).write_bytes(encoded)
            return name
    name = f"{stem}.png"
    if not cv2.imwrite(str(folder / name), shot.frame.bgr()):
        raise OSError(f"can't write {folder / name}: is there space, and may you write there?")
    return name


def _row(rank: int, drive: Drive, shot: Shot, picture: str, candidate: Candidate, picked: Pick) -> dict:
    return {"rank": rank, "picture": picture, "drive": drive.name, "source": drive.source.source, "frame": shot.name,
            "stamp_ns": shot.stamp_ns, "reasons": list(picked.reasons), "worth": picked.worth,
            "distance": None if picked.distance is None else round(picked.distance, 4),
            "confidence": round(1 - candidate.doubt, 5), "unknown": round(candidate.unknown, 6),
            "flicker": round(candidate.flicker, 6)}


def _cell(rank: int, frame: Frame, segmentation: Segmentation, picture: str, picked: Pick) -> Cell:
    drawn = draw_overlay(frame.bgr(), segmentation.labels, segmentation.drivable, legend=rank == 1)
    return Cell(small(drawn), (f"{rank}  {picture}", "; ".join(picked.reasons)))


def _write_facts(folder: Path, segmenter: Segmenter, result: Picked, table: ClassTable, network: NetworkInfo) -> None:
    facts = {"frames": result.frames, "wanted": result.wanted, "seen": result.seen, "skipped": len(result.skipped),
             "blank": result.blank, "network": network.name,
             "network_sha256": network.sha256, "engine": segmenter.engine.name}
    (folder / PICKED).write_text(json.dumps(facts, indent=1) + "\n")
    (folder / CLASS_TABLE).write_text(yaml.safe_dump({"ignore": UNKNOWN, "classes": table.to_dicts()}, sort_keys=False,
                                                     default_flow_style=None))


def lines(result: Picked) -> Iterator[str]:
    """What a person reads."""
    yield f"{len(result.frames)} of {result.seen} frames picked -> {result.out}"
    if len(result.frames) < result.wanted:
        yield (f"fewer than the {result.wanted} that were asked for: all other frames are near duplicates of these, or"
               " too close in time (--near, --apart)")
    if result.skipped:
        yield f"{len(result.skipped)} frames are not images and were left out, {result.skipped[0]}"
    if result.blank:
        yield f"{result.blank} frames show nothing (black, covered) and were left out"
    for frame in result.frames[:10]:
        yield f"  {frame['rank']:3}  {frame['picture']}: {'; '.join(frame['reasons'])}"
    if len(result.frames) > 10:
        yield f"  and {len(result.frames) - 10} more, see {PICKED} and {SHEET}"


def expected(drives: Sequence[Drive], every: int) -> int | None:
    """How many frames will be looked at; None where it is not known."""
    counts = [drive.source.count for drive in drives if drive.source.count is not None]
    return sum(-(-count // every) for count in counts) if len(counts) == len(drives) else None
