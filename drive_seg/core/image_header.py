"""What the first bytes of an image file say: its kind and its size, before anything is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from drive_seg.errors import DriveSegError

JPEG, PNG = "JPEG", "PNG"

_PNG_START = b"\x89PNG\r\n\x1a\n"
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15 without DHT, JPG and DAC
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))  # TEM, RST0..7 and SOI have no length
_END, _SCAN = 0xD9, 0xDA
_SEGMENTS = 4096  # that are looked at in a JPEG's header


@dataclass(frozen=True)
class ImageHeader:
    """kind: JPEG, PNG, BMP, TIFF, WebP or PNM. height, width: in pixels."""

    kind: str
    height: int
    width: int


class HeaderError(DriveSegError, ValueError):
    """Bytes that don't begin like an image, or don't say how large it is; the reason completes `this is ...`."""


def read_header(data: memoryview) -> ImageHeader:
    """Kind and size of the image file with these bytes. Raises HeaderError."""
    start = bytes(data[:16])
    kind = next((kind for kind, (begins, _) in _KINDS.items() if begins(start)), None)
    if kind is None:
        raise HeaderError("empty" if not start else "not an image of a known kind")
    try:
        height, width = _KINDS[kind][1](data)
    except (struct.error, IndexError, ValueError) as error:
        raise HeaderError(f"a {kind} that is cut short or damaged: its header gives no size") from error
    if height <= 0 or width <= 0:
        raise HeaderError(f"a {kind} whose header is damaged: {width}x{height} pixels")
    return ImageHeader(kind, height, width)


def check_png(data: memoryview) -> None:
    """Compare every chunk of a PNG with its CRC-32 (PNG specification, section 5). Raises HeaderError."""
    at = len(_PNG_START)
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        body = data[at + 4 : at + 8 + length]
        stored = data[at + 8 + length : at + 12 + length]
        if len(stored) < 4:
            break
        if zlib.crc32(body) != int.from_bytes(stored, "big"):
            raise HeaderError("a PNG with damaged data: a checksum (CRC) in it is wrong")
        if bytes(body[:4]) == b"IEND":
            return
        at += 12 + length
    raise HeaderError("a PNG that is cut short: its end (IEND) is missing")


def png_pixels(data: memoryview) -> bytes:
    """A PNG that `check_png` found whole, without what is not part of its pixels: text, times, colour profiles.

    libpng prints a line on stderr for each of these that it does not like, with every image of the camera.
    """
    kept, at, name = [data[: len(_PNG_START)]], len(_PNG_START), b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        if name[:1].isupper():  # critical (PNG specification, section 5.4)
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def jpeg_scans(data: memoryview) -> int:
    """How many scans a JPEG has at most: a decoder goes over the whole picture for each."""
    return bytes(data).count(b"\xff\xda")


def has_exif(data: memoryview) -> bool:
    """Whether a JPEG brings EXIF data, which may say which side is up."""
    return any(marker == 0xE1 and bytes(data[at : at + 4]) == b"Exif" for marker, at in _jpeg_segments(data))


def _jpeg_segments(data: memoryview) -> Iterator[tuple[int, int]]:
    """(marker, where its content begins) of the segments in front of the pixels."""
    at = 2
    for _ in range(_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker in (_END, _SCAN):
            return
        else:
            length = struct.unpack_from(">H", data, at + 2)[0]
            yield marker, at + 4
            at += 2 + max(length, 2)


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    for marker, at in _jpeg_segments(data):
        if marker in _SIZE_MARKERS:
            return struct.unpack_from(">HH", data, at + 1)
    raise ValueError


def _png_size(data: memoryview) -> tuple[int, int]:
    if bytes(data[12:16]) != b"IHDR":
        raise ValueError
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _bmp_size(data: memoryview) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)  # a negative height: the first row is the top one
    return abs(height), width


def _tiff_size(data: memoryview) -> tuple[int, int]:
    order = "<" if bytes(data[:2]) == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, first)
    entry, value = (20, 12) if big else (12, 8)
    found = {}
    for number in range(min(count, 4096)):
        at = first + (8 if big else 2) + number * entry
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (256, 257):  # ImageWidth, ImageLength
            (found[tag],) = struct.unpack_from(order + {3: "H", 4: "I", 16: "Q"}.get(kind, "I"), data, at + value)
    return found.get(257, 0), found.get(256, 0)


def _webp_size(data: memoryview) -> tuple[int, int]:
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return height, width


def _pnm_size(data: memoryview) -> tuple[int, int]:
    text = b" ".join(line.partition(b"#")[0] for line in bytes(data[:4096]).split(b"\n"))
    width, height = (int(word) for word in text.split()[1:3])
    return height, width


_KINDS: dict[str, tuple[Callable[[bytes], bool], Callable[[memoryview], tuple[int, int]]]] = {
    JPEG: (lambda start: start.startswith(b"\xff\xd8"), _jpeg_size),
    PNG: (lambda start: start.startswith(_PNG_START), _png_size),
    "BMP": (lambda start: start.startswith(b"BM"), _bmp_size),
    "TIFF": (lambda start: start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff_size),
    "WebP": (lambda start: start[:4] == b"RIFF" and start[8:12] == b"WEBP", _webp_size),
    "PNM": (lambda start: start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace(), _pnm_size),
}
