"""Whole JPEGs of every kind pass, lost data shows."""

import cv2
import numpy as np
import pytest
import simplejpeg

from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.jpeg_entropy import fault
from drive_seg.core.jpeg_scan import FAULTS, UNKNOWN_CODE

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (30, 40, 3), np.uint8), (331, 233), interpolation=cv2.INTER_CUBIC)
PICTURES = {
    "smooth": SMOOTH, "noise": RNG.integers(0, 256, (120, 160, 3), np.uint8),
    "black and white": RNG.integers(0, 2, (97, 131, 3), np.uint8) * 255, "black": np.zeros((97, 131, 3), np.uint8),
    "stripes": (np.indices((96, 128)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2),
    "one pixel": np.full((1, 1, 3), 200, np.uint8), "red": np.full((50, 50, 3), (0, 0, 255), np.uint8),
}
OPTIONS = {
    "plain": [], "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1], "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
    "4:4:4": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "4:1:1": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
}


def jpeg(image: np.ndarray, quality: int = 85, options: list[int] | None = None) -> np.ndarray:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality, *(options or [])])[1].reshape(-1)


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("quality", [1, 80, 100])
def test_a_whole_jpeg_passes(picture, options, quality):
    for image in (PICTURES[picture], PICTURES[picture][..., 0]):
        assert fault(jpeg(image, quality, OPTIONS[options])) is None
    fast = simplejpeg.encode_jpeg(PICTURES[picture], quality, "BGR", "422", fastdct=True)
    assert fault(np.frombuffer(fast, np.uint8)) is None


def test_motion_jpeg_leaves_its_tables_out():
    data = jpeg(SMOOTH).tobytes()
    bare = data
    while (at := bare.find(b"\xff\xc4")) >= 0:
        bare = bare[:at] + bare[at + 2 + int.from_bytes(bare[at + 2 : at + 4], "big") :]
    assert len(bare) < len(data) - 400
    assert fault(np.frombuffer(bare, np.uint8)) is None
    assert np.array_equal(Frame.from_compressed(bare).data, Frame.from_compressed(data).data)


@pytest.mark.parametrize("filler", [b"", b"\xff" * 5], ids=["", "fill bytes"])
def test_what_a_camera_may_add_before_the_end_passes(filler):
    data = jpeg(SMOOTH).tobytes()
    assert fault(np.frombuffer(data[:-2] + filler + data[-2:] + bytes(400), np.uint8)) is None


@pytest.mark.parametrize("quality", [40, 80, 95])
@pytest.mark.parametrize("length", [512, 1460, 4096])
def test_lost_data_shows(quality, length):
    """libjpeg-turbo alone, in its strict mode, lets some of these through."""
    data = jpeg(cv2.resize(SMOOTH, (1280, 960)) ^ RNG.integers(0, 8, (960, 1280, 3), np.uint8), quality)
    assert fault(data) is None
    for at in RNG.integers(1000, data.size - length - 100, 25):
        missing = np.delete(data, np.s_[at : at + length])
        zeroed = data.copy()
        zeroed[at : at + length] = 0
        again = np.concatenate([data[:at], data[at - length :]])
        for damaged in (missing, zeroed, again):
            assert damaged[-2:].tobytes() == b"\xff\xd9"
            with pytest.raises(FrameError, match="cut short or damaged"):
                Frame.from_compressed(damaged)


def test_a_code_that_no_table_has_shows():
    data = bytearray(jpeg(SMOOTH))
    scan = data.index(b"\xff\xda")
    start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    data[start : start + 4] = b"\xff\x00\xff\x00"  # all ones are not a code
    assert fault(np.frombuffer(bytes(data), np.uint8)) == FAULTS[UNKNOWN_CODE]


def test_a_restart_that_is_missing_shows():
    data = jpeg(SMOOTH, options=OPTIONS["restarts"]).tobytes()
    assert fault(np.frombuffer(data, np.uint8)) is None
    second = data.index(b"\xff\xd1")
    third = data.index(b"\xff\xd2", second)
    assert fault(np.frombuffer(data[:second] + data[third:], np.uint8)) is not None


def test_bytes_that_are_no_jpeg_are_not_judged():
    for size in (0, 1, 2, 5, 100):
        assert fault(RNG.integers(0, 256, size, np.uint8)) is None
        assert fault(jpeg(SMOOTH)[:size]) is None
    whole = jpeg(SMOOTH)
    for at in range(2, 620, 3):  # a damaged header may say anything
        damaged = whole.copy()
        damaged[at] ^= 0x55
        fault(damaged)
