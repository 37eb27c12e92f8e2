"""Checks of single values, with messages that name the value and its limits."""

from __future__ import annotations

import math
from typing import TypeGuard


def check_number(name: str, value: object, *, least: float = -math.inf, above: float = -math.inf,
                  most: float = math.inf, below: float = math.inf) -> None:
    """Raises ValueError, naming the limits, for anything but a finite number within them."""
    if is_number(value) and least <= value <= most and (above < value < below):
        return
    said = [f"{text} {limit:g}" for text, limit in (("at least", least), ("above", above), ("at most", most),
                                                     ("below", below)) if math.isfinite(limit)]
    raise ValueError(f"{name} must be a number {' and '.join(said)}, it is {value!r}")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value from JSON is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> TypeGuard[int]:
    """See is_number."""
    return isinstance(value, int) and not isinstance(value, bool)
