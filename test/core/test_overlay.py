"""Pictures of results."""

import numpy as np
import pytest

from drive_seg.core.classes import LABEL_COLOURS, LABEL_NAMES, UNKNOWN, Group
from drive_seg.core.overlay import DRIVABLE_COLOUR, draw_grid, draw_overlay

H, W = 120, 200
IMAGE = np.random.default_rng(1).integers(60, 120, (H, W, 3), np.uint8)


def nearest(pixel_bgr, colours):
    distances = {name: np.abs(pixel_bgr[::-1].astype(int) - colour).sum() for name, colour in colours.items()}
    return min(distances, key=distances.get)


@pytest.mark.parametrize("label", LABEL_COLOURS)
def test_each_label_pulls_the_image_towards_its_colour_and_leaves_the_scene_visible(label):
    out = draw_overlay(IMAGE, np.full((H, W), label, np.uint8), legend=False).astype(float)
    colour = np.array(LABEL_COLOURS[label][::-1])
    assert np.abs(out - colour).mean() < np.abs(IMAGE - colour).mean()
    assert np.corrcoef(out.ravel(), IMAGE.ravel())[0, 1] > 0.1


def test_drivable_is_green_with_an_outline_only_at_its_edge():
    labels = np.full((H, W), Group.ROAD, np.uint8)
    drivable = np.zeros((H, W), np.uint8)
    drivable[40:100, 50:150] = 255
    out = draw_overlay(IMAGE, labels, drivable, legend=False)
    plain = draw_overlay(IMAGE, labels, legend=False)
    outside = drivable == 0
    assert (out[outside] == plain[outside]).all()
    assert nearest(out[70, 100], {"drivable": DRIVABLE_COLOUR, "road": LABEL_COLOURS[Group.ROAD]}) == "drivable"
    assert (out[40, 50:150].min(axis=1) > 140).all()
    assert (out[60:80, 80:120].min(axis=2) < 140).all()


def test_unknown_is_hatched_so_that_no_plain_colour_stands_for_it():
    out = draw_overlay(np.full((H, W, 3), 90, np.uint8), np.full((H, W), UNKNOWN, np.uint8), legend=False)
    assert len(np.unique(out.reshape(-1, 3), axis=0)) == 2


def test_out_may_be_the_image_itself_and_row_padding_does_not_matter():
    labels = np.random.default_rng(2).choice(list(LABEL_NAMES), (H, W)).astype(np.uint8)
    drivable = np.where(labels == Group.ROAD, 255, 0).astype(np.uint8)
    expected = draw_overlay(IMAGE, labels, drivable)
    padded = np.zeros((H, W + 9, 3), np.uint8)[:, :W]
    padded[:] = IMAGE
    assert draw_overlay(padded, labels, drivable, out=padded) is padded
    assert (padded == expected).all()


def test_a_frame_without_mask_shows_no_label_colour_and_says_so():
    out = draw_overlay(IMAGE, None, caption="0.4 s")
    marked = (out != IMAGE).any(axis=2)
    rows, columns = np.nonzero(marked)
    assert rows.max() < H / 4
    assert (out[rows, columns] == (40, 50, 225)).all(axis=1).mean() > 0.5, "a red plate"


def test_inset_keeps_its_shape_in_the_top_right_corner():
    inset = np.full((400, 200, 3), (0, 0, 255), np.uint8)
    out = draw_overlay(IMAGE, np.zeros((H, W), np.uint8), inset=inset, legend=False)
    rows, columns = np.nonzero((out == (0, 0, 255)).all(axis=2))
    assert rows.size == pytest.approx(0.4 * H * 0.2 * H, rel=0.1)
    assert columns.min() > W / 2
    assert rows.max() < H / 2


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 400), (161, 161), (720, 1280)])
def test_any_size_is_drawn(size):
    image = np.zeros((*size, 3), np.uint8)
    labels = np.ones(size, np.uint8)
    out = draw_overlay(image, labels, labels * 255, caption="a caption", inset=np.zeros((9, 9, 3), np.uint8))
    assert out.shape == image.shape
    draw_overlay(image, None, caption="a caption")


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="drivable area is"):
        draw_overlay(IMAGE, np.zeros((H, W), np.uint8), np.zeros((H, W - 1), np.uint8))


def test_a_grid_is_drawn_with_forward_up_and_left_left():
    cells = np.full((3, 5), -1, np.int8)  # rows from right to left, columns forward
    cells[0, 4], cells[2, 0] = 100, 0
    picture = draw_grid(cells)
    assert picture.shape == (5, 3, 3)
    assert picture[0, 2].tolist() == list(LABEL_COLOURS[Group.OBSTACLE][::-1]), "far right"
    assert picture[4, 0].tolist() == list(DRIVABLE_COLOUR[::-1]), "near left"
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3
