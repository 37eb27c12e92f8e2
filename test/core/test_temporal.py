import numpy as np
import pytest

from drive_seg.core.temporal import TemporalFilter


def play(sequence, **settings):
    """Labels that come out for a sequence of (label, confidence 0..1) of one pixel."""
    temporal, out = TemporalFilter(**settings), []
    for label, confidence in sequence:
        labels = np.full((2, 3), label, np.uint8)
        temporal.apply(labels, np.full((2, 3), round(confidence * 255), np.uint8))
        out.append(int(labels[0, 0]))
        assert (labels == labels[0, 0]).all()
    return out


@pytest.mark.parametrize(("sequence", "expected"), [
    ([(2, 0.9), (1, 0.4), (2, 0.9)], [2, 2, 2]),  # one frame of doubt is not shown
    ([(2, 0.9), (1, 0.8)], [2, 1]),  # a change with conviction is
    ([(2, 0.9), (1, 0.4), (1, 0.4)], [2, 2, 1]),  # and a doubtful one that stays, one frame late
    ([(1, 0.9), (3, 0.3)], [1, 3]),  # road that ends never waits
    ([(1, 0.9), (255, 0.0)], [1, 255]),
    ([(255, 0.9), (1, 0.3), (255, 0.9)], [255, 255, 255]),  # unknown does not become road by one doubtful frame
])
def test_what_waits_and_what_does_not(sequence, expected):
    assert play(sequence, sure=0.55, lag=1) == expected


def test_the_lag_is_bounded():
    random = np.random.default_rng(0)
    raw = [(int(label), 0.3) for label in random.integers(2, 4, 200)]
    out = play(raw, sure=0.9, lag=2)
    for i in range(3, len(raw)):
        assert out[i] in {label for label, _ in raw[i - 3:i + 1]}


def test_a_jump_or_a_new_size_starts_anew():
    temporal = TemporalFilter()
    temporal.apply(np.full((2, 2), 2, np.uint8), np.zeros((2, 2), np.uint8))
    temporal.reset()
    labels = np.full((2, 2), 1, np.uint8)
    temporal.apply(labels, np.zeros((2, 2), np.uint8))
    assert (labels == 1).all()
    larger = np.full((4, 4), 3, np.uint8)
    temporal.apply(larger, np.zeros((4, 4), np.uint8))
    assert (larger == 3).all()
    with pytest.raises(ValueError, match="lag in 1"):
        TemporalFilter(lag=0)


def test_nobody_vouches_for_a_label_that_is_held_back():
    temporal = TemporalFilter(sure=0.55)
    temporal.apply(np.full((1, 2), 3, np.uint8), np.full((1, 2), 200, np.uint8))
    confidence = np.array([[100, 120]], np.uint8)
    temporal.apply(np.array([[3, 2]], np.uint8), confidence)
    assert confidence.tolist() == [[100, 0]]
