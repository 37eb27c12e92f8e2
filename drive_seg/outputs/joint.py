"""Grid and scan of several cameras together: which frames belong together, and the messages. Live and in a replay."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from drive_seg.core.around import STILL, Around, Look, Motion
from drive_seg.core.ground import CameraPose, Sight
from drive_seg.core.health.overlap import OverlapHealth
from drive_seg.core.health.status import Level, Status
from drive_seg.core.mounted import TIME_JUMP, Mount, MountedCamera
from drive_seg.outputs.messages import Messages, grid_message, scan_message

GRID_NAME, SCAN_NAME = "grid", "scan"
"""Below the node's name, as those of one camera alone."""

_AS_ONE_NS = 5_000_000
"""Stamps this near are of one time for the overlap check, also where the motion is not known: at 15 m/s it is 8 cm."""

_LATELY = 3  # rounds; a camera that was in none of them is not waited for


@dataclass(frozen=True)
class Seen:
    """What one frame of a camera shows. stamp_ns: of its header."""

    camera: str
    stamp_ns: int
    mounted: MountedCamera
    sight: Sight


@dataclass(frozen=True)
class Round:
    """Frames that belong together, by camera. stamp_ns: of the newest. missing: cameras without a frame near it."""

    stamp_ns: int
    frames: dict[str, Seen]
    missing: tuple[str, ...]


class Rounds:
    """Puts frames of several cameras together.

    A round is due when every camera that came lately has a new frame, or one has its second: so it comes as often as
    the fastest camera, and a camera that fails is waited for once at most.

    A camera whose clock is wrong takes nothing from two others that agree: it is in no round while they come. It shows
    by the order of arrival: frames that come later have stamps that are more than the tolerance older.
    """

    def __init__(self, cameras: Collection[str], tolerance: float) -> None:
        """tolerance: seconds that the stamps of a round may lie apart."""
        self._cameras, self._tolerance_ns = tuple(cameras), round(tolerance * 1e9)
        self.start(cameras)

    def start(self, cameras: Collection[str]) -> None:
        """Begin as if no frame had come before, with these cameras to wait for."""
        self._newest: dict[str, Seen] = {}
        self._new: set[str] = set()
        self._lately: deque[set[str]] = deque([set(cameras)], maxlen=_LATELY)
        self._clocks: dict[str, int] = {}  # newest stamp of every camera, in a round or not
        self._contradict: set[frozenset[str]] = set()  # pairs whose clocks do
        self._passed_over = 0  # frames of such cameras since the last of another

    def add(self, seen: Seen) -> list[Round]:
        """A camera's next frame. Returns the rounds that it makes due, mostly none or one."""
        out: list[Round] = []
        before = self._newest.get(seen.camera)
        if before is not None and seen.stamp_ns < before.stamp_ns - TIME_JUMP * 1e9:  # as in a bag in a loop
            self._newest, self._new = {}, set()
            self._clocks, self._contradict = {}, set()
        if self._astray(seen):
            return out
        if seen.camera in self._new:
            out.append(self._round())
        self._newest[seen.camera] = seen
        self._new.add(seen.camera)
        if self._new >= set().union(*self._lately):
            out.append(self._round())
        return out

    def leave(self, camera: str) -> None:
        """A camera is switched off: it is not waited for, and what it showed holds no more."""
        self._newest.pop(camera, None)
        self._clocks.pop(camera, None)
        self._new.discard(camera)
        for round_ in self._lately:
            round_.discard(camera)

    def _astray(self, seen: Seen) -> bool:
        """Whether a frame's clock contradicts most of the cameras that came lately, and two at least."""
        for name, stamp_ns in self._clocks.items():
            if name != seen.camera:
                if abs(stamp_ns - seen.stamp_ns) <= self._tolerance_ns:
                    self._contradict.discard(frozenset((name, seen.camera)))
                elif stamp_ns > seen.stamp_ns:
                    self._contradict.add(frozenset((name, seen.camera)))
        self._clocks[seen.camera] = seen.stamp_ns
        others = self._new.union(*self._lately) - {seen.camera}
        against = sum(frozenset((name, seen.camera)) in self._contradict for name in others)
        if against < 2 or 2 * against <= len(others):
            self._passed_over = 0
            return False
        self._passed_over += 1
        if self._passed_over > 2 * _LATELY:  # the others come no more
            self._contradict.clear()
            return False
        self._newest.pop(seen.camera, None)
        self._new.discard(seen.camera)
        return True

    def _round(self) -> Round:
        stamp = max(self._newest[name].stamp_ns for name in self._new)
        frames = {name: seen for name in self._cameras if (seen := self._newest.get(name)) is not None
                  and abs(stamp - seen.stamp_ns) <= self._tolerance_ns}
        self._lately.append(set(self._new))
        self._new = set()
        return Round(stamp, frames, tuple(name for name in self._cameras if name not in frames))


class JointGround:
    """Makes joint grids and scans of rounds, and watches whether the cameras agree. One thread at a time."""

    def __init__(self, messages: Messages, mount: Mount, motion: Callable[[int, int], Motion | None]) -> None:
        """mount: what is common to the cameras: base_frame, ground_z, the grid's shape, the scan's increment. motion:
        that of the vehicle from one time to another, nanoseconds; None where it is not known."""
        self._messages, self._mount, self._motion = messages, mount, motion
        self._around: Around | None = None
        self._of: dict[str, MountedCamera] = {}
        self._overlap = OverlapHealth(mount.shape)
        self._missing: tuple[str, ...] = ()
        self._unmoved = False

    def make(self, round_: Round, outputs: Collection[str], header: Any) -> dict[str, Any]:
        """Messages by name, of GRID_NAME and SCAN_NAME those of `outputs`. header: with the round's stamp; its frame
        is replaced. Raises GroundError where nothing can be made."""
        around = self._around_of(round_.frames)
        self._unmoved = False
        looks = {name: around.look(name, seen.sight, self._moved(seen.stamp_ns, round_.stamp_ns))
                 for name, seen in round_.frames.items()}
        self._missing = round_.missing
        still = {name: look for name, look in looks.items() if self._comparable(round_, name, look)}
        self._overlap.observe({name: look.grid for name, look in still.items()},
                              {name: self._pose(name) for name in still}, self._mount.ground_z)
        header = self._messages.make("std_msgs/msg/Header", stamp=header.stamp, frame_id=self._mount.base_frame)
        out = {}
        if GRID_NAME in outputs:
            out[GRID_NAME] = grid_message(self._messages, header, around.grid(looks), around.shape,
                                          self._mount.ground_z)
        if SCAN_NAME in outputs:
            ranges, far = around.scan(looks)
            out[SCAN_NAME] = scan_message(
                self._messages, header, ranges, angle_min=around.angle_min, increment=around.increment,
                range_min=min(around.range_min, far), range_max=far)
        return out

    def cells(self, round_: Round) -> np.ndarray:
        """(cells along y, cells along x) int8, the joint grid of a round."""
        around = self._around_of(round_.frames)
        return around.grid({name: around.look(name, seen.sight, self._moved(seen.stamp_ns, round_.stamp_ns))
                            for name, seen in round_.frames.items()})

    def statuses(self) -> list[Status]:
        """Which cameras are missing in the last round, and whether those that overlap agree."""
        joint = Status("joint ground", values={"motion": "not known" if self._unmoved else "compensated"})
        if self._missing:
            names = ", ".join(self._missing)
            joint = Status("joint ground", Level.WARN, f"grid and scan lack {names}: what only they see is unknown",
                           f"look at the health of {names}; stamps must lie within camera_tolerance", joint.values)
        return [joint, self._overlap.status()]

    def _comparable(self, round_: Round, name: str, look: Look) -> bool:
        """Whether the vehicle surely did not move between a frame and the round's time."""
        apart = round_.stamp_ns - round_.frames[name].stamp_ns
        return look.motion == STILL and (not self._unmoved or apart <= _AS_ONE_NS)

    def _pose(self, name: str) -> CameraPose:
        return self._of[name].view.pose

    def _around_of(self, frames: Mapping[str, Seen]) -> Around:
        """The tables of the cameras as they are: those of before, while no camera or pose changed."""
        changed = [name for name, seen in frames.items() if self._of.get(name) is not seen.mounted]
        for name in changed:
            self._around = None  # not of these any more, should what follows fail
            self._of[name] = frames[name].mounted
            self._overlap.forget(name)
        if self._around is None:
            self._around = Around({name: mounted.view for name, mounted in self._of.items()},
                                  {name: mounted.grid for name, mounted in self._of.items()},
                                  increment=self._mount.scan_increment,
                                  pavement_is_obstacle=self._mount.pavement_is_obstacle)
        return self._around

    def _moved(self, before_ns: int, after_ns: int) -> Motion:
        if before_ns == after_ns:
            return STILL
        motion = self._motion(before_ns, after_ns)
        self._unmoved = self._unmoved or motion is None
        return STILL if motion is None else motion


def cameras_together(cameras: Mapping[str, tuple[Level, str]]) -> list[Status]:
    """One status a camera from its level and its reasons: a fault of one is a warning of the whole, for the others'
    ground holds; where all have a fault, it is the whole's."""
    all_bad = all(level >= Level.ERROR for level, _ in cameras.values())
    return [Status(name, level if all_bad else min(level, Level.WARN), reason)
            for name, (level, reason) in cameras.items()]
