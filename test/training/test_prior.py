"""The prior's correction undoes a bent prior."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: make test-train")

from drive_seg.core.classes import ClassTable, Group, SegClass  # noqa: E402
from drive_seg.training.prior import Cells, ascend  # noqa: E402

pytestmark = pytest.mark.train

ROAD, BUILDING, WALL = 0, 1, 2
TABLE = ClassTable([SegClass(ROAD, "road", Group.ROAD, (1, 1, 1), True),
                    SegClass(BUILDING, "building", Group.BACKGROUND, (2, 2, 2), False),
                    SegClass(WALL, "wall", Group.OBSTACLE, (3, 3, 3), False)])
EITHER = 3
ALLOWED = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]], np.bool_)


def cells(codes, truth, bend=(0, 0, 0), share=1.0):
    """What a network says that sees the truth through noise, with its prior bent."""
    logits = np.random.default_rng(0).normal(0, 1, (3, len(truth))).astype(np.float32)
    logits[truth, np.arange(len(truth))] += 3
    return Cells(logits + np.float32(bend)[:, None], codes, ALLOWED, share)


@pytest.fixture
def truth():
    return np.random.default_rng(1).choice(3, 20000, p=[0.7, 0.25, 0.05]).astype(np.uint8)


def test_a_bent_prior_is_straightened(truth):
    straight, bent = ascend([cells(truth, truth)], TABLE), ascend([cells(truth, truth, (0, 0, 2))], TABLE)
    assert bent[WALL] - max(bent[:WALL]) < straight[WALL] - max(straight[:WALL]) - 1


def test_what_may_be_several_classes_is_right_as_any_of_them_and_else_wrong(truth):
    codes = truth.copy()
    codes[truth == WALL] = EITHER
    groups = np.array([0, 1, 2])
    told, vague = cells(truth, truth), cells(codes, truth)
    assert vague.shown() == {ROAD, BUILDING}
    nothing = np.zeros(3, np.float32)
    road, building = vague.iou(nothing, (groups,))[0]
    assert road == pytest.approx(told.iou(nothing, (groups,))[0][0])  # a wall called road is a false road
    assert building > told.iou(nothing, (groups,))[0][1] + 0.002  # a wall called building is not a false building


def test_a_class_is_moved_by_the_sets_that_label_it(truth):
    codes = truth.copy()
    codes[truth != ROAD] = EITHER
    assert ascend([cells(codes, truth, (0, 0, 2))], TABLE)[WALL] == 0
    alone = ascend([cells(truth, truth, (0, 0, 2))], TABLE)
    both = ascend([cells(truth, truth, (0, 0, 2)), cells(codes, truth, (0, 0, -4), share=10.0)], TABLE)
    assert both[WALL] - both[BUILDING] == pytest.approx(alone[WALL] - alone[BUILDING], abs=0.45)
    assert both[WALL] < both[BUILDING]


def test_a_set_counts_by_its_share(truth):
    more, less = cells(truth, truth, (0, 0, 2)), cells(truth, truth, (0, 0, -2))
    first = ascend([Cells(more.logits, truth, ALLOWED, 0.9), Cells(less.logits, truth, ALLOWED, 0.1)], TABLE)
    second = ascend([Cells(more.logits, truth, ALLOWED, 0.1), Cells(less.logits, truth, ALLOWED, 0.9)], TABLE)
    assert first[WALL] - first[ROAD] < second[WALL] - second[ROAD] - 0.5
