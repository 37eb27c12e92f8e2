"""Is the adapted network worse than the former one? Decided by numbers, on pictures it was not trained on.

Confidence alone proves nothing: self-training makes any network surer, of its mistakes too. So labelled sets decide
where there are any, and without labels the new network must agree with the former one where that was sure, lose no
class, and be at least as steady from frame to frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drive_seg.comparison.networks import Compared
from drive_seg.core.classes import LABEL_NAMES, Group

MOST_LOST = 0.01
"""Mean IoU of road, pavement and obstacle that may be lost on a labelled set."""

AT_HOME, MOST_LOST_AT_HOME = 1.0, 0.005
"""Standard deviations of domain shift below which footage is of the former network's own domain. There is little to win
there, so less may be lost."""

KEPT_AT_HOME = 0.8
"""Share of the former weights that stays there where no labelled set can tell what is lost: measured, with less than
that another set lost more than half a point."""

LEAST_SURE = 0.97
"""Share of the pixels that the former network was sure of, whose label must stay."""

LEAST_AGREED = 0.7
"""Share of all pixels, likewise: more means that another scene is seen."""

MOST_UNSTEADY = 0.005
"""Share of the pixels by which fewer labels may stay from frame to frame."""

MOST_SHIFT = 0.5
"""Standard deviations by which the domain shift may grow."""

SHRUNK, GROWN, COUNTS = 0.5, 2.0, 0.02
"""A group that had at least COUNTS of the pixels must keep between SHRUNK and GROWN times as many."""


@dataclass(frozen=True)
class Check:
    """One condition. said: in words, with its numbers and limit."""

    name: str
    passed: bool
    said: str


def least_share(held_back: Sequence[Compared], labelled: Sequence[Compared]) -> float:
    """Share of the former weights, 0..1, that must stay."""
    told = any(one.gain is not None for one in labelled)
    return KEPT_AT_HOME if _at_home(held_back) and not told else 0.0


def _at_home(held_back: Sequence[Compared]) -> bool:
    """Whether the footage is like what the former network was trained on."""
    shifts = [shift for one in held_back if (shift := one.former.get("domain_shift")) is not None]
    return bool(shifts) and max(shifts) < AT_HOME


def judge(held_back: Sequence[Compared], labelled: Sequence[Compared], share: float | None = None) -> list[Check]:
    """All checks; the network may ship when each has passed. held_back: drives without labels. share: of the former
    weights in the new network, None where they are not mixed."""
    checks = []
    most_lost = MOST_LOST_AT_HOME if _at_home(held_back) else MOST_LOST
    if share is not None and (least := least_share(held_back, labelled)):
        checks.append(Check("former weights", share >= least,
                            f"footage like the training pictures (domain shift below {AT_HOME:g}) and no labelled set:"
                            f" {share:.0%} of the former weights (at least {least:.0%})"))
    for one in labelled:
        if one.gain is not None:
            checks.append(Check("labelled", one.gain >= -most_lost,
                                f"{one.name}: mean IoU of road, pavement and obstacle {one.former['planning_iou']:.1%}"
                                f" -> {one.new['planning_iou']:.1%} ({100 * one.gain:+.2f} points, at least"
                                f" {-100 * most_lost:g})"))
    for one in held_back:
        sure, all_ = one.agreement["sure"], one.agreement["labels"]
        checks.append(Check("agreement", sure >= LEAST_SURE and all_ >= LEAST_AGREED,
                            f"{one.name}: {sure:.1%} of the sure pixels keep their label (at least {LEAST_SURE:.0%}),"
                            f" {all_:.1%} of all (at least {LEAST_AGREED:.0%})"))
        checks.append(_groups(one))
        checks += _no_less(one, "steadiness", "labels that stay from frame to frame", MOST_UNSTEADY)
        checks += _no_less(one, "domain_shift", "domain shift", MOST_SHIFT, sign=-1)
    return checks


def _groups(one: Compared) -> Check:
    total = max(1, int(one.transitions.sum()))
    was, now = one.transitions.sum(1) / total, one.transitions.sum(0) / total
    said, passed = [], True
    for group in Group:
        if was[group] < COUNTS:
            continue
        factor = now[group] / was[group]
        passed = passed and SHRUNK <= factor <= GROWN
        said.append(f"{LABEL_NAMES[group]} {was[group]:.1%} -> {now[group]:.1%}")
    return Check("no class lost", bool(passed), f"{one.name}: {', '.join(said) or 'nothing'} (each between"
                 f" {SHRUNK:g} and {GROWN:g} times as much)")


def _no_less(one: Compared, key: str, name: str, most: float, sign: int = 1) -> list[Check]:
    former, new = one.former.get(key), one.new.get(key)
    if former is None or new is None or not np.isfinite([former, new]).all():
        return []
    change = new - former
    return [Check(name, bool(sign * change >= -most), f"{one.name}: {name} {former:.3f} -> {new:.3f} (may be"
                  f" {'less' if sign > 0 else 'more'} by {most:g})")]
