"""One way in: whatever the user points at, as footage."""

from __future__ import annotations

import re
from pathlib import Path

from drive_seg.sources.clip import PREFIX, ClipSource
from drive_seg.sources.frame_source import FrameSource, Section, SourceError
from drive_seg.sources.images import ImageSource, is_image
from drive_seg.sources.video import CameraSource, VideoSource

RECORDED_KINDS = "a video, an image, a folder of images, a ROS bag or clip:NAME"
KINDS = RECORDED_KINDS + ", or a camera, /dev/videoN"


def open_source(source: str | Path, *, duration: float | None = None, topic: str | None = None,
                 rate: float = 10.0) -> FrameSource:
    """Open a video, an image, a folder of images, a bag (folder or file), a camera (/dev/videoN) or `clip:NAME`.

    duration: seconds to read at most. topic: image topic of a bag with several cameras. rate: frames a second of a
    folder of images. Raises SourceError, which names the fix.
    """
    footage = _open(str(source), topic, rate)
    return footage if duration is None else Section(footage, duration)


def _open(source: str, topic: str | None, rate: float) -> FrameSource:
    if source.startswith(PREFIX):
        return ClipSource(source.removeprefix(PREFIX))
    if re.fullmatch(r"/dev/video\d+", source):
        return CameraSource(source)
    path = Path(source).expanduser()
    if not path.exists():
        raise SourceError(f"there is no {source}", f"give {KINDS}")
    if is_bag(path):
        from drive_seg.sources.bag import BagSource  # rosbags is slow to import

        return BagSource(path, topic)
    if path.is_dir() or is_image(path):
        return ImageSource(path, rate)
    return VideoSource(path)


def is_bag(path: Path) -> bool:
    """Whether a path is a rosbag2 (its folder, or one of its files) or a ROS 1 bag. A folder of images that has a bag
    among them is a folder of images."""
    from drive_seg.sources.storage import is_storage, storage_files  # rosbags is slow to import

    if not path.is_dir():
        return is_storage(path)
    if (path / "metadata.yaml").is_file():
        return True
    return bool(storage_files(path)) and not any(is_image(p) for p in path.iterdir())
