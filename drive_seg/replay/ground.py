"""The ground in a replay: the camera of a bag on its vehicle, frame by frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from drive_seg.core.camera import CameraError
from drive_seg.core.ground import CameraPose, GroundError
from drive_seg.core.mounted import Mount, MountedCamera, camera_key, check_frames
from drive_seg.errors import DriveSegError, reason_and_fix
from drive_seg.outputs.messages import GroundMessages
from drive_seg.replay.messages import BAG
from drive_seg.replay.resultbag import ON_GROUND
from drive_seg.replay.settings import Settings
from drive_seg.replay.transforms import TransformError, Transforms
from drive_seg.sources.bag import CAMERA_INFO, TF, Bag, BagImage, Topic, info_topic

GEOMETRY_ERRORS = (CameraError, GroundError, TransformError)
"""What a camera that can't measure is told with."""

_TF, _TF_STATIC = "/tf", "/tf_static"
_AROUND_NS = 5 * 10**9  # before and after the first image, in which all that moves is told


@dataclass(frozen=True)
class View:
    """The camera as an image was taken. info: its CameraInfo, as rosbags reads it. frame_id: the image's. pose: in
    base_frame, None where it is not known; then `why`."""

    info: Any
    frame_id: str
    pose: CameraPose | None
    why: str = ""


class Rig:
    """What a bag says of its camera on the way: the newest CameraInfo, and its pose at each image.

    pose_from: `parameters` or `tf`. topics: those to take messages of.
    """

    def __init__(self, mount: Mount, info: Any, topic: Topic, transforms: Transforms | None,
                 tf_topics: Collection[str] = ()) -> None:
        """info: the first CameraInfo, for images before it. transforms: static ones, None where the mount has the
        pose. tf_topics: where the bag has more."""
        self.mount, self._info, self._transforms = mount, info, transforms
        self.pose_from = "parameters" if transforms is None else "tf"
        self.topics = (info_topic(topic.name), *tf_topics)

    def take(self, topic: Topic, message: Any) -> None:
        """Take note of a message of one of `topics`, in the order of recording."""
        if topic.type == CAMERA_INFO:
            self._info = message
        elif topic.type == TF:
            self._transforms.add(message, topic.name == _TF_STATIC)

    def at(self, image: BagImage) -> View:
        """The camera at an image, after what was recorded before it."""
        if self._transforms is None:
            return View(self._info, image.frame_id, self.mount.pose)
        try:
            pose = self._transforms.pose(self.mount.base_frame, image.frame_id, image.stamp_ns or image.log_ns)
        except TransformError as error:
            return View(self._info, image.frame_id, None, str(error))
        return View(self._info, image.frame_id, pose)


def open_rig(bag: Bag, topic: Topic, settings: Settings) -> Rig | None:
    """The rig of a bag's camera; None where nothing of the ground is asked for, or nothing can be told of it.

    Raises CameraError where the settings say where the camera sits, but the bag has no CameraInfo.
    """
    if not set(settings.outputs) & set(ON_GROUND):
        return None
    mount, info = settings.mount or Mount(0.0), bag.camera_info(topic)
    if mount.camera_height > 0:
        if info is None:
            raise CameraError("the bag has no CameraInfo for this camera, so nothing can be measured",
                              "leave out the camera's height")
        return Rig(mount, info, topic, None)
    if info is None or not (info.K if hasattr(info, "K") else info.k)[0] > 0:
        return None
    image = next((image for image in bag.images(topic) if image.message is not None), None)
    if image is None:
        return None
    transforms = Transforms()
    for message in reversed(_messages(bag, _TF_STATIC)):  # they hold from the beginning, the first of each
        transforms.add(message, static=True)
    whole = Transforms()
    for name, window in ((_TF_STATIC, ()), (_TF, (image.log_ns - _AROUND_NS, image.log_ns + _AROUND_NS))):
        for message in _messages(bag, name, *window):
            whole.add(message, static=name == _TF_STATIC)
    if not whole.connected(mount.base_frame, image.frame_id):
        return None
    return Rig(mount, info, topic, transforms, [name for name in (_TF, _TF_STATIC) if _has_tf(bag, name)])


def _has_tf(bag: Bag, name: str) -> bool:
    return any(t.name == name and t.type == TF and t.count for t in bag.topics)


def _messages(bag: Bag, name: str, *window: int) -> list[Any]:
    if not _has_tf(bag, name):
        return []
    return [message for _, message in bag.readable([name], *window)]


@dataclass(frozen=True)
class _Built:
    """problem: kind, reason and fix. Not the error itself: raised again and again, it would hold on to every frame."""

    key: tuple
    pose: CameraPose
    ground: GroundMessages | None
    problem: tuple[type[DriveSegError], str, str] | None = None


class Ground:
    """Gives the ground for the labels of each frame; its tables are built anew when camera or pose change."""

    def __init__(self, mount: Mount, ego: np.ndarray | None = None) -> None:
        """ego: see Segmenter."""
        self._mount, self._ego = mount, ego
        self._built: _Built | None = None

    def find(self, view: View, camera_size: tuple[int, int], size: tuple[int, int]) -> GroundMessages:
        """The ground for labels of `size`, of a camera image of camera_size, each (height, width).

        Raises CameraError, GroundError, TransformError or ValueError, with the fix.
        """
        if view.pose is None:
            raise TransformError(f"the camera's pose is not known ({view.why})",
                                 "set camera_height (and camera_pitch, ...), or record the transform")
        check_frames(view.info, view.frame_id)
        key = (*camera_key(view.info, self._mount.camera_rectified), camera_size, size)
        built = self._built
        if built is None or built.key != key or not view.pose.close_to(built.pose):
            built = self._built = self._build(key, view, camera_size, size)
        if built.problem is not None:
            kind, *text = built.problem
            raise kind(*text)
        return built.ground

    def _build(self, key: tuple, view: View, camera_size: tuple[int, int], size: tuple[int, int]) -> _Built:
        try:
            ground = GroundMessages(BAG, MountedCamera(self._mount, view.pose, view.info, camera_size, size, self._ego))
            ground.prepare()
        except (DriveSegError, ValueError) as error:
            kind = type(error) if isinstance(error, DriveSegError) else GroundError
            return _Built(key, view.pose, None, (kind, *reason_and_fix(error)))
        return _Built(key, view.pose, ground)
