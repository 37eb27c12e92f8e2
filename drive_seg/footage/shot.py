"""What every kind of footage gives: frames with time stamps, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from drive_seg.core.frame import Frame


class FootageError(ValueError):
    """Footage that can't be read; the message names it and the fix."""


@dataclass(frozen=True)
class Shot:
    """One frame. stamp_ns: when it was taken, nanoseconds. name: what a person would call it, e.g. its file name."""

    stamp_ns: int
    frame: Frame
    name: str


class Footage(Protocol):
    """Frames in the order in which they were taken; iterating starts over.

    rate: frames a second. count: how many there are, None where nobody knows (a device).
    """

    rate: float
    count: int | None

    def __iter__(self) -> Iterator[Shot]:
        """Read the frames one by one. Raises FootageError."""
        ...

    def close(self) -> None:
        """Give back files and devices."""
        ...
