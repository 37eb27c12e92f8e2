"""Which frames are chosen."""

import numpy as np
import pytest
from colours import paint_scene, rgb

from drive_seg.core.segmentation import Segmentation
from drive_seg.labelling.candidates import Candidate, Pool
from drive_seg.labelling.describe import describe, distances
from drive_seg.labelling.select import NEAR, select, worth

SIDE = 0.5


def candidate(place, *, doubt=0.05, unknown=0.0, flicker=0.0, drive=0, second=0.0, timed=True):
    """A frame at a place in the plane of descriptors."""
    return Candidate(drive, f"{second}", round(second * 1e9), timed, doubt, unknown, flicker,
                     np.asarray(place, np.float16))


def test_the_least_trusted_come_first_and_say_why():
    frames = [candidate((i, 0), second=i) for i in range(20)]
    frames[7] = candidate((7, 0), doubt=0.4, unknown=0.2, second=7)
    frames[13] = candidate((13, 0), flicker=0.1, second=13)
    picks = select(frames, 3)
    assert picks[0].index == 7 and picks[0].reasons[:2] == ("low confidence 0.60", "20.0% unknown")
    assert any("10.0% flickers" in p.reasons for p in picks)


def test_no_two_are_alike():
    """From two places with ten near duplicates each, one frame each, however bad the others are."""
    rng = np.random.default_rng(0)
    frames = [candidate(centre + rng.uniform(-0.02, 0.02, 2), doubt=0.3 if centre[0] else 0.05, second=10 * i)
              for i, centre in enumerate(np.repeat([(0.0, 0.0), (3.0, 0.0)], 10, axis=0))]
    picks = select(frames, 10)
    assert len(picks) == 2
    assert {int(frames[p.index].descriptor[0] > 1) for p in picks} == {0, 1}
    chosen = np.stack([frames[p.index].descriptor for p in picks])
    assert distances(chosen[0], chosen[1:]).min() >= NEAR


def test_core_set_covers_what_equal_worth_leaves_open():
    """With equal worth the choice is farthest first: the corners of a square before its middle."""
    corners = [(0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE)]
    frames = [candidate((SIDE / 2, SIDE / 2.1), second=99)]
    frames += [candidate(c, second=2 * i) for i, c in enumerate(corners)]
    picks = [p.index for p in select(frames, 5)]
    assert picks[0] == 0  # the first of equals
    assert set(picks[1:5]) == {1, 2, 3, 4}


@pytest.mark.parametrize(("timed", "expected"), [(True, 3), (False, 30)])
def test_seconds_apart_count_where_stamps_are_real(timed, expected):
    frames = [candidate((i, 0), second=i / 10, timed=timed) for i in range(30)]
    picks = select(frames, 30, apart_s=1.0)
    seconds = sorted(frames[p.index].stamp_ns for p in picks)
    if timed:
        assert min(np.diff(seconds)) >= 10**9 and len(picks) >= 2
    else:
        assert len(picks) == expected


def test_drives_do_not_keep_each_other_apart():
    frames = [candidate((i, 0), drive=i, second=0.0) for i in range(4)]
    assert len(select(frames, 4)) == 4


def test_an_even_drive_has_no_outliers():
    value, _ = worth([candidate((i, 0), doubt=0.05 + 1e-4 * (i % 2)) for i in range(50)])
    assert value.max() < 0.3
    assert select([], 5) == []


def test_the_pool_is_bounded_and_keeps_the_troubled():
    pool = Pool(most=100)
    for i in range(5000):
        pool.add(candidate((0, 0), doubt=0.9 if i == 3333 else 0.05, second=i))
        assert len(pool.candidates) < 100
    assert pool.seen == 5000
    assert any(c.doubt == 0.9 for c in pool.candidates)
    with pytest.raises(ValueError, match="two candidates"):
        Pool(most=1)


def result(bgr):
    classes = np.zeros(bgr.shape[:2], np.uint8)
    for i, name in enumerate(("sky", "road", "pavement", "car")):
        classes[(bgr[..., ::-1] == rgb(name)).all(2)] = i
    return Segmentation(classes, classes, None, np.full(classes.shape, 255, np.uint8))


def test_descriptors_measure_what_is_seen_and_its_light():
    street = paint_scene()
    one = describe(street, result(street), 5)
    assert one.shape == (32 * 8,) and one.dtype == np.float16
    mirrored = np.ascontiguousarray(street[:, ::-1])
    dark = (street * 0.3).astype(np.uint8)
    noisy = np.clip(street + np.random.default_rng(0).normal(0, 3, street.shape), 0, 255).astype(np.uint8)
    far = {"noise": describe(noisy, result(street), 5), "mirror": describe(mirrored, result(mirrored), 5),
           "night": describe(dark, result(street), 5), "upside down": describe(street[::-1], result(street[::-1]), 5)}
    found = {name: float(distances(one, other[None])[0]) for name, other in far.items()}
    assert float(distances(one, one[None])[0]) == 0
    assert found["noise"] < NEAR / 4 < found["mirror"] < found["upside down"] < 1.3
    assert found["night"] > NEAR
