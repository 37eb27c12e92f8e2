"""A camera process for the benchmark: frames from a file, published at an exact rate; prints their stamps as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from drive_seg.ros import transport

_PATIENCE = 30.0
_GRACE = 1.0  # seconds: a publisher sees its subscriber before the subscriber sees it


def main() -> int:
    """Publish `count` frames at `rate` on `image`."""
    transport.apply()  # before rclpy is imported
    import rclpy
    from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from drive_seg.ros.images import to_image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path, help=".npy of (N, H, W, 3) uint8 BGR")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--count", type=int, required=True)
    args = parser.parse_args()
    messages = [to_image(frame, Header(frame_id="camera"), "bgr8") for frame in np.load(args.frames)]
    rclpy.init(args=[])
    node = rclpy.create_node("bench_camera")
    qos = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(Image, "image", qos)
    end = time.monotonic() + _PATIENCE
    while not publisher.get_subscription_count():
        if time.monotonic() > end:
            print("nobody subscribed to image", file=sys.stderr)
            return 2
        time.sleep(0.05)
    time.sleep(_GRACE)
    stamps = []
    start = time.monotonic()
    for i in range(args.count):
        time.sleep(max(0.0, start + i / args.rate - time.monotonic()))
        message = messages[i % len(messages)]
        now = node.get_clock().now()
        message.header.stamp = now.to_msg()
        publisher.publish(message)
        stamps.append(now.nanoseconds)
    time.sleep(_GRACE)
    print(json.dumps(stamps), flush=True)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
