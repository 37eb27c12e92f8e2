"""What the node says in its log: each kind of line now and then, however often it is to be said and whatever its text.

What is said may come with every frame, and parts of it from outside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from drive_seg.core.health.failures import shorten

EVERY = 5.0
"""Seconds between two lines of a kind."""

_LONGEST = 1000  # characters


class Throttle:
    """Counts what is not said. Any thread may call."""

    def __init__(self, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: gives seconds."""
        self._every, self._clock = every, clock
        self._said: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}
        self._lock = threading.Lock()

    def line(self, kind: str, text: str) -> str | None:
        """The line to be said, which is cut where it is long; None where the last of this kind was just now."""
        with self._lock:
            now = self._clock()
            if now - self._said.get(kind, -self._every) < self._every:
                self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
                return None
            self._said[kind] = now
            more = self._kept_back.pop(kind, 0)
        return shorten(text, _LONGEST) + (f" (and {more} more of this kind)" if more else "")
