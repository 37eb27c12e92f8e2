"""sensor_msgs images to frames, and numpy images to sensor_msgs: no copy in, one cheap copy out."""

from __future__ import annotations

import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from drive_seg.core.frame import ENCODINGS, Frame, FrameError


def to_frame(message: Image | CompressedImage) -> Frame:
    """View a message as a frame (raw: without a copy; compressed: decoded). Raises FrameError."""
    if isinstance(message, CompressedImage):
        return Frame.from_compressed(message.data, message.format)
    if message.encoding not in ENCODINGS:
        return _through_cv_bridge(message)
    return Frame.from_bytes(message.data, message.encoding, message.height, message.width, message.step)


def to_image(image: np.ndarray, header: Header, encoding: str) -> Image:
    """An Image with the given header. image: (H, W) for mono8 or (H, W, 3) for bgr8, uint8."""
    message = Image()
    message.header = header
    message.height, message.width = image.shape[:2]
    message.encoding = encoding
    message.step = image.strides[0] if image.flags.c_contiguous else image.shape[1] * image[0, 0].nbytes
    message.data = _bytes(np.ascontiguousarray(image))
    return message


def to_jpeg(image: np.ndarray, header: Header, quality: int = 80) -> CompressedImage:
    """A JPEG CompressedImage of a BGR image (H, W, 3) uint8."""
    _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    message = CompressedImage()
    message.header = header
    message.format = "bgr8; jpeg compressed bgr8"  # as image_transport writes it
    message.data = _bytes(data)
    return message


def _bytes(data: np.ndarray) -> array.array:
    # rclpy takes an array.array('B') as it is; bytes or a list are checked element by element.
    out = array.array("B")
    out.frombytes(memoryview(data).cast("B"))
    return out


def _through_cv_bridge(message: Image) -> Frame:
    """Encodings beyond our own, where the ROS distribution brings cv_bridge."""
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError:
        raise FrameError(f"encoding {message.encoding!r} is not supported: publish one of {', '.join(ENCODINGS)},"
                         " or install your ROS distribution's cv_bridge") from None
    try:
        return Frame.from_array(np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, "bgr8")))
    except (CvBridgeError, ValueError, TypeError) as error:
        raise FrameError(f"cv_bridge can't convert encoding {message.encoding!r} to bgr8: {error}") from error
