"""Train or val, by drive: pictures of one drive never lie on both sides, and a drive stays where it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

_SECONDS = re.compile(r"(?:^|[\W_])(?:[1-9]\d{9}(?:[.,_-]\d{1,9})?|[1-9]\d{12}|[1-9]\d{15}|[1-9]\d{18})$")
"""A frame's time since 1970 at the end of a name, in s, ms, us or ns."""

_CLOCK = re.compile(r"(?<=\d)[T_ -]+\d\d[:_h-]?\d\d[:_m-]?\d\d(?:[.,]\d+)?$")
_DATE = re.compile(r"(?:19|20)\d\d[_-]?\d\d[_-]?\d\d$")

_OF_EVERY_VIDEO = ("", "frame", "image", "img", "picture", "pic", "photo")

_ENDINGS = ("_leftImg8bit", "_mask", "_label", "_labels", "_L")


def drive_of(name: str, pattern: re.Pattern | None = None) -> str:
    """The drive that a picture is of, by its name: what `pattern` finds (its first group, if it has one), else its
    folders and what stands before the frame's number: `a/run_3_000120.jpg` is of `a/run_3`.

    Raises ValueError where the pattern finds nothing.
    """
    name = name.replace("\\", "/")
    if pattern is not None:
        found = pattern.search(name)
        if found is None:
            raise ValueError(f"the pattern {pattern.pattern!r} finds no drive in {name!r}")
        return found[1] if pattern.groups else found[0]
    folder, _, base = name.rpartition("/")
    stem = re.sub(r"\.[A-Za-z]+$", "", base)
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    before = _without_time(stem)
    folder = re.sub(r"(^|/)(images?|imgs?|JPEGImages|default|train|val|data)(?=/|$)", "", folder).strip("/")
    return f"{folder}/{before}".strip("/")


def tells_nothing(drive: str) -> bool:
    """Whether a drive's name is one that tools give to the frames of every video, as `frame_000012.png`."""
    return drive.lower() in _OF_EVERY_VIDEO


def _without_time(stem: str) -> str:
    """What stands before a frame's number or time: with the time's seconds or minutes left, neighbours would be of
    different drives."""
    time = _SECONDS.search(stem) or _CLOCK.search(stem)
    if time and (time.re is _SECONDS or _DATE.search(stem[:time.start()])):
        return stem[:time.start()]
    return re.sub(r"[\W_]*\d+$", "", stem)


def in_val(drives: Sequence[str], share: float) -> set[str]:
    """The drives of the val split: those whose name's hash falls below `share`. Two or more drives never lie all on one
    side: then the one next to the limit changes over."""
    place = {drive: int.from_bytes(hashlib.sha256(drive.encode()).digest()[:8], "big") / 2**64 for drive in set(drives)}
    val = {drive for drive, value in place.items() if value < share}
    if share <= 0 or len(place) < 2:
        return set()
    if not val:
        val = {min(place, key=lambda drive: place[drive])}
    if len(val) == len(place):
        val.discard(max(place, key=lambda drive: place[drive]))
    return val
