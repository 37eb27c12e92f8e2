"""The measures against counts made by hand or by brute force."""

import numpy as np
import pytest

from drive_seg.evaluation.metrics import boundary, boundary_counts, confusion, iou


def test_confusion_counts_every_pixel_once():
    truth = np.uint8([[0, 0, 1], [1, 2, 9]])
    predicted = np.uint8([[0, 1, 1], [1, 0, 0]])
    matrix = confusion(truth, predicted, 3, 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_iou_by_hand():
    # Class 0: hit 1, one missed, one false. Class 1: hit 2, one false. Class 2 never hit. Class 3 never there.
    matrix = np.array([[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    values = iou(matrix)
    assert values[:3].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert np.isnan(values[3])


def test_iou_counts_pixels_without_a_class():
    # Two classes; row 2 is truth without a class called 0, column 2 is class 1 called nothing.
    matrix = np.array([[6, 0, 0], [0, 3, 2], [4, 0, 0]])
    assert iou(matrix)[:2].tolist() == pytest.approx([6 / 10, 3 / 5])


def test_boundary_is_what_lies_near_the_contour():
    random = np.random.default_rng(0)
    mask = np.zeros((30, 40), np.uint8)
    mask[3:25, 0:30] = 1
    mask[random.random(mask.shape) < 0.01] = 0
    distance = 2
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        window = np.zeros((2 * distance + 1,) * 2, np.uint8)  # beyond the image is not the mask
        rows = slice(max(0, y - distance), y + distance + 1)
        columns = slice(max(0, x - distance), x + distance + 1)
        part = mask[rows, columns]
        window[:part.shape[0], :part.shape[1]] = part
        expected[y, x] = part.size < window.size or (part == 0).any()
    assert np.array_equal(boundary(mask > 0, distance), expected > 0)


def test_boundary_counts_of_a_shifted_square():
    truth, predicted = np.zeros((300, 400), np.uint8), np.zeros((300, 400), np.uint8)
    truth[100:200, 100:200] = 1
    predicted[100:200, 103:203] = 1
    void = np.zeros(truth.shape, np.bool_)
    distance = 10  # 2 % of the diagonal of 500
    band = 100 * 100 - 80 * 80
    inside = [boundary(m == 1, distance) for m in (truth, predicted)]
    assert inside[0].sum() == band
    both = int((inside[0] & inside[1]).sum())
    assert boundary_counts(truth, predicted, 2, void)[1].tolist() == [both, 2 * band - both]
    assert boundary_counts(truth, truth, 2, void)[1].tolist() == [band, band]


def test_void_is_no_contour():
    truth = np.zeros((300, 400), np.uint8)
    truth[:, 200:] = 1
    predicted = np.roll(truth, 5, 1)
    predicted[:, :5] = 0
    nothing = np.zeros(truth.shape, np.bool_)
    void = nothing.copy()
    void[100:200, 300:304] = True  # well inside a class: nothing changes
    counts = boundary_counts(truth, predicted, 2, nothing)
    assert counts.tolist() == boundary_counts(truth, predicted, 2, void).tolist()
    assert (counts[:, 0] < counts[:, 1]).all()
    void[:, 195:210] = True  # over both contours: no mistake is left, nor any credit for them
    left = boundary_counts(truth, predicted, 2, void)
    assert (left[:, 0] == left[:, 1]).all() and (left[:, 1] < counts[:, 0]).all()


def test_a_pixel_that_may_be_several_classes_is_void_for_the_one_it_is_called():
    truth = np.zeros((300, 400), np.uint8)
    truth[:, 200:] = 7  # 0 or 1
    predicted = np.zeros(truth.shape, np.uint8)
    void = np.zeros(truth.shape, np.bool_)
    same = boundary_counts(truth, predicted, 2, void, truth == 7)
    assert same[0, 0] == same[0, 1] > 0, "called 0 everywhere: no contour to find"
    predicted[truth == 7] = 1
    other = boundary_counts(truth, predicted, 2, void, truth == 7)
    assert other[0, 0] == other[0, 1] > same[0, 0], "class 0 ends where the others may begin"
    assert other[1].tolist() == [0, 0]
