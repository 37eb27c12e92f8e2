"""Footage to adapt to: a bounded sample of its frames on disk, and whether it is any good for that.

Every kept frame is stored as the network sees it (its input size), with the frame that follows where there is one, to
see whether labels stay. The last part of each drive is held back. Needs no torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from drive_seg.adaptation.flow import follow
from drive_seg.core.classes import Group
from drive_seg.core.frame import FrameError
from drive_seg.core.resize import network_input
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import DriveSegError
from drive_seg.image_file import read_pixels
from drive_seg.labelling.describe import describe, distances
from drive_seg.labelling.pick import Drive
from drive_seg.labelling.select import NEAR
from drive_seg.sources.images import ImageSource

MOST = 2000
"""Frames that are kept, with as many that follow them."""

HELD_BACK = 0.2
"""Share of each drive, at its end."""

LEAST_FRAMES, LEAST_SECONDS, LEAST_DIFFERENT = 60, 10.0, 20
"""Usable frames, seconds (of what has real stamps), and frames unlike one another that an adaptation needs."""

MOST_BROKEN, LEAST_ROAD = 0.2, 0.2
"""Greatest share of frames that can't be read or show nothing; least share that shows road ahead."""

_ROAD_AHEAD = 0.03  # share of the lower half that must be sure road in a frame that shows road ahead
_SURE = 0.8  # confidence of such road: of coloured noise, most is road by half a chance
_NO_ROAD_ABOVE = 0.5  # share of the upper quarter that is road in no picture of one: of white noise, all is sure road
_BLANK = 4.0  # standard deviation of the brightness under which a frame shows nothing
_SAME_SCENE = 0.3  # share of the points that can be followed from a frame to the next one of its scene
_A_DRIVE = 0.5  # share of the frames that the next one must follow, or none does: of photographs of a city up to 6 % of
# the neighbours look alike enough, of drives at 100 ms nearly all are of one scene
_FLOW_SIZE = (96, 128)
_APART_NS = 60_000_000  # least time from a frame to the one that is stored as following it
_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 95)
INDEX = "footage.json"

MADE_HERE = ".drive_seg"
"""A file in the folder from its beginning: the folder is ours, and may be emptied."""


class FootageError(DriveSegError, ValueError):
    """Footage that a network can't be adapted to; the message gives the numbers."""


@dataclass(frozen=True)
class Still:
    """A kept frame. name: of its file without .jpg. drive: its input's name. follows: whether NAME_next.jpg is there.
    held_back: not to be trained on."""

    name: str
    drive: str
    follows: bool
    held_back: bool


@dataclass
class Footage:
    """What was kept of the drives, and what they are like.

    folder: of the pictures. size: (height, width) of them. seen, unreadable, blank: frames that were looked at, are not
    images, show nothing. seconds: of the drives with real stamps, None where none has. different: frames unlike one
    another. road_ahead: share of the frames with sure road in the lower half. confidence, unknown: means of the former
    network.
    """

    folder: Path
    size: tuple[int, int]
    stills: list[Still] = field(default_factory=list)
    drives: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    unreadable: int = 0
    blank: int = 0
    seconds: float | None = None
    different: int = 0
    road_ahead: float = 0.0
    confidence: float = 0.0
    unknown: float = 0.0
    first_fault: str = ""

    @property
    def training(self) -> list[Still]:
        """The frames that may be trained on."""
        return [still for still in self.stills if not still.held_back]

    @property
    def held_back(self) -> list[Still]:
        """The frames that only measure."""
        return [still for still in self.stills if still.held_back]

    def read(self, still: Still, following: bool = False) -> np.ndarray:
        """A picture, (h, w, 3) uint8 RGB. Raises FootageError."""
        path = self.folder / f"{still.name}{'_next' if following else ''}.jpg"
        bgr = read_pixels(path, cv2.IMREAD_COLOR)
        if bgr is None:
            raise FootageError(f"{path} is missing or damaged", "start again with another --out")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def problems(self) -> list[str]:
        """Why a network can't be adapted to it, with numbers; empty where it can."""
        found = []
        broken = (self.unreadable + self.blank) / max(1, self.seen)
        if not self.seen or broken > MOST_BROKEN:
            found.append(f"broken: of {self.seen} frames {self.unreadable} are not images and {self.blank} show nothing"
                         f" ({broken:.0%}, at most {MOST_BROKEN:.0%} may)"
                         + (f", the first: {self.first_fault}" if self.first_fault else ""))
        usable = self.seen - self.unreadable - self.blank
        if usable < LEAST_FRAMES:
            found.append(f"too short: {usable} usable frames, at least {LEAST_FRAMES} are needed")
        elif self.seconds is not None and self.seconds < LEAST_SECONDS:
            found.append(f"too short: {self.seconds:.1f} s, at least {LEAST_SECONDS:.0f} s are needed")
        if usable and self.different < LEAST_DIFFERENT:
            found.append(f"too uniform: {self.different} frames differ from one another, at least {LEAST_DIFFERENT} are"
                         " needed (a parked car, or the same road again and again)")
        if usable and self.road_ahead < LEAST_ROAD:
            found.append(f"not a road: the network sees road ahead in {self.road_ahead:.0%} of the frames, at least"
                         f" {LEAST_ROAD:.0%} are needed (a wrong camera, or a place too unlike its training data: label"
                         " some frames first, see drive-seg pick)")
        return found

    def check(self) -> None:
        """Raise FootageError for the problems, all of them."""
        if found := self.problems():
            raise FootageError("the footage is not fit to adapt to: " + "; ".join(found),
                               "give other footage, or --anyway to go on")

    def lines(self) -> Iterator[str]:
        """What a person reads."""
        took = "" if self.seconds is None else f", {self.seconds:.0f} s"
        yield (f"footage: {len(self.drives)} inputs, {self.seen} frames{took}; {len(self.training)} to train on,"
               f" {len(self.held_back)} held back")
        yield (f"  {self.different} frames unlike one another, road ahead in {self.road_ahead:.0%},"
               f" confidence {self.confidence:.3f}, unknown {self.unknown:.1%},"
               f" {self.unreadable + self.blank} unreadable or blank")

    def save(self) -> None:
        """Write footage.json beside the pictures."""
        facts = asdict(self) | {"folder": None}
        (self.folder / INDEX).write_text(json.dumps(facts, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Footage:
        """What save wrote. Raises FootageError."""
        try:
            facts = json.loads((folder / INDEX).read_text())
            return cls(**{**facts, "folder": folder, "size": tuple(facts["size"]),
                          "stills": [Still(**row) for row in facts["stills"]]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FootageError(f"{folder / INDEX} is missing or damaged ({error})", "start without --resume") from error


@dataclass
class _Look:
    road: bool
    confidence: float
    unknown: float
    descriptor: np.ndarray


def collect(drives: Sequence[Drive], segmenter: Segmenter, folder: Path, size: tuple[int, int], *, most: int = MOST,
            held_back: float = HELD_BACK, progress: Callable[[], None] = lambda: None) -> Footage:
    """Look at all frames of the drives, keep at most about `most` of them in `folder`. One that `collect` made is
    emptied first, any other must be empty.

    size: (height, width) of the network's input. Of drives whose length is not known beforehand every second kept frame
    is dropped whenever there are too many. progress: called after each frame. Raises FootageError, SourceError,
    EngineError, OSError.
    """
    if not may_empty(folder):
        raise FootageError(f"{folder} is there already, with files that no adaptation made", "name another folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MADE_HERE).touch()
    footage = Footage(folder, size)
    share = max(2, most // max(1, len(drives)))
    looks: list[_Look] = []
    seconds = 0.0
    for drive in drives:
        footage.drives[drive.name] = drive.source.source
        kept, span = _collect_one(drive, segmenter, footage, share, looks, progress)
        seconds += span
        first_held = len(kept) - round(held_back * len(kept))
        for index, (name, follows) in enumerate(kept):
            footage.stills.append(Still(name, drive.name, follows, index >= first_held))
    if any(not isinstance(drive.source, ImageSource) for drive in drives):
        footage.seconds = round(seconds, 3)
    if looks:
        footage.different = _different([look.descriptor for look in looks])
        footage.road_ahead = float(np.mean([look.road for look in looks]))
        footage.confidence = float(np.mean([look.confidence for look in looks]))
        footage.unknown = float(np.mean([look.unknown for look in looks]))
    footage.save()
    return footage


def may_empty(folder: Path) -> bool:
    """Whether nothing of the user's is lost when a folder for footage is emptied."""
    if not folder.exists():
        return True
    return folder.is_dir() and ((folder / MADE_HERE).exists() or not any(folder.iterdir()))


def _collect_one(drive: Drive, segmenter: Segmenter, footage: Footage, most: int, looks: list[_Look],
                 progress: Callable[[], None]) -> tuple[list[tuple[str, bool]], float]:
    """The kept frames of a drive, (file name, whether the next is there), and its seconds."""
    count = drive.source.count
    every = 1 if count is None else max(1, -(-count // most))
    kept: list[tuple[str, bool]] = []
    first: int | None = None  # stamps of the drive's first and last frame
    last: int | None = None
    waiting: tuple[int, np.ndarray] | None = None  # stamp and picture of the last kept frame, till its next one came
    judged = followed = 0  # frames with a next one, and those that it follows
    for index, shot in enumerate(drive.source):
        footage.seen += 1
        progress()
        wanted = index % every == 0
        late = waiting if waiting is not None and shot.stamp_ns - waiting[0] >= _APART_NS else None
        try:
            if not wanted and late is None:
                shot.frame  # noqa: B018  whether it can be read counts
                last = shot.stamp_ns
                continue
            bgr = shot.frame.bgr()
        except FrameError as error:
            footage.unreadable += 1
            footage.first_fault = footage.first_fault or f"{drive.name}, frame {shot.name}: {error}"
            waiting = None
            continue
        first, last = shot.stamp_ns if first is None else first, shot.stamp_ns
        if float(bgr[::4, ::4].std()) < _BLANK:
            footage.blank += 1
            waiting = None
            continue
        result = segmenter.segment(shot.frame, drivable=False)
        descriptor = describe(bgr, result, len(segmenter.table))
        small = network_input(shot.frame, footage.size)
        if late is not None:
            judged += 1
            if follow(late[1], small, _FLOW_SIZE)[2].mean() >= _SAME_SCENE:
                followed += 1
                name = kept[-1][0]
                _write(footage.folder / f"{name}_next.jpg", small)
                kept[-1] = (name, True)
            waiting = None
        if wanted:
            name = f"{drive.name}_{shot.name}"
            while (footage.folder / f"{name}.jpg").exists():  # frame b_1 of a, and 1 of a_b
                name += "_"
            _write(footage.folder / f"{name}.jpg", small)
            kept.append((name, False))
            looks.append(_Look(_shows_road(result),
                               float(result.confidence[::4, ::4].mean()) / 255,
                               float((result.labels[::4, ::4] == 255).mean()), descriptor))
            waiting = (shot.stamp_ns, small)
            if len(kept) > 2 * most:
                for name, _ in kept[1::2]:
                    (footage.folder / f"{name}.jpg").unlink()
                    (footage.folder / f"{name}_next.jpg").unlink(missing_ok=True)
                kept, every = kept[::2], 2 * every
    if followed < _A_DRIVE * judged:
        for name, _ in kept:
            (footage.folder / f"{name}_next.jpg").unlink(missing_ok=True)
        kept = [(name, False) for name, _ in kept]
    if first is None or last is None or isinstance(drive.source, ImageSource):
        return kept, 0.0
    return kept, (last - first) / 1e9


def _shows_road(result: Segmentation) -> bool:
    """Whether a frame shows road where a camera on a vehicle sees it."""
    road, height = result.labels == Group.ROAD, result.labels.shape[0]
    sure = road[height // 2:] & (result.confidence[height // 2:] >= round(255 * _SURE))
    return bool(sure.mean() >= _ROAD_AHEAD and road[:max(1, height // 4)].mean() < _NO_ROAD_ABOVE)


def _different(descriptors: list[np.ndarray], enough: int = 200) -> int:
    """How many frames can be found that are all unlike one another, up to `enough`."""
    found: list[np.ndarray] = []
    for descriptor in descriptors:
        if not found or float(distances(descriptor, np.stack(found)).min()) >= NEAR:
            found.append(descriptor)
            if len(found) == enough:
                break
    return len(found)


def _write(path: Path, rgb: np.ndarray) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _QUALITY):
        raise OSError(f"can't write {path}: is there space, and may you write there?")
