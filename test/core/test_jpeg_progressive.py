"""Progressive JPEGs: whole ones of every kind pass, lost data shows."""

import re
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import pytest

from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.jpeg_entropy import fault
from drive_seg.core.jpeg_scan import (
    FAULTS,
    LEFT_OVER,
    LONG_RUN,
    NO_RESTART,
    NO_SCAN,
    RUNS_OUT,
    SPLIT_RUN,
    TOO_LARGE,
    TOO_LONG,
    UNKNOWN_CODE,
    WRONG_SCAN,
    ZEROS,
)
from drive_seg.sources.clip import CLIPS

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (30, 40, 3), np.uint8), (331, 233), interpolation=cv2.INTER_CUBIC)
MARKER = re.compile(rb"\xff[^\0\xd0-\xd7]", re.DOTALL)  # other than restarts
SAMPLING = {name: getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}") for name in ("411", "420", "422", "440", "444")}


def progressive(image: np.ndarray, quality: int = 85, *options: int) -> np.ndarray:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_QUALITY, quality,
                                        *options])[1].reshape(-1)


def scans(data: bytes) -> list[tuple[int, int]]:
    """Where each scan's header begins and where its data ends."""
    found, at = [], 2
    while data[at + 1] != 0xD9:
        begin = at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[begin + 1] == 0xDA:
            at = MARKER.search(data, at).start()
            found.append((begin, at))
    return found


def plain_bits(data: bytes) -> tuple[int, int]:
    """Where the scan is that has the last bits of the first coefficients: any are valid, one for each block."""
    return next((begin, end) for begin, end in scans(data) if data[begin + 4 : begin + 14][-3:] == b"\0\0\x10")


def judge(data: bytes) -> str | None:
    return fault(np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 17), (3, 130), (130, 3), (233, 331)])
@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("restart", [0, 1, 7])
def test_a_whole_one_passes(size, sampling, restart):
    noise = RNG.integers(0, 256, (*size, 3), np.uint8)
    for image in (noise, SMOOTH[: size[0], : size[1]], noise // 128 * 255, np.zeros_like(noise), noise[..., 0]):
        for quality in (1, 50, 95, 100):
            data = progressive(image, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restart,
                               cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[sampling])
            assert fault(data) is None


def test_a_scan_that_is_missing_or_comes_twice_shows():
    data = progressive(SMOOTH).tobytes()
    found = scans(data)
    assert len(found) == 10
    for begin, end in found:
        assert judge(data[:begin] + data[end:]) is not None
        assert judge(data[:end] + data[begin:end] + data[end:]) == FAULTS[WRONG_SCAN]
    begin, end = found[-1]
    assert judge(data[:begin] + data[end:]) == FAULTS[NO_SCAN]


@pytest.fixture(scope="module")
def pictures(clips) -> list[np.ndarray]:
    """Frames of three real drives, 480x270."""
    frames = [cv2.VideoCapture(str(clips / file)).read()[1] for file in sorted({c.file for c in CLIPS.values()})[:3]]
    return [cv2.resize(frame, (480, 270), interpolation=cv2.INTER_AREA) for frame in frames]


@pytest.fixture(scope="module")
def files(pictures) -> Callable[[int], list[bytes]]:
    """The pictures' JPEGs of a quality."""
    return lru_cache(lambda quality: [progressive(image, quality).tobytes() for image in pictures])


def swapped(data: bytes, at: int, length: int) -> bytes:
    other = at + length + (len(data) - at - 2 * length) // 2
    return (data[:at] + data[other : other + length] + data[at + length : other] + data[at : at + length]
            + data[other + length :])


LOST = {
    "missing": lambda data, at, length: data[:at] + data[at + length :],
    "zeroed": lambda data, at, length: data[:at] + bytes(length) + data[at + length :],
    "again": lambda data, at, length: data[:at] + data[at - length :],
    "swapped": swapped,
    "cut": lambda data, at, length: data[:at] + b"\xff\xd9",
}


def taken(data: bytes) -> bool:
    try:
        Frame.from_compressed(data)
    except FrameError as error:
        assert "cut short or damaged" in str(error)
        return False
    return True


@pytest.mark.parametrize("quality", [40, 80, 95])
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("length", [64, 512, 2048])
def test_lost_data_shows(files, quality, lost, length):
    """libjpeg-turbo alone, in its strict mode, lets some of these through."""
    rng = np.random.default_rng(length)
    for data in files(quality):
        assert taken(data)
        begin, end = plain_bits(data)
        for at in rng.integers(scans(data)[0][0] + length, len(data) - 2 * length - 4, 12):
            damaged = LOST[lost](data, int(at), length)
            if damaged[:begin] + damaged[end:] != data[:begin] + data[end:]:
                assert not taken(damaged)


@pytest.mark.parametrize("quality", [40, 80, 95])
def test_an_old_end_behind_a_new_beginning_shows(files, quality):
    for number, data in enumerate(files(quality)):
        other = files(quality)[number - 1]
        # Behind a cut in the first scan all others can be the other's: then the picture is that, but for a part of it.
        for at in np.random.default_rng(0).integers(scans(data)[0][1], min(len(data), len(other)) - 2, 20):
            assert not taken(data[:at] + other[at:])


def test_of_bits_that_stand_for_themselves_little_depends(files):
    """Zeros are valid there: they change the brightness and colour of blocks by one step, and nothing can notice it."""
    whole = files(80)[0]
    begin, end = plain_bits(whole)
    begin += 14
    damaged = whole[:begin] + bytes(len(whole[begin:end].replace(b"\xff\0", b"\xff"))) + whole[end:]
    assert taken(damaged)
    now, before = (Frame.from_compressed(data).data.astype(int) for data in (damaged, whole))
    assert 0 < np.abs(now - before).max() < 16


# A grey JPEG of four blocks, by hand: every step of its quantiser is 2, every code has four bits.

DC = bytes(range(12))
RUN_1, RUN_2, NEW, ZEROS_16, RUN_4, LARGE = "0000", "0001", "0010", "0100", "0101", "0110"
AC = bytes([0x00, 0x10, 0x01, 0x02, 0xF0, 0x20, 0x0B])


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def table(kind: int, values: bytes) -> bytes:
    return segment(0xC4, bytes([kind << 4, 0, 0, 0, len(values), *[0] * 12]) + values)


def packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return b"".join(bytes([byte]) + b"\0" * (byte == 0xFF) for byte in (int(bits[i : i + 8], 2)
                                                                       for i in range(0, len(bits), 8)))


def scan(start: int, stop: int, precision: int, bits: str, component: int = 1) -> bytes:
    """precision: the bits above and below, as in the header."""
    return segment(0xDA, bytes([1, component, 0, start, stop, precision])) + packed(bits)


def by_hand(*segments: bytes, kind: int = 0xC2, ac: bytes = AC, components: int = 1) -> bytes:
    frame = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    return b"".join([b"\xff\xd8", segment(0xDB, bytes([0] + [2] * 64)),
                     segment(kind, bytes([8, 0, 8, 0, 32, components]) + frame), table(0, DC), table(1, ac), *segments,
                     b"\xff\xd9"])


FIRST = scan(0, 0, 0, "0000" * 4)
EMPTY = scan(1, 63, 0, RUN_4 + "00")
FIRST_BITS = scan(1, 63, 1, NEW + "1" + RUN_4 + "00")  # coefficient 1 of the first block
EVERY_TWO = segment(0xDD, bytes([0, 2]))

SCANS = {
    "grey": ([FIRST, EMPTY], None),
    "in two bands": ([FIRST, scan(1, 5, 0, RUN_4 + "00"), scan(6, 63, 0, RUN_4 + "00")], None),
    "first coefficient in two parts": ([scan(0, 0, 1, "0000" * 4), scan(0, 0, 0x10, "1010"), EMPTY], None),
    "more bits of it than blocks": ([scan(0, 0, 1, "0000" * 4), scan(0, 0, 0x10, "1010" * 8), EMPTY], LEFT_OVER),
    "fewer": ([scan(0, 0, 1, "0000" * 4), scan(0, 0, 0x10, ""), EMPTY], RUNS_OUT),
    "too many empty blocks": ([FIRST, scan(1, 63, 0, RUN_4 + "01")], LONG_RUN),
    "more than all blocks": ([FIRST, scan(1, 63, 0, RUN_4 + "00" + "0" * 24)], LEFT_OVER),
    "fewer than all blocks": ([FIRST, scan(1, 63, 0, NEW + "1" + "000")], RUNS_OUT),
    "two runs for one": ([FIRST, scan(1, 63, 0, (RUN_2 + "0") * 2)], SPLIT_RUN),
    "one run behind a full block": ([FIRST, scan(1, 63, 0, (NEW + "1") * 63 + RUN_2 + "1")], None),
    "unknown code": ([FIRST, scan(1, 63, 0, "1111")], UNKNOWN_CODE),
    "unknown code of a first coefficient": ([scan(0, 0, 0, "1111"), EMPTY], UNKNOWN_CODE),
    "too many values": ([FIRST, scan(1, 63, 0, ZEROS_16 * 4)], TOO_LONG),
    "too many for its band": ([FIRST, scan(1, 5, 0, (NEW + "1") * 4 + ZEROS_16)], TOO_LONG),
    "too large": ([FIRST, scan(1, 63, 0, LARGE)], TOO_LARGE),
    "too large for what is left out below": ([FIRST, scan(1, 63, 10, NEW)], TOO_LARGE),
    "too large in the average": ([scan(0, 0, 0, "1010" + "1" * 10), EMPTY], TOO_LARGE),
    "next bits": ([FIRST, FIRST_BITS, scan(1, 63, 0x10, RUN_4 + "00" + "1")], None),
    "next bits with a new coefficient": ([FIRST, FIRST_BITS, scan(1, 63, 0x10, NEW + "11" + RUN_4 + "00")], None),
    "next bits, too large": ([FIRST, FIRST_BITS, scan(1, 63, 0x10, "0011")], TOO_LARGE),
    "next bits, too many": ([FIRST, FIRST_BITS, scan(1, 63, 0x10, ZEROS_16 + "1" + ZEROS_16 * 3)], TOO_LONG),
    "next bits, too many empty blocks": ([FIRST, FIRST_BITS, scan(1, 63, 0x10, RUN_4 + "011")], LONG_RUN),
    "next bits, two runs for one": ([FIRST, FIRST_BITS, scan(1, 63, 0x10, RUN_2 + "01" + RUN_2 + "0")], SPLIT_RUN),
    "next bits, left over": ([FIRST, FIRST_BITS, scan(1, 63, 0x10, RUN_4 + "00" + "1" + "0" * 24)], LEFT_OVER),
    "next bits that are missing": ([FIRST, FIRST_BITS], NO_SCAN),
    "no band": ([FIRST], NO_SCAN),
    "part of a band": ([FIRST, scan(1, 62, 0, RUN_4 + "00")], NO_SCAN),
    "nothing first": ([EMPTY], WRONG_SCAN),
    "twice": ([FIRST, FIRST, EMPTY], WRONG_SCAN),
    "next bits first": ([FIRST, scan(1, 63, 0x10, RUN_4 + "00")], WRONG_SCAN),
    "next bits but one": ([FIRST, scan(1, 63, 2, RUN_4 + "00"), scan(1, 63, 0x10, RUN_4 + "00")], WRONG_SCAN),
    "first and others": ([scan(0, 63, 0, "0000" * 4)], WRONG_SCAN),
    "beyond the last": ([FIRST, scan(1, 64, 0, RUN_4 + "00")], WRONG_SCAN),
    "restarts": ([EVERY_TWO, scan(0, 0, 0, "00000000") + b"\xff\xd0" + packed("00000000"),
                  scan(1, 63, 0, RUN_2 + "0") + b"\xff\xd0" + packed(RUN_2 + "0")], None),
    "restart in a run": ([FIRST, EVERY_TWO, EMPTY], LONG_RUN),
    "no restart": ([FIRST, EVERY_TWO, scan(1, 63, 0, RUN_2 + "0")], NO_RESTART),
    "another restart": ([FIRST, EVERY_TWO, scan(1, 63, 0, RUN_2 + "0") + b"\xff\xd1" + packed(RUN_2 + "0")],
                        NO_RESTART),
}


@pytest.mark.parametrize("case", SCANS)
def test_by_hand(case):
    segments, found = SCANS[case]
    assert judge(by_hand(*segments)) == FAULTS.get(found)


def test_an_encoder_that_counts_no_empty_blocks_may_repeat_their_code():
    one_by_one = scan(1, 63, 0, RUN_1 * 4)
    assert judge(by_hand(FIRST, one_by_one, ac=AC[:1])) is None
    assert judge(by_hand(FIRST, one_by_one)) == FAULTS[SPLIT_RUN]


def test_blocks_of_nothing_but_zeros_are_no_picture():
    values, end = bytes([0x01, 0x00, 0x10, 0x20]), "0011" + "00"
    assert judge(by_hand(FIRST, scan(1, 63, 0, "00000" * 63 + "0010" + "1"), ac=values)) is None
    assert judge(by_hand(FIRST, scan(1, 63, 0, "00000" * 64 + "0010" + "1"), ac=values)) == FAULTS[ZEROS]
    begun = scan(1, 63, 1, end)
    assert judge(by_hand(FIRST, begun, scan(1, 63, 0x10, "00000" * 63 + "0010" + "1"), ac=values)) is None
    assert judge(by_hand(FIRST, begun, scan(1, 63, 0x10, "00000" * 64 + "0010" + "1"), ac=values)) == FAULTS[ZEROS]


def test_a_sequential_jpeg_of_several_scans_is_checked_too():
    first, second = (scan(0, 63, 0, "00000000" * 4, component) for component in (1, 2))
    make = {"kind": 0xC0, "components": 2}
    assert judge(by_hand(first, second, **make)) is None
    assert judge(by_hand(first, **make)) == FAULTS[NO_SCAN]
    assert judge(by_hand(first, first, second, **make)) == FAULTS[WRONG_SCAN]
    assert judge(by_hand(first, scan(0, 63, 0, "00000000" * 3, 2), **make)) == FAULTS[RUNS_OUT]


def test_bytes_that_are_no_jpeg_are_not_judged():
    """And do no harm: what a damaged header says may be anything."""
    whole = progressive(RNG.integers(0, 256, (16, 24, 3), np.uint8))
    for at in range(2, whole.size):
        damaged = whole.copy()
        damaged[at] ^= 0x55
        fault(damaged)
        fault(whole[:at])
