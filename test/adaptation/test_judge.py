"""Worse networks are refused, for the right reason."""

import numpy as np
import pytest

from drive_seg.adaptation.judge import judge
from drive_seg.comparison.networks import Compared
from drive_seg.core.classes import Group

KEPT = np.diag([500, 300, 100, 90, 10])


def drive(**changes):
    one = Compared("yard, held back", "drive", 20, transitions=KEPT.copy())
    one.agreement = {"labels": 0.95, "sure": 0.999, "drivable": 0.9}
    one.former = {"steadiness": 0.95, "domain_shift": 3.0, "confidence": 0.9}
    one.new = {"steadiness": 0.96, "domain_shift": 1.0, "confidence": 0.99}
    for name, value in changes.items():
        if name in ("steadiness", "domain_shift", "confidence"):
            one.new[name] = value
        elif name in ("labels", "sure"):
            one.agreement[name] = value
        else:
            one.transitions = value
    return one


def labelled(gain):
    one = Compared("campus, val", "labelled", 20)
    one.former, one.new = {"planning_iou": 0.7}, {"planning_iou": 0.7 + gain}
    return one


def lost_pavement():
    matrix = KEPT.copy()
    matrix[Group.PAVEMENT] = 0
    matrix[Group.PAVEMENT, Group.ROAD] = 100
    return matrix


def test_a_good_one_passes():
    checks = judge([drive()], [labelled(0.05)])
    assert all(check.passed for check in checks)
    assert {check.name for check in checks} >= {"labelled", "agreement", "no class lost", "domain shift"}


@pytest.mark.parametrize(("changes", "name"), [
    ({"sure": 0.9}, "agreement"), ({"labels": 0.5}, "agreement"), ({"matrix": lost_pavement()}, "no class lost"),
    ({"steadiness": 0.9}, "labels that stay from frame to frame"), ({"domain_shift": 4.0}, "domain shift"),
])
def test_each_condition_refuses_alone(changes, name):
    failed = [check.name for check in judge([drive(**changes)], [labelled(0.0)]) if not check.passed]
    assert failed == [name]


@pytest.mark.parametrize(("gain", "passed"), [(0.03, True), (-0.009, True), (-0.011, False)])
def test_labels_decide(gain, passed):
    check = judge([], [labelled(gain)])[0]
    assert check.passed is passed and "points" in check.said


@pytest.mark.parametrize(("shift", "passed"), [(0.9, False), (1.1, True), (None, True)])
def test_at_home_less_may_be_lost(shift, passed):
    footage = drive(domain_shift=0.5)
    footage.former["domain_shift"] = shift
    checks = judge([footage], [labelled(-0.006)])
    assert all(check.passed for check in checks) is passed
    assert all(check.passed for check in judge([footage], [labelled(-0.004)]))


@pytest.mark.parametrize(("shift", "sets", "share", "passed"), [
    (0.9, 0, 0.6, False), (0.9, 0, 0.8, True), (1.1, 0, 0.0, True), (None, 0, 0.0, True), (0.9, 1, 0.0, True),
    (0.9, 0, None, True),
])
def test_at_home_without_labels_the_former_weights_stay(shift, sets, share, passed):
    footage = drive(domain_shift=0.5)
    footage.former["domain_shift"] = shift
    checks = judge([footage], [labelled(0.0)] * sets, share)
    assert [check.name for check in checks if not check.passed] == ([] if passed else ["former weights"])


def test_confidence_alone_proves_nothing():
    assert all(check.passed for check in judge([drive(confidence=0.5)], []))
    assert not all(check.passed for check in judge([drive(confidence=1.0, sure=0.5)], []))
