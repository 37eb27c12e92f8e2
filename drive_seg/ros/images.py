"""sensor_msgs images to frames, and numpy images to sensor_msgs: no copy in, one cheap copy out."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from drive_seg.core.frame import ENCODINGS, MAX_IMAGE_PIXELS, Frame, FrameError, check_pixels
from drive_seg.ros.messages import ROS


def to_frame(message: Image | CompressedImage, max_pixels: int = MAX_IMAGE_PIXELS) -> Frame:
    """View a message as a frame (raw: without a copy; compressed: decoded).

    max_pixels: of the largest image that is taken. Raises FrameError.
    """
    if isinstance(message, CompressedImage):
        return Frame.from_compressed(message.data, message.format, max_pixels)
    if message.encoding not in ENCODINGS:
        return _through_cv_bridge(message, max_pixels)
    return Frame.from_bytes(message.data, message.encoding, message.height, message.width, message.step,
                            max_pixels)


def to_image(image: np.ndarray, header: Header, encoding: str) -> Image:
    """An Image with the given header. image: (H, W) for mono8 or (H, W, 3) for bgr8, uint8."""
    return ROS.image(header, image, encoding)


def _through_cv_bridge(message: Image, max_pixels: int) -> Frame:
    """Encodings beyond our own, where the ROS distribution brings cv_bridge."""
    check_pixels(message.height, message.width, max_pixels)
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError:
        raise FrameError(f"encoding {message.encoding!r} is not supported",
                         f"publish one of {', '.join(ENCODINGS)}, or install your ROS distribution's"
                         " cv_bridge") from None
    try:
        return Frame.from_array(np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, "bgr8")))
    except (CvBridgeError, ValueError, TypeError) as error:
        raise FrameError(f"cv_bridge can't convert encoding {message.encoding!r} to bgr8: {error}") from error
