"""A camera frame: its bytes as they came, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from drive_seg.core import jpeg_entropy
from drive_seg.core.image_header import JPEG, PNG, HeaderError, check_png, has_exif, jpeg_scans, png_pixels, read_header
from drive_seg.errors import DriveSegError


class FrameError(DriveSegError, ValueError):
    """Bytes that are not an image; the message says what is wrong and the fix."""


class CutShortError(FrameError):
    """An image of which data is missing or damaged."""


class TooLargeError(FrameError):
    """An image of more pixels than are taken."""


_NO_COLOUR_IMAGE = ("bayer_", "16UC1", "32FC1")
"""Beginnings of the encodings, in the format of a CompressedImage, whose files show no colours: mosaics and depths."""

MAX_IMAGE_PIXELS = 48_000_000
"""Pixels of the largest image that is taken unless the caller says otherwise: an 8K camera's has 33 million."""

_MOST_QUOTED = 60  # letters of a text that came from outside

_MOST_SCANS = 100  # of a progressive JPEG; encoders write about ten, a hostile one makes a decoder work for minutes


@dataclass(frozen=True)
class Layout:
    """Where an encoding has its bytes. channels: interleaved bytes a pixel. to_bgr: OpenCV's conversion code, None for
    what is BGR already. at: of a pixel's R, G and B; with yuv of its Y, and of U and V in its pair of pixels; empty in
    a mosaic. rows: of bytes for rows of pixels, 3 for 2 where U and V lie below all Y. even: must height, width be so?
    """

    channels: int
    to_bgr: int | None
    at: tuple[int, ...] = ()
    yuv: bool = False
    rows: tuple[int, int] = (1, 1)
    even: tuple[bool, bool] = (False, False)


# OpenCV names a Bayer pattern after the second row's second and third pixel, ROS after the first row's first two.
LAYOUTS: dict[str, Layout] = {
    "bgr8": Layout(3, None, (2, 1, 0)),
    "8UC3": Layout(3, None, (2, 1, 0)),
    "rgb8": Layout(3, cv2.COLOR_RGB2BGR, (0, 1, 2)),
    "bgra8": Layout(4, cv2.COLOR_BGRA2BGR, (2, 1, 0)),
    "8UC4": Layout(4, cv2.COLOR_BGRA2BGR, (2, 1, 0)),
    "rgba8": Layout(4, cv2.COLOR_RGBA2BGR, (0, 1, 2)),
    "mono8": Layout(1, cv2.COLOR_GRAY2BGR, (0, 0, 0)),
    "8UC1": Layout(1, cv2.COLOR_GRAY2BGR, (0, 0, 0)),
    "yuv422": Layout(2, cv2.COLOR_YUV2BGR_UYVY, (1, 0, 2), True, even=(False, True)),
    "uyvy": Layout(2, cv2.COLOR_YUV2BGR_UYVY, (1, 0, 2), True, even=(False, True)),
    "yuv422_yuy2": Layout(2, cv2.COLOR_YUV2BGR_YUY2, (0, 1, 3), True, even=(False, True)),
    "yuyv": Layout(2, cv2.COLOR_YUV2BGR_YUY2, (0, 1, 3), True, even=(False, True)),
    "nv12": Layout(1, cv2.COLOR_YUV2BGR_NV12, (0, 0, 1), True, (3, 2), (True, True)),
    "nv21": Layout(1, cv2.COLOR_YUV2BGR_NV21, (0, 1, 0), True, (3, 2), (True, True)),
    "bayer_rggb8": Layout(1, cv2.COLOR_BayerBG2BGR, even=(True, True)),
    "bayer_bggr8": Layout(1, cv2.COLOR_BayerRG2BGR, even=(True, True)),
    "bayer_gbrg8": Layout(1, cv2.COLOR_BayerGR2BGR, even=(True, True)),
    "bayer_grbg8": Layout(1, cv2.COLOR_BayerGB2BGR, even=(True, True)),
}

ENCODINGS = tuple(LAYOUTS)
"""The encodings that are read without help, by their names in sensor_msgs/image_encodings."""

_RESIZES_AS_IT_IS = {"bgr8", "8UC3", "rgb8", "bgra8", "8UC4", "rgba8", "mono8", "8UC1"}


@dataclass(frozen=True)
class Frame:
    """One camera image.

    data: uint8, (rows, step) or (rows, width, channels), where rows = height (3/2 of it for nv12 and nv21); rows may
    be padded. encoding: a name of ENCODINGS. height, width in pixels.
    """

    data: np.ndarray
    encoding: str
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @classmethod
    def from_array(cls, image: np.ndarray, encoding: str = "bgr8") -> Frame:
        """Wrap an interleaved image (H, W, channels) or (H, W), uint8, without a copy. Raises FrameError."""
        layout = _layout(encoding)
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or layout.rows != (1, 1):
            raise FrameError(f"an image is uint8 (H, W, channels); this is {image.dtype} {image.shape} as {encoding}")
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels != layout.channels:
            raise FrameError(f"{encoding} has {layout.channels} bytes a pixel, this image has {channels}")
        if image.size == 0:
            raise FrameError(f"the image is empty: shape {image.shape}")
        _check_even(layout, encoding, *image.shape[:2])
        return cls(image, encoding, image.shape[0], image.shape[1])

    @classmethod
    def from_bytes(cls, data: bytes | memoryview | np.ndarray, encoding: str, height: int, width: int,
                   step: int, max_pixels: int = MAX_IMAGE_PIXELS) -> Frame:
        """View the bytes of a sensor_msgs/Image as a frame, without a copy.

        step: bytes from one row to the next, padding included. max_pixels: of the largest image that is taken. Raises
        FrameError.
        """
        layout = _layout(encoding)
        if height <= 0 or width <= 0:
            raise FrameError(f"the image is empty: width {width}, height {height}")
        check_pixels(height, width, max_pixels)
        _check_even(layout, encoding, height, width)
        row_bytes = width * layout.channels
        if step < row_bytes:
            raise FrameError(f"step is {step}, but a row of {width} {encoding} pixels has {row_bytes} bytes")
        rows = height * layout.rows[0] // layout.rows[1]
        buffer = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data.reshape(-1)
        needed = step * (rows - 1) + row_bytes  # drivers differ in whether they pad the last row
        if buffer.size < needed:
            raise FrameError(f"data has {buffer.size} bytes, but step {step} x {rows} rows need {step * rows}")
        shape = (rows, width, layout.channels) if layout.channels > 1 else (rows, width)
        strides = (step, layout.channels, 1) if layout.channels > 1 else (step, 1)
        pixels = np.ndarray(shape, np.uint8, buffer, 0, strides)
        return cls(pixels, encoding, height, width)

    @classmethod
    def from_compressed(cls, data: bytes | memoryview | np.ndarray, form: str = "",
                        max_pixels: int = MAX_IMAGE_PIXELS) -> Frame:
        """Decompress the data of a sensor_msgs/CompressedImage; form is its format field. Raises FrameError.

        max_pixels: of the largest image that is decoded. Takes JPEG and PNG, in which lost data shows (see `decode`).
        The JPEGs of a camera that leaves their end marker out are refused, as they look like cut ones.
        """
        encoding = form.partition(";")[0].strip()
        if encoding.startswith(_NO_COLOUR_IMAGE):
            raise FrameError(f"a CompressedImage ({_cut(form)}) is not a colour image once it is decompressed",
                             "let the driver compress the rectified colour image, or use the raw transport")
        buffer = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data.reshape(-1)
        what = f"a CompressedImage ({_cut(form)}, {buffer.size} bytes)"
        try:
            # A camera's pixels are where its calibration has them, whatever EXIF says of the way up.
            return cls.from_array(decode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, max_pixels,
                                         checked_only=True))
        except TooLargeError as error:
            raise TooLargeError(f"{what} is too large: {error.reason}", error.fix) from error
        except CutShortError as error:
            raise FrameError(f"{what} is {error}", "look for lost data between camera and driver, or let the driver"
                             " encode the JPEG itself") from error
        except FrameError as error:
            raise FrameError(f"{what} is {error}", "publish JPEG or PNG") from error

    def bgr(self) -> np.ndarray:
        """The image as (H, W, 3) uint8 BGR; a view where the bytes are BGR already."""
        return _to_bgr(self.data, self.encoding)

    def resized(self, size: tuple[int, int], interpolation: int) -> np.ndarray:
        """The image as BGR, (size[0], size[1], 3) uint8. Converts after shrinking where that is the same."""
        height, width = size
        if self.encoding in _RESIZES_AS_IT_IS:
            small = cv2.resize(self.data, (width, height), interpolation=interpolation)
            return _to_bgr(small, self.encoding)
        return cv2.resize(self.bgr(), (width, height), interpolation=interpolation)


def decode(data: np.ndarray, flags: int, max_pixels: int = MAX_IMAGE_PIXELS, *, checked_only: bool = False,
           ) -> np.ndarray:
    """cv2.imdecode of the bytes (N,) uint8 of an image file, for whole ones of at most max_pixels. Raises FrameError.

    checked_only: take JPEG and PNG only, the kinds in which lost data shows. OpenCV fills what is missing of a JPEG
    with grey, and grey passes for a road, so libjpeg-turbo must decode it without a warning. Of a PNG every checksum
    must be right. A flipped bit that leaves a valid JPEG cannot be seen by any decoder: JPEG has no checksum.
    """
    data = np.ascontiguousarray(data)
    view = data.data
    try:
        header = read_header(view)
        if header.kind == PNG:
            check_png(view)
    except HeaderError as error:
        raise (CutShortError if "cut short" in str(error) else FrameError)(str(error)) from error
    if checked_only and header.kind not in (JPEG, PNG):
        raise FrameError(f"a {header.kind}, in which lost data does not show")
    check_pixels(header.height, header.width, max_pixels)
    if checked_only and header.kind == PNG:
        data = np.frombuffer(png_pixels(view), np.uint8)
    image = _decode_jpeg(data, view, flags) if header.kind == JPEG else _decode_other(data, flags)
    if image is None:
        raise FrameError(f"a {header.kind} that OpenCV can't read: it is damaged, or of an unusual form")
    return image


def _decode_jpeg(data: np.ndarray, view: memoryview, flags: int) -> np.ndarray | None:
    if jpeg_scans(view) > _MOST_SCANS:
        raise FrameError(f"a JPEG of more than {_MOST_SCANS} scans")
    try:
        space = simplejpeg.decode_jpeg_header(data)[2]
        # In its strict mode a warning of libjpeg-turbo is an error. The pixels are OpenCV's: it uses the same library.
        pixels = simplejpeg.decode_jpeg(data, "CMYK" if space in ("CMYK", "YCCK") else "BGR", strict=True)
        found = jpeg_entropy.fault(data)
        if found is not None:
            raise ValueError(found)
    except (ValueError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split()).removeprefix("Corrupt JPEG data: ") or type(error).__name__
        raise CutShortError(f"a JPEG that is cut short or damaged ({reason})") from error
    if pixels.shape[2] == 3 and _gives_bgr(flags) and (flags & cv2.IMREAD_IGNORE_ORIENTATION or not has_exif(view)):
        return pixels
    return _decode_other(data, flags)


def _gives_bgr(flags: int) -> bool:
    return flags >= 0 and flags & ~cv2.IMREAD_IGNORE_ORIENTATION == cv2.IMREAD_COLOR


def _decode_other(data: np.ndarray, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(data, flags)
    except (cv2.error, MemoryError):  # a header that claims more pixels than OpenCV or the memory can take
        return None


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raises TooLargeError for an image of more pixels."""
    if height * width > max_pixels:
        raise TooLargeError(f"the image has {width}x{height} pixels, more than {max_pixels}",
                            "check the camera's settings, or raise max_image_pixels")


def _to_bgr(pixels: np.ndarray, encoding: str) -> np.ndarray:
    code = LAYOUTS[encoding].to_bgr
    return pixels if code is None else cv2.cvtColor(pixels, code)


def _cut(text: str) -> str:
    """Quote a text that came from outside, which may be of any length."""
    return repr(text if len(text) <= _MOST_QUOTED else text[:_MOST_QUOTED] + "...")


def _layout(encoding: str) -> Layout:
    try:
        return LAYOUTS[encoding]
    except KeyError:
        raise FrameError(f"encoding {_cut(encoding)} is not supported", f"use one of {', '.join(ENCODINGS)}") from None


def _check_even(layout: Layout, encoding: str, height: int, width: int) -> None:
    if (layout.even[0] and height % 2) or (layout.even[1] and width % 2):
        raise FrameError(f"{encoding} shares colour between pixel pairs: {width}x{height} must be even")
