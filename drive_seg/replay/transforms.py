"""Transforms of a bag, as tf2 keeps them: a tree of frames, some of which move. Pure Python and numpy."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from drive_seg.core.ground import CameraPose
from drive_seg.core.mounted import POSE_LAG, TIME_JUMP
from drive_seg.errors import DriveSegError

_KEEP_NS = 10 * 10**9  # of what moves


class TransformError(DriveSegError, ValueError):
    """There is no such transform; the message says why."""


@dataclass(frozen=True)
class _Link:
    """parent <- child at a time. quaternion: (x, y, z, w) of length 1. translation: metres."""

    stamp_ns: int
    parent: str
    translation: np.ndarray
    quaternion: np.ndarray


class Transforms:
    """Takes the transforms of /tf and /tf_static in the order of their recording."""

    def __init__(self) -> None:
        self._static: dict[str, _Link] = {}
        self._moving: dict[str, deque[_Link]] = {}

    def add(self, message: Any, static: bool) -> None:
        """Take a TFMessage, as rosbags reads it."""
        for entry in message.transforms:
            stamp, t, q = entry.header.stamp, entry.transform.translation, entry.transform.rotation
            child, quaternion = _name(entry.child_frame_id), np.array([q.x, q.y, q.z, q.w])
            length = np.linalg.norm(quaternion)
            if not np.isfinite(length) or length < 1e-6:
                continue  # tf2 refuses it too
            link = _Link(stamp.sec * 10**9 + stamp.nanosec, _name(entry.header.frame_id), np.array([t.x, t.y, t.z]),
                         quaternion / length)
            if static:
                self._static[child] = link
            else:
                self._move(child, link)

    def _move(self, child: str, link: _Link) -> None:
        links = self._moving.get(child)
        if links and link.stamp_ns < links[-1].stamp_ns - TIME_JUMP * 1e9:  # a bag recorded in a loop
            self._moving.clear()
            links = None
        links = self._moving.setdefault(child, deque()) if links is None else links
        if links and link.stamp_ns <= links[-1].stamp_ns:
            return
        links.append(link)
        while links[0].stamp_ns < link.stamp_ns - _KEEP_NS:
            links.popleft()

    def connected(self, target: str, source: str) -> bool:
        """Whether a chain leads from one frame to the other, at some time."""
        return bool(set(self._names(_name(target), None)) & set(self._names(_name(source), None)))

    def pose(self, target: str, source: str, stamp_ns: int, *, moves_on: bool = False) -> CameraPose:
        """target <- source at a time. Raises TransformError.

        What moves is taken between its two neighbours in time; the newest serves while TF is a little behind, or with
        moves_on the place to which it has moved on since, as it did for as long before. As with tf2, nothing needs to
        be known of what is above the frame where the two chains meet.
        """
        target, source = _name(target), _name(source)
        up, down = self._names(source, stamp_ns), self._names(target, stamp_ns)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            raise TransformError(f"TF does not connect {source!r} and {target!r}")
        to_common, from_common = (self._product(names[: names.index(common)], stamp_ns, moves_on)
                                  for names in (up, down))
        whole = np.linalg.inv(from_common) @ to_common
        return CameraPose(whole[:3, :3], whole[:3, 3])

    def _names(self, frame: str, stamp_ns: int | None) -> list[str]:
        """A frame and those above it, at a time or (None) as of now."""
        names = [frame]
        while True:
            if frame in self._static:
                frame = self._static[frame].parent
            elif frame in self._moving:
                links = self._moving[frame]
                frame = links[-1 if stamp_ns is None else max(_after(links, stamp_ns) - 1, 0)].parent
            else:
                return names
            if frame in names:
                raise TransformError(f"TF leads from {frame!r} in a circle")
            names.append(frame)

    def _product(self, names: list[str], stamp_ns: int, moves_on: bool) -> np.ndarray:
        """The (4, 4) transform from the first of these frames to the parent of the last."""
        whole = np.eye(4)
        for frame in names:
            link = self._static[frame] if frame in self._static else _at(frame, self._moving[frame], stamp_ns, moves_on)
            whole = _matrix(link) @ whole
        return whole


def _after(links: deque[_Link], stamp_ns: int) -> int:
    """The place of the first that is later."""
    return bisect_right(links, stamp_ns, key=lambda link: link.stamp_ns)


def _at(frame: str, links: deque[_Link], stamp_ns: int, moves_on: bool) -> _Link:
    after = _after(links, stamp_ns)
    if after == len(links):
        if stamp_ns - links[-1].stamp_ns > POSE_LAG * 1e9:
            raise TransformError(f"the newest transform of {frame!r} is {(stamp_ns - links[-1].stamp_ns) / 1e9:.2f} s"
                                 " older than the image")
        if not moves_on or stamp_ns == links[-1].stamp_ns:
            return links[-1]
        last = links[-1]
        before = _after(links, 2 * last.stamp_ns - stamp_ns) - 1  # of as long ago, so that no jitter counts many times
        if before < 0 or links[before].parent != last.parent:
            raise TransformError(f"there are too few transforms of {frame!r} yet: how it moves is not known")
        return _towards(links[before], last, stamp_ns)
    if not after:
        raise TransformError(f"the transforms of {frame!r} begin after the image")
    first, second = links[after - 1], links[after]
    if first.parent != second.parent:
        return first
    return _towards(first, second, stamp_ns)


def _towards(first: _Link, second: _Link, stamp_ns: int) -> _Link:
    """At a time between the two or, moving on evenly, after them."""
    share = (stamp_ns - first.stamp_ns) / (second.stamp_ns - first.stamp_ns)
    return _Link(stamp_ns, first.parent, first.translation + share * (second.translation - first.translation),
                 _between(first.quaternion, second.quaternion, share))


def _between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Turn evenly from one quaternion to the other, the short way."""
    cosine = float(first @ second)
    second, cosine = (second, cosine) if cosine >= 0 else (-second, -cosine)
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        return first
    return (np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / np.sin(angle)


def _matrix(link: _Link) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = CameraPose.from_quaternion((0.0, 0.0, 0.0), tuple(link.quaternion)).rotation
    matrix[:3, 3] = link.translation
    return matrix


def _name(frame: str) -> str:
    return frame.removeprefix("/")  # as ROS 1 had them
