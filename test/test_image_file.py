import struct
import zlib

import cv2
import numpy as np
import pytest

from drive_seg.image_file import EgoMaskError, read_ego_mask, read_pixels


def test_an_ego_mask_is_read_and_none_is_none(tmp_path):
    assert read_ego_mask("") is None and read_ego_mask(None) is None
    mask = np.zeros((3, 4), np.uint8)
    mask[2] = 255
    cv2.imwrite(str(tmp_path / "ego.png"), mask)
    assert np.array_equal(read_ego_mask(str(tmp_path / "ego.png")), mask)


def test_what_is_no_image_is_reported(tmp_path):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)  # OpenCV raises rather than reads it
    chunk = b"IHDR" + header
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    for name, data in (("huge.png", huge), ("text.png", b"no image")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(EgoMaskError, match=name):
            read_ego_mask(str(tmp_path / name))


def test_a_jpeg_that_is_cut_short_is_not_an_image(tmp_path):
    data = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(data[:-20])
    assert read_pixels(tmp_path / "cut.jpg", cv2.IMREAD_GRAYSCALE) is None


@pytest.mark.parametrize("flags", [cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE, cv2.IMREAD_UNCHANGED])
@pytest.mark.parametrize("name", ["noise.png", "noise.jpg", "noise.tif"])
def test_pixels_are_those_of_imread(tmp_path, flags, name):
    path = tmp_path / name
    kind, top = (np.uint8, 256) if name.endswith("jpg") else (np.uint16, 65536)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, top, (5, 7, 3), kind))
    assert np.array_equal(read_pixels(path, flags), cv2.imread(str(path), flags))
    assert read_pixels(tmp_path / "nowhere.png", flags) is None and read_pixels(tmp_path, flags) is None
