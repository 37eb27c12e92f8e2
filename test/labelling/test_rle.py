"""Run lengths: COCO's, CVAT's and Label Studio's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from drive_seg.labelling.rle import from_brush, from_coco_text, from_run_lengths, run_lengths, to_brush

LARGE = "01So1Y5kQN" + 18 * "0" + r"dK\OT3d0" + 9 * r"lL\OT3d0" + "X1" + 218 * "0" + "lm1"
MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 30)))


@given(MASKS)
def test_run_lengths_there_and_back(mask):
    lengths = run_lengths(mask.ravel())
    assert lengths[0] == 0 or not mask.ravel()[0]
    assert (from_run_lengths(lengths, mask.size).reshape(mask.shape) == mask).all()


@given(MASKS)
def test_brush_there_and_back(mask):
    assert (from_brush(to_brush(mask), mask.shape) == mask).all()


def test_a_long_run_of_a_brush_is_cut():
    mask = np.zeros((300, 400), np.bool_)
    mask[100:] = True
    assert (from_brush(to_brush(mask), mask.shape) == mask).all()


def test_the_brush_of_a_single_row_is_what_label_studio_writes():
    # By hand: 8 values; words of 8 bits, lengths of 3, 4, 8 or 16; a run of 4 zeros, a run of 4 times 255.
    bits = f"{8:032b}" + f"{7:05b}" + "0010" + "0011" + "0111" + "1111" + "1" "00" "011" "00000000" + "1" "00" "011" \
        "11111111"
    bits += "0" * (-len(bits) % 8)
    expected = [int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)]
    assert to_brush(np.array([[False, True]])) == expected


def test_single_values_of_a_brush_are_read():
    # One pixel, RGBA 0 9 9 9, as label-studio-converter writes it: a literal of one byte, and a run of three.
    bits = f"{4:032b}" + f"{7:05b}" + "0010" "0011" "0111" "1111"
    bits += "0" "00" "000" "00000000" + "1" "00" "010" "00001001"
    bits += "0" * (-len(bits) % 8)
    assert from_brush([int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)], (1, 1)).all()


@pytest.mark.parametrize("text", ["0", "", "P", "\x7f"])
def test_what_is_no_mask_is_an_error(text):
    with pytest.raises(ValueError, match="mask|run lengths"):
        from_run_lengths(from_coco_text(text), 12)


def test_coco_text_is_read_as_pycocotools_wrote_it():
    small = np.zeros((9, 10), np.bool_)
    small[2:6, 3:8] = True
    large = np.zeros((200, 150), np.bool_)
    large[20:190, 10:140] = True
    large[50:60, 20:30] = False
    large[0, 0] = True
    assert from_coco_text("m0450000000`0") == run_lengths(small.ravel(order="F"))
    lengths = from_coco_text(LARGE)
    assert (from_run_lengths(lengths, large.size).reshape(large.shape, order="F") == large).all()
