import numpy as np
import pytest

from drive_seg.evaluation.pasted import KINDS, paste

ROAD = np.zeros((360, 480), bool)
ROAD[150:, 60:420] = True
IMAGE = np.full((360, 480, 3), 90, np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_stands_on_the_road_and_changes_only_its_place(kind):
    pasted = paste(IMAGE, ROAD, kind, np.random.default_rng(5))
    assert pasted.where.sum() > 40 and ROAD[pasted.where].mean() >= 0.8
    lowest = np.flatnonzero(pasted.where.any(axis=1))[-1]
    assert ROAD[lowest][pasted.where[lowest]].any()
    changed = np.abs(pasted.image.astype(int) - IMAGE).max(axis=2) > 40
    assert changed[pasted.where].mean() > 0.2
    far = np.ones_like(ROAD)
    rows, columns = np.nonzero(pasted.where)
    far[max(0, rows.min() - 20):rows.max() + 20, max(0, columns.min() - 20):columns.max() + 20] = False
    assert np.array_equal(pasted.image[far], IMAGE[far])


def test_objects_are_repeatable_and_need_road():
    first, again = (paste(IMAGE, ROAD, "rubble", np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert paste(IMAGE, np.zeros_like(ROAD), "box", np.random.default_rng(0)) is None
