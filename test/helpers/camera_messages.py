"""Messages as a camera driver makes them."""

from __future__ import annotations

import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header


def header(number: int = 1, frame_id: str = "camera_front") -> Header:
    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = 1700000000 + number, 123456789
    return message


def image(pixels: np.ndarray, number: int = 1, encoding: str = "bgr8", padding: int = 0, **changes) -> Image:
    """An Image message; padding: bytes after each row; changes: fields to set afterwards, right or wrong."""
    rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)))
    message = Image(header=header(number), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                    step=rows.shape[1])
    message.data = array.array("B", rows.tobytes())
    for field, value in changes.items():
        setattr(message, field, value)
    return message


def jpeg(pixels: np.ndarray, number: int = 1) -> CompressedImage:
    data = cv2.imencode(".jpg", pixels)[1]
    return CompressedImage(header=header(number), format="jpeg", data=array.array("B", data.tobytes()))


def pixels(message: Image) -> np.ndarray:
    """The picture in a mono8 or bgr8 message."""
    channels = {"mono8": (), "bgr8": (3,)}[message.encoding]
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, *channels)
