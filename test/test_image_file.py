import struct
import zlib

import cv2
import numpy as np
import pytest

from drive_seg.image_file import EgoMaskError, read_ego_mask


def test_an_ego_mask_is_read_and_none_is_none(tmp_path):
    assert read_ego_mask("") is None and read_ego_mask(None) is None
    mask = np.zeros((3, 4), np.uint8)
    mask[2] = 255
    cv2.imwrite(str(tmp_path / "ego.png"), mask)
    assert np.array_equal(read_ego_mask(str(tmp_path / "ego.png")), mask)


def test_what_is_no_image_is_told(tmp_path):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)  # OpenCV raises rather than reads it
    chunk = b"IHDR" + header
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    for name, data in (("huge.png", huge), ("text.png", b"no image")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(EgoMaskError, match=name):
            read_ego_mask(str(tmp_path / name))
