"""Play three views cut from wide footage as three cameras would: `NAME/image` and `NAME/camera_info`, of one time."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from drive_seg.play.camera_player import camera_info
from drive_seg.play.graph import GRACE, exit_code, wait_for_subscriber
from drive_seg.ros import transport
from drive_seg.sources.views import NAME, open_wide, views_of

_WAIT = 60.0  # seconds for a subscriber


def main(args: Sequence[str] | None = None) -> int:
    """Play until the footage ends; prints a line of JSON for each frame. Returns the exit code."""
    transport.apply()  # before rclpy is imported
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    parser = argparse.ArgumentParser(prog="views_player", description=__doc__)
    parser.add_argument("--source", default=NAME, help=f"{NAME} or {NAME}:CLIP")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="stop after so much footage")
    options = parser.parse_args(args)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    return exit_code("views_player", lambda: _play(options.source, options.duration))


def _play(source: str, duration: float | None) -> None:
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CameraInfo, Image
    from std_msgs.msg import Header

    from drive_seg.ros.images import to_image

    footage = open_wide(source, duration)
    assert footage.camera is not None and footage.mounting is not None  # open_wide asks for them
    views = views_of(footage.camera, footage.mounting)
    node = rclpy.create_node("views_player")
    images = {view.name: node.create_publisher(Image, f"{view.name}/image", qos_profile_sensor_data) for view in views}
    infos = {view.name: node.create_publisher(CameraInfo, f"{view.name}/camera_info", qos_profile_sensor_data)
             for view in views}
    for publisher in images.values():
        wait_for_subscriber(node, [publisher.topic_name], _WAIT, grace=0.0)
    time.sleep(GRACE)
    start, first = None, 0
    for shot in footage:
        wide = shot.frame.bgr()
        cut = [view.cut(wide) for view in views]
        if start is None:
            start, first = time.monotonic(), shot.stamp_ns
        time.sleep(max(0.0, start + (shot.stamp_ns - first) * 1e-9 - time.monotonic()))
        now = node.get_clock().now()
        for view, picture in zip(views, cut, strict=True):
            header = Header(stamp=now.to_msg(), frame_id=f"camera_{view.name}")
            info = camera_info(view.camera, picture.shape[:2])
            info.header = header
            infos[view.name].publish(info)
            images[view.name].publish(to_image(picture, header, "bgr8"))
        print(json.dumps({"name": shot.name, "stamp_ns": now.nanoseconds}), flush=True)
    time.sleep(GRACE)  # let the last frame leave before the publishers go
    node.destroy_node()


if __name__ == "__main__":
    sys.exit(main())
