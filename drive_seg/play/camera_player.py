"""Play footage as a camera would: images and camera_info on ROS topics, at the footage's own rate.

Publishes `image` (or `image/compressed`, for bags that recorded it: the bytes go out as they are) and `camera_info`,
stamped with the time of publishing on the ROS clock.
"""

from __future__ import annotations

import argparse
import array
import json
import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from drive_seg.core.frame import FrameError
from drive_seg.play.graph import GRACE, exit_code, wait_for_subscriber
from drive_seg.ros import transport
from drive_seg.sources.clip import DEFAULT
from drive_seg.sources.frame_source import FrameSource, Intrinsics, Shot, SourceError
from drive_seg.sources.open import KINDS, open_source

if TYPE_CHECKING:
    from rclpy.node import Node
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

_AHEAD = 8  # frames decoded before they are due


def main(args: Sequence[str] | None = None) -> int:
    """Play footage until it ends; returns the exit code."""
    transport.apply()  # before rclpy is imported
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    words = list(sys.argv[1:] if args is None else args)
    options = _parser().parse_args(remove_ros_args(words))

    def play() -> None:
        footage = open_source(options.source, duration=options.duration, topic=options.topic,
                              **({"rate": options.rate} if options.rate else {}))
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("camera_player")
        try:
            Player(node, footage, options.frame_id, options.keep).play(options.wait, options.report, options.repeat)
        finally:
            node.destroy_node()

    return exit_code("camera_player", play)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="camera_player", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=DEFAULT, help=f"{KINDS} (default: {DEFAULT})")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="stop after so much footage")
    parser.add_argument("--topic", help="image topic, for a bag with several cameras")
    parser.add_argument("--rate", type=float, metavar="HZ", help="of a folder of images (default: 10)")
    parser.add_argument("--repeat", type=int, metavar="N", help="publish N frames: those of the source over and over,"
                        " held in memory, so that nothing is decoded meanwhile")
    parser.add_argument("--frame-id", default="camera_front", help="of the published headers (default: camera_front)")
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS",
                        help="wait so long for a subscriber before the first frame; 0 starts at once (default: 60)")
    parser.add_argument("--report", action="store_true", help="print a line of JSON for each published frame")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="also save every frame as a JPEG (for cameras)")
    return parser


class Player:
    """Publishes the shots of some footage, each when it is due."""

    def __init__(self, node: Node, footage: FrameSource, frame_id: str = "camera_front",
                 keep: Path | None = None) -> None:
        """keep: folder in which every frame is saved as NAME.jpg."""
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        self._node = node
        self._footage = footage
        self._frame_id = frame_id
        self._keep = keep
        kind, topic = (CompressedImage, "image/compressed") if footage.compressed else (Image, "image")
        self._images = node.create_publisher(kind, topic, qos_profile_sensor_data)
        self._infos = node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)

    def play(self, wait: float, report: bool, repeat: int | None = None) -> None:
        """Publish everything, or so many frames (repeat), over and over those of the footage, held in memory.

        wait: seconds for somebody to subscribe; 0 starts at once. report: print a line of JSON for each frame. Raises
        PlayerError when nobody subscribes in time, and SourceError.
        """
        ready: queue.Queue = queue.Queue(_AHEAD)
        stop = threading.Event()
        threading.Thread(target=self._decode, args=(ready, stop, repeat), name="decode", daemon=True).start()
        try:
            if wait:
                wait_for_subscriber(self._node, [self._images.topic_name], wait)
            self._publish(ready, report)
        finally:
            stop.set()

    def _publish(self, ready: queue.Queue, report: bool) -> None:
        start = first = None
        while (item := ready.get()) is not None:
            if isinstance(item, Exception):
                raise item
            name, stamp_ns, shot, image, info = item
            if start is None:
                start, first = time.monotonic(), stamp_ns
            if not self._footage.live:
                time.sleep(max(0.0, start + (stamp_ns - first) * 1e-9 - time.monotonic()))
            now = self._node.get_clock().now()
            image.header.stamp = info.header.stamp = now.to_msg()
            self._infos.publish(info)
            self._images.publish(image)
            if report:
                print(json.dumps({"name": name, "stamp_ns": now.nanoseconds}), flush=True)
            if self._keep is not None:
                cv2.imwrite(str(self._keep / f"{name}.jpg"), shot.frame.bgr(), (cv2.IMWRITE_JPEG_QUALITY, 92))
        time.sleep(GRACE)  # let the last frame leave before the publisher goes

    def _decode(self, ready: queue.Queue, stop: threading.Event, repeat: int | None) -> None:
        """Prepare messages ahead of time; None ends them, an exception is raised where they are published."""
        held: list[tuple[Shot, Image | CompressedImage, CameraInfo]] = []

        def put(item: object) -> bool:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        skipped: list[str] = []
        good = 0
        try:
            for shot in self._footage:
                try:
                    image = _compressed(shot) if self._footage.compressed else _raw(shot)
                    info = camera_info(self._footage.camera, None if self._footage.compressed else shot.frame.size)
                except FrameError as error:  # only this frame is lost
                    skipped.append(f"frame {shot.name}: {error}")
                    continue
                image.header.frame_id = info.header.frame_id = self._frame_id
                good += 1
                if repeat is not None:
                    held.append((shot, image, info))
                elif not put((shot.name, shot.stamp_ns, shot, image, info)):
                    return
            for number in range(repeat if repeat is not None and held else 0):
                item = held[number % len(held)]
                if not put((f"{number:06d}", round(number * 1e9 / self._footage.rate), *item)):
                    return
            put(self._end(good, skipped))
        except Exception as error:  # raised again by the thread that publishes
            put(error)

    def _end(self, good: int, skipped: list[str]) -> SourceError | None:
        """Tell of frames that are not images; an error where none was one."""
        if skipped and not good:
            return SourceError(f"{self._footage.source}: none of its {len(skipped)} frames is an image, {skipped[0]}")
        if skipped:
            print(f"camera_player: warning: {self._footage.source}: {len(skipped)} of {good + len(skipped)} frames are"
                  f" not images, {skipped[0]}", file=sys.stderr)
        return None


def _raw(shot: Shot) -> Image:
    from drive_seg.ros.images import to_image

    return to_image(shot.frame.bgr(), _header(), "bgr8")


def _compressed(shot: Shot) -> CompressedImage:
    from sensor_msgs.msg import CompressedImage

    data = array.array("B")  # rclpy takes it as it is
    assert shot.encoded is not None  # the footage has the bytes as they were recorded
    data.frombytes(shot.encoded)
    return CompressedImage(header=_header(), format=shot.encoded_format, data=data)


def camera_info(camera: Intrinsics | None, size: tuple[int, int] | None) -> CameraInfo:
    """The CameraInfo of images of `size` = (height, width), None for that of `camera`.

    Zeros in K say `not calibrated`, as ROS has it; so do intrinsics of another image size.
    """
    from sensor_msgs.msg import CameraInfo

    info = CameraInfo(header=_header())
    if camera is not None and size in (None, (camera.height, camera.width)):
        info.height, info.width = camera.height, camera.width
        info.distortion_model, info.d, info.k = camera.model, list(camera.distortion), list(camera.matrix)
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        k = camera.matrix
        info.p = [*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0]
    elif size is not None:
        info.height, info.width = size
    return info


def _header():  # noqa: ANN202 - the type needs ROS
    from std_msgs.msg import Header

    return Header()


if __name__ == "__main__":
    sys.exit(main())
