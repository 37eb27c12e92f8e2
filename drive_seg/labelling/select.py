"""Which frames to label: the least trusted and most flickering ones, and no two alike.

Greedy core-set (Sener and Savarese, ICLR 2018): the next frame is the one whose distance from all chosen so far, times
its worth, is greatest. Worth is how far a frame's doubt, unknown share and flicker stand out from the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drive_seg.labelling.candidates import Candidate
from drive_seg.labelling.describe import distances

WEIGHTS = {"doubt": 0.45, "unknown": 0.35, "flicker": 0.2}
_FLOORS = {"doubt": 0.005, "unknown": 0.003, "flicker": 0.002}
"""Least deviation that counts, or in an even drive next to nothing would stand out."""
_FAR = 4.0  # deviations from which on a frame stands out no more
_BASE = 0.25  # worth of a frame that does not stand out

NEAR = 0.1
"""Distance of descriptors under which two frames are near duplicates."""


@dataclass(frozen=True)
class Pick:
    """A chosen frame. index: among the candidates. reasons: in words, the first is the strongest. distance: from those
    that were chosen before it, None for the first."""

    index: int
    worth: float
    distance: float | None
    reasons: tuple[str, ...]


def worth(candidates: Sequence[Candidate]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The worth of each candidate, (N,) from 0.25 to 1, and by measure how many deviations it stands out, (N,)."""
    outstanding = {}
    for name in WEIGHTS:
        values = np.array([getattr(c, name) for c in candidates], np.float64)
        middle = np.median(values)
        deviation = max(1.4826 * float(np.median(np.abs(values - middle))), _FLOORS[name])
        outstanding[name] = (values - middle) / deviation
    total = np.zeros(len(candidates))
    for name, weight in WEIGHTS.items():
        total += weight * np.clip(outstanding[name] / _FAR, 0, 1)
    return _BASE + (1 - _BASE) * total, outstanding


def select(candidates: Sequence[Candidate], count: int, *, apart_s: float = 1.0, near: float = NEAR) -> list[Pick]:
    """At most `count` frames, the most useful first; fewer where all others are near duplicates of them.

    apart_s: seconds between two picks of a drive whose stamps are real. near: see NEAR.
    """
    if not candidates:
        return []
    value, outstanding = worth(candidates)
    descriptors = np.stack([c.descriptor for c in candidates])
    drives = np.array([c.drive for c in candidates])
    stamps = np.array([c.stamp_ns for c in candidates], np.int64)
    timed = np.array([c.timed for c in candidates])
    free = np.ones(len(candidates), np.bool_)
    nearest = np.full(len(candidates), np.inf)
    picks: list[Pick] = []
    while len(picks) < count and free.any():
        score = np.where(free, value * (1.0 if not picks else nearest), -1.0)
        index = int(score.argmax())
        distance = float(nearest[index]) if picks else None
        picks.append(Pick(index, round(float(value[index]), 4), distance,
                          _reasons(candidates[index], {n: v[index] for n, v in outstanding.items()}, distance)))
        nearest = np.minimum(nearest, distances(descriptors[index], descriptors))
        free[index] = False
        free &= nearest >= near
        neighbours = timed & (drives == drives[index]) & (np.abs(stamps - stamps[index]) < apart_s * 1e9)
        free &= ~neighbours
    return picks


def _reasons(candidate: Candidate, outstanding: dict[str, float], distance: float | None) -> tuple[str, ...]:
    said = {"doubt": f"low confidence {1 - candidate.doubt:.2f}", "unknown": f"{candidate.unknown:.1%} unknown",
            "flicker": f"{candidate.flicker:.1%} flickers"}
    strong = sorted((n for n in WEIGHTS if outstanding[n] >= 1), key=lambda n: -WEIGHTS[n] * min(outstanding[n], _FAR))
    reasons = [said[name] for name in strong]
    if distance is not None and distance >= 2 * NEAR:
        reasons.append(f"unlike the other picks (distance {distance:.2f})")
    return tuple(reasons) or ("adds variety",)
