"""The prior's correction undoes a bent prior."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: make test-train")

from drive_seg.training.prior import ascend  # noqa: E402

pytestmark = pytest.mark.train


def test_a_bent_prior_is_straightened():
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 20000, p=[0.7, 0.25, 0.05]).astype(np.uint8)
    logits = rng.normal(0, 1, (20000, 3)).astype(np.float32)
    logits[np.arange(20000), truth] += 3
    straight = ascend(logits, truth)
    bent = ascend(logits + np.float32([0, 0, 2]), truth)
    assert bent[2] - max(bent[:2]) < straight[2] - max(straight[:2]) - 1


def test_ignored_pixels_have_no_say():
    logits = np.float32([[1, 0]] * 50 + [[0, 1]] * 50)
    truth = np.uint8([0] * 50 + [255] * 50)
    assert ascend(logits, truth) == [0, 0]
