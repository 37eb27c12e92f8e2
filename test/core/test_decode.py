"""The corner shortcut against plain upsample-then-argmax."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_seg.core.classes import UNKNOWN, ClassTable, Group, SegClass
from drive_seg.core.decode import Decoder, TrustModel


def table(classes: int) -> ClassTable:
    groups = [Group(i % 4) for i in range(classes)]
    return ClassTable([SegClass(i, f"class{i}", g, (i, i, i), g is Group.ROAD) for i, g in enumerate(groups)])


def upsampled(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear upsampling (..., gh, gw) -> (..., H, W): half-pixel centres, edges clamped, in float32."""

    def axis(pixels, cells):
        place = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
        lower = np.minimum(place.astype(int), max(cells - 2, 0))
        return lower, np.minimum(lower + 1, cells - 1), (place - lower).astype(np.float32)

    y0, y1, fy = axis(size[0], grid.shape[-2])
    x0, x1, fx = axis(size[1], grid.shape[-1])
    rows = (1 - fx) * grid[..., x0] + fx * grid[..., x1]
    return (1 - fy)[:, None] * rows[..., y0, :] + fy[:, None] * rows[..., y1, :]


def assert_is_the_argmax(classes: np.ndarray, logits: np.ndarray) -> None:
    """Equal to numpy's argmax; where two values are equal to the last bit, either of them."""
    values = upsampled(logits, classes.shape)
    expected = values.argmax(0)
    differs = classes != expected
    own = np.take_along_axis(values, classes[None].astype(int), 0)[0]
    assert (own[differs] == values.max(0)[differs]).all(), f"{differs.sum()} pixels differ"
    assert differs.mean() < 0.01


@st.composite
def cases(draw):
    classes = draw(st.integers(1, 20))
    cells = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    size = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    seed = draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from(["noise", "smooth", "negative", "huge"]))
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((classes, *cells)).astype(np.float32)
    if kind == "smooth":
        logits = np.cumsum(logits, axis=2, dtype=np.float32)
    if kind == "negative":
        logits -= 50
    if kind == "huge":
        logits *= 1e4
    return logits, size


@given(cases())
@settings(max_examples=1500)
def test_equals_upsample_then_argmax(case):
    logits, size = case
    decoded = Decoder(table(len(logits)), threads=1).decode(logits, size)
    assert decoded.classes.shape == size
    assert_is_the_argmax(decoded.classes, logits)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=500)
def test_ties_go_to_the_lowest_id(seed):
    # Small integers and a scale of four: every product and sum is exact, so ties are real ties, and frequent.
    rng = np.random.default_rng(seed)
    logits = rng.integers(-1, 2, (4, 5, 6)).astype(np.float32)
    decoded = Decoder(table(4), threads=1).decode(logits, (20, 24))
    np.testing.assert_array_equal(decoded.classes, upsampled(logits, (20, 24)).argmax(0))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (88, 120), (352, 480), (361, 479), (720, 1280), (50, 2000)])
def test_all_sizes_of_a_real_grid(size):
    rng = np.random.default_rng(7)
    logits = np.cumsum(np.cumsum(rng.standard_normal((11, 88, 120)), 1), 2).astype(np.float32)
    decoded = Decoder(table(11), threads=2).decode(logits, size)
    assert_is_the_argmax(decoded.classes, logits)


def test_labels_are_the_groups_of_the_classes():
    rng = np.random.default_rng(1)
    classes = table(9)
    decoded = Decoder(classes).decode(rng.standard_normal((9, 6, 7)).astype(np.float32), (60, 70))
    np.testing.assert_array_equal(decoded.labels, classes.group_lut[decoded.classes])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_confidence_is_the_interpolated_probability_of_the_label(temperature):
    rng = np.random.default_rng(2)
    logits = (3 * rng.standard_normal((7, 5, 6))).astype(np.float32)
    classes = table(7)
    decoded = Decoder(classes, temperature=temperature).decode(logits, (41, 53))
    shares = np.exp(logits / temperature)
    shares /= shares.sum(0)
    groups = np.stack([shares[classes.group_lut[:7] == g].sum(0) for g in range(4)])
    expected = np.take_along_axis(upsampled(groups, (41, 53)), decoded.labels[None].astype(int), 0)[0] * 255
    np.testing.assert_allclose(decoded.confidence, expected, atol=0.51)


def test_threads_change_nothing():
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((11, 30, 40)).astype(np.float32)
    one, four = (Decoder(table(11), threads=n).decode(logits, (333, 517)) for n in (1, 4))
    np.testing.assert_array_equal(one.classes, four.classes)
    np.testing.assert_array_equal(one.confidence, four.confidence)


def test_pixels_under_the_trust_limit_are_unknown():
    rng = np.random.default_rng(4)
    logits = (5 * rng.standard_normal((6, 8, 9))).astype(np.float32)
    mean, std = np.linspace(4, 9, 6, dtype=np.float32), np.linspace(1, 2, 6, dtype=np.float32)
    decoded = Decoder(table(6), trust=TrustModel(mean, std, -0.3)).decode(logits, (64, 81))
    best = logits.argmax(0)
    score = (np.log(np.exp(logits).sum(0)) - mean[best]) / std[best]
    expected = upsampled(score[None].astype(np.float32), (64, 81))[0]
    clear = abs(expected + 0.3) > 1e-4
    np.testing.assert_array_equal((decoded.labels == UNKNOWN)[clear], (expected < -0.3)[clear])
    assert 0 < (decoded.labels == UNKNOWN).mean() < 1
    assert decoded.classes.max() < 6  # the network's own ids stay as they are


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_overflow_is_an_error_not_a_mask(bad):
    logits = np.zeros((3, 4, 4), np.float32)
    logits[1, 2, 3] = bad
    with pytest.raises(ValueError, match="finite"):
        Decoder(table(3)).decode(logits, (8, 8))


def test_channels_must_fit_the_class_table():
    with pytest.raises(ValueError, match="class table has 3 classes"):
        Decoder(table(3)).decode(np.zeros((4, 2, 2), np.float32), (8, 8))
