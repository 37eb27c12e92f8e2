"""Losses against brute force."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: make test-train")

from drive_seg.training import teacher  # noqa: E402
from drive_seg.training.losses import (  # noqa: E402
    IGNORE,
    CodeBook,
    boundary_loss,
    boundary_target,
    group_lovasz,
    lovasz_softmax,
    marginal_cross_entropy,
)

pytestmark = pytest.mark.train

SETS = [(0,), (1,), (2,), (0, 2), (0, 1, 2)]
ALLOWED = torch.tensor([[c in s for c in range(3)] for s in SETS])


def book(weights=(1.0, 1.0, 1.0)):
    return CodeBook(ALLOWED, torch.tensor(weights))


def test_marginal_loss_is_the_log_of_the_summed_probabilities():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5)
    codes = torch.randint(0, len(SETS), (2, 4, 5))
    codes[0, 0] = IGNORE
    weights = (1.0, 2.0, 4.0)
    probabilities = logits.softmax(1)
    total, weight = 0.0, 0.0
    for n, y, x in itertools.product(range(2), range(4), range(5)):
        if codes[n, y, x] == IGNORE:
            continue
        allowed = SETS[codes[n, y, x]]
        w = np.mean([weights[c] for c in allowed])
        total -= w * np.log(sum(probabilities[n, c, y, x].item() for c in allowed))
        weight += w
    assert marginal_cross_entropy(logits, codes, book(weights)).item() == pytest.approx(total / weight, rel=1e-5)


def test_marginal_loss_of_any_class_is_nought():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = marginal_cross_entropy(logits, torch.full((1, 4, 4), 4), book())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.abs().max() < 1e-6


def test_marginal_loss_pushes_towards_every_allowed_class():
    logits = torch.zeros(1, 3, 1, 1, requires_grad=True)
    marginal_cross_entropy(logits, torch.full((1, 1, 1), 3), book()).backward()
    gradient = logits.grad.flatten()
    assert gradient[0] < 0
    assert gradient[2] < 0
    assert gradient[1] > 0


def test_an_unlabelled_picture_costs_nothing():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = marginal_cross_entropy(logits, torch.full((1, 2, 2), IGNORE), book())
    loss.backward()
    assert loss.item() == 0


def test_lovasz_of_hard_answers_is_one_minus_mean_iou():
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 3, (400,), generator=generator)
    other = torch.randint(0, 3, (400,), generator=generator)
    called = torch.where(torch.rand(400, generator=generator) < 0.3, other, truth)
    logits = torch.nn.functional.one_hot(called, 3).float() * 60
    ious = [((called == c) & (truth == c)).sum() / ((called == c) | (truth == c)).sum() for c in range(3)]
    assert lovasz_softmax(logits, truth, book()).item() == pytest.approx(1 - float(torch.stack(ious).mean()), abs=1e-4)


def test_lovasz_of_a_family_counts_all_its_classes():
    """Class 2 is within class 0, and code 3 says "one of these two"."""
    family = CodeBook(ALLOWED, torch.ones(3), torch.tensor([0, 1, 0]))
    assert family.definite.tolist() == [True, True, True, True, False]
    codes = torch.tensor([3, 3, 1, 1, 2])
    right = torch.tensor([[9.0, -9, -9], [-9, -9, 9], [-9, 9, -9], [-9, 9, -9], [-9, -9, 9]])
    assert lovasz_softmax(right, codes, family).item() == pytest.approx(0, abs=1e-4)
    wrong = right.clone()
    wrong[0] = right[2]
    assert lovasz_softmax(wrong, codes, family).item() > 0.1
    # What is labelled as either of the two is neither right nor wrong for the one of them that is reported alone.
    alone = right.clone()
    alone[1] = right[0]
    assert lovasz_softmax(alone, codes, family).item() == pytest.approx(0, abs=1e-4)


def test_group_lovasz_of_hard_answers_is_one_minus_iou_of_each_group_of_each_picture():
    """Classes 0 and 2 are of one group, so that it does not matter which of them is called."""
    groups = CodeBook(ALLOWED, torch.ones(3), group=torch.tensor([2, 1, 2]))
    assert groups.group.tolist()[:3] == [2, 1, 2]
    codes = torch.tensor([[0, 2, 1, 1, IGNORE], [1, 1, 1, 1, 1]])
    called = torch.tensor([[2, 1, 1, 1, 0], [1, 1, 1, 0, 1]])
    logits = torch.nn.functional.one_hot(called, 3).float() * 60
    ious = [1 / 2, 2 / 3, 4 / 5]  # of the first picture's two groups, of the second's only one
    assert group_lovasz(logits, codes, groups).item() == pytest.approx(1 - sum(ious) / 3, abs=1e-4)


def test_group_lovasz_leaves_out_what_may_be_of_several_groups():
    groups = CodeBook(ALLOWED, torch.ones(3), group=torch.tensor([0, 1, 2]))
    vague = next(code for code, group in enumerate(groups.group.tolist()) if group < 0)
    codes, called = torch.tensor([[0, 1, vague, vague]]), torch.tensor([[0, 1, 2, 1]])
    logits = (torch.nn.functional.one_hot(called, 3).float() * 60).requires_grad_()
    loss = group_lovasz(logits, codes, groups)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-4)
    assert not logits.grad[0, 2:].any()
    assert group_lovasz(logits, torch.full_like(codes, IGNORE), groups).item() == 0


def test_boundary_target():
    codes = torch.zeros(1, 8, 8, dtype=torch.long)
    codes[:, :, 4:] = 1
    codes[:, 6:] = IGNORE
    edge, valid = boundary_target(codes, book())
    assert edge.shape == (1, 4, 4)
    assert edge[0, 0].tolist() == [0, 1, 1, 0]
    assert valid[0, 0].tolist() == [1, 1, 1, 1]
    assert valid[0, 3].tolist() == [0, 0, 0, 0]


def test_no_boundary_is_claimed_inside_a_partly_told_region():
    codes = torch.full((1, 8, 8), 3)
    codes[:, :, 4:] = 1
    edge, valid = boundary_target(codes, book())
    assert valid[0, 0].tolist() == [0, 1, 1, 1]
    assert edge[0, 0].tolist() == [0, 1, 1, 0]


def test_boundary_loss_wants_the_edges_where_they_are():
    codes = torch.zeros(1, 8, 8, dtype=torch.long)
    codes[:, :, 4:] = 1
    codes[:, 6:] = IGNORE
    edge, valid = boundary_target(codes, book())
    right = (6 * (2 * edge - 1)).unsqueeze(1)
    assert boundary_loss(right, codes, book()) < 0.02
    assert boundary_loss(-right, codes, book()) > 5
    guess = torch.zeros_like(right).requires_grad_()
    boundary_loss(guess, codes, book()).backward()
    pull = guess.grad.squeeze(1)
    assert (pull[edge * valid > 0] < 0).all() and (pull[(1 - edge) * valid > 0] > 0).all()
    assert (pull[valid == 0] == 0).all()


def test_distillation_is_the_divergence_of_softened_probabilities():
    torch.manual_seed(1)
    student, answer = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    p, q = ((x.double() / teacher.TEMPERATURE).softmax(1) for x in (answer, student))
    want = (p * (p / q).log()).sum(1).mean() * teacher.TEMPERATURE ** 2
    assert float(teacher.distillation_loss(student, answer)) == pytest.approx(float(want), rel=1e-5)
    assert float(teacher.distillation_loss(answer + 3.0, answer)) == pytest.approx(0, abs=1e-6)  # constants say nothing
