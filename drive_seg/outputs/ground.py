"""The tables from which grid, scan and points are looked up: made once for a camera at a pose, live and in a replay."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from drive_seg.core.camera import CameraError
from drive_seg.core.ground import CameraPose, GroundError
from drive_seg.core.mounted import Mount, MountedCamera, camera_key, check_frames
from drive_seg.errors import DriveSegError, reason_and_fix
from drive_seg.outputs.messages import GroundMessages, Messages

Size = tuple[int, int]


class PoseError(DriveSegError, ValueError):
    """The camera's pose is not known; the message names the fix."""


GROUND_ERRORS = (CameraError, GroundError, PoseError)
"""Why nothing can be measured of the ground."""


@dataclass(frozen=True)
class CameraState:
    """The camera as an image was taken. info: its CameraInfo message, None where none has come. frame_id: the image's.
    pose: in base_frame, None where it is not known; then `why` is raised for it. place: of base_frame in the frame in
    which the vehicle moves, None where that is not known or not asked."""

    info: Any
    frame_id: str
    pose: CameraPose | None
    why: PoseError | None = None
    place: CameraPose | None = None


@dataclass(frozen=True)
class _Made:
    """What was made for a camera and its pose. key: all that counts of CameraInfo, and the sizes. problem: kind,
    reason and fix, not the error itself, which would hold on to every frame that it is raised for."""

    key: tuple
    pose: CameraPose
    ground: GroundMessages | None
    problem: tuple[type[DriveSegError], str, str] | None = None

    def fits(self, key: tuple, pose: CameraPose) -> bool:
        return key == self.key and pose.close_to(self.pose)


class GroundTables:
    """Keeps the tables of one camera, and makes new ones when it or its pose changes."""

    def __init__(self, messages: Messages, mount: Mount, ego: np.ndarray | None = None, *,
                 beside: bool = False) -> None:
        """messages: what makes the messages. ego: (h, w) of any size, non-zero where the vehicle itself is seen.
        beside: make the tables in another thread, for that takes a second or more; until they are there nothing can be
        measured, and no frame waits.
        """
        self._messages, self._mount, self._ego = messages, mount, ego
        self._maker = ThreadPoolExecutor(1, "ground") if beside else None
        self._coming: Future[_Made] | None = None
        self._made: _Made | None = None

    def find(self, camera: CameraState, camera_size: Size, size: Size) -> GroundMessages:
        """The ground for labels of `size`, of a camera image of camera_size, each (height, width).

        Raises CameraError, GroundError or PoseError with the fix, also while the tables are being made.
        """
        if camera.info is None:
            raise CameraError("no CameraInfo has come", "remap `camera_info` to the camera's, and calibrate it")
        check_frames(camera.info, camera.frame_id)
        if camera.pose is None:
            raise PoseError("the camera's pose is not known") if camera.why is None else camera.why
        key = (*camera_key(camera.info, self._mount.camera_rectified), camera_size, size)
        if self._coming is not None and self._coming.done():
            done, self._coming = self._coming, None
            self._made = done.result()
        made = self._made
        if made is None or not made.fits(key, camera.pose):
            made = self._made = self._make_new(key, camera, camera_size, size)
        if made.problem is not None:
            kind, reason, fix = made.problem
            raise kind(reason, fix)
        assert made.ground is not None
        return made.ground

    def _make_new(self, key: tuple, camera: CameraState, camera_size: Size, size: Size) -> _Made:
        if self._maker is None:
            return self._make(key, camera, camera_size, size)
        if self._coming is None:
            self._coming = self._maker.submit(self._make, key, camera, camera_size, size)
        raise GroundError("its tables are being made for this camera and pose",
                          "wait a few seconds; where the pose never rests, give the camera's as parameters")

    def _make(self, key: tuple, camera: CameraState, camera_size: Size, size: Size) -> _Made:
        assert camera.pose is not None
        try:
            mounted = MountedCamera(self._mount, camera.pose, camera.info, camera_size, size, self._ego)
            ground = GroundMessages(self._messages, mounted)
            ground.prepare()
        except (DriveSegError, ValueError) as error:
            kind = type(error) if isinstance(error, GROUND_ERRORS) else GroundError
            return _Made(key, camera.pose, None, (kind, *reason_and_fix(error)))
        except MemoryError:
            return _Made(key, camera.pose, None, (GroundError, "there is not enough memory for its tables",
                                                  "check CameraInfo, or set a coarser grid_resolution"))
        return _Made(key, camera.pose, ground)

    def wait(self, seconds: float) -> None:
        """Until what is being made in the other thread is done."""
        if self._coming is not None:
            self._coming.result(seconds)

    def close(self) -> None:
        """Make nothing any more."""
        if self._maker is not None:
            self._maker.shutdown(wait=False, cancel_futures=True)
