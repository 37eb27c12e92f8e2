"""The ground in a replay: the camera of a bag on its vehicle, frame by frame."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from drive_seg.core.camera import CameraError
from drive_seg.core.ground import CameraPose
from drive_seg.core.mounted import Mount
from drive_seg.outputs.ground import CameraState, PoseError
from drive_seg.replay.resultbag import ON_GROUND
from drive_seg.replay.transforms import TransformError, Transforms
from drive_seg.sources.bag import CAMERA_INFO, TF, Bag, BagImage, Topic, info_topic

_TF, _TF_STATIC = "/tf", "/tf_static"
_AROUND_NS = 5 * 10**9  # before and after the first image, in which all that moves is reported


class BagCamera:
    """What a bag says of its camera on the way: the newest CameraInfo, and its pose at each image.

    pose_from: `parameters` or `tf`. topics: those to take messages of.
    """

    def __init__(self, mount: Mount, info: Any, topic: Topic, transforms: Transforms | None,
                 tf_topics: Collection[str] = (), odom: tuple[str, Transforms] | None = None) -> None:
        """info: the first CameraInfo, for images before it. transforms: static ones, None where the mount has the
        pose. tf_topics: where the bag has more. odom: the frame in which the vehicle moves, and static transforms."""
        self.mount, self._info, self._transforms = mount, info, transforms
        self.pose_from = "parameters" if transforms is None else "tf"
        self.topics = (info_topic(topic.name), *tf_topics)
        self._odom = odom

    def take(self, topic: Topic, message: Any) -> None:
        """Take note of a message of one of `topics`, in the order of recording."""
        if topic.type == CAMERA_INFO:
            self._info = message
        elif topic.type == TF:
            for transforms in (self._transforms, None if self._odom is None else self._odom[1]):
                if transforms is not None:
                    transforms.add(message, topic.name == _TF_STATIC)

    def at(self, image: BagImage) -> CameraState:
        """The camera at an image, after what was recorded before it."""
        place = self._place(image)
        if self._transforms is None:
            return CameraState(self._info, image.frame_id, self.mount.pose, place=place)
        try:
            pose = self._transforms.pose(self.mount.base_frame, image.frame_id, image.stamp_ns or image.log_ns)
        except TransformError as error:
            return CameraState(self._info, image.frame_id, None, PoseError(
                f"the camera's pose is not known ({error})",
                "set camera_height (and camera_pitch, ...), or record the transform"))
        return CameraState(self._info, image.frame_id, pose, place=place)

    def _place(self, image: BagImage) -> CameraPose | None:
        if self._odom is None:
            return None
        frame, transforms = self._odom
        try:
            return transforms.pose(frame, self.mount.base_frame, image.stamp_ns or image.log_ns, moves_on=True)
        except TransformError:
            return None


def open_camera(bag: Bag, topic: Topic, mount: Mount, outputs: Collection[str], odom_frame: str = "",
                ) -> BagCamera | None:
    """A bag's camera on its vehicle; None where none of the outputs needs it, or nothing is known of its pose.

    odom_frame: in which the vehicle's motion is looked up, "" for nowhere.

    Raises CameraError where the settings say where the camera sits, but the bag has no CameraInfo.
    """
    if not set(outputs) & set(ON_GROUND):
        return None
    info = bag.camera_info(topic)
    there = [name for name in (_TF, _TF_STATIC) if _has_tf(bag, name)]
    if mount.camera_height > 0:
        if info is None:
            raise CameraError("the bag has no CameraInfo for this camera, so nothing can be measured",
                              "leave out the camera's height")
        return BagCamera(mount, info, topic, None, there if odom_frame else (), _odometry(bag, odom_frame))
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
    try:
        if not whole.connected(mount.base_frame, image.frame_id):
            return None
    except TransformError:  # frames in a circle: nothing is known of the pose, the masks are as good as ever
        return None
    return BagCamera(mount, info, topic, transforms, there, _odometry(bag, odom_frame))


def _odometry(bag: Bag, frame: str) -> tuple[str, Transforms] | None:
    if not frame:
        return None
    transforms = Transforms()
    for message in reversed(_messages(bag, _TF_STATIC)):
        transforms.add(message, static=True)
    return frame, transforms


def _has_tf(bag: Bag, name: str) -> bool:
    return any(t.name == name and t.type == TF and t.count for t in bag.topics)


def _messages(bag: Bag, name: str, *window: int) -> list[Any]:
    if not _has_tf(bag, name):
        return []
    return [message for _, message in bag.readable([name], *window)]
