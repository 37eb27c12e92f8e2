"""A callback group whose callbacks can wait a second: for what an executor need not watch all the time.

rclpy's executor goes through everything that it waits for, in Python, whenever a message comes. Every publisher brings
two events that do nothing but warn of subscriptions that don't fit: with the outputs of three cameras they were most of
what receiving an image cost.
"""

from __future__ import annotations

import time
from typing import Any

from rclpy.callback_groups import CallbackGroup

_EVERY = 1.0  # seconds
_OPEN = 0.05  # seconds in which the executor goes through all of them


class ThrottledCallbacks(CallbackGroup):
    """Lets its callbacks be waited for and called once a second. For an executor of one thread."""

    def __init__(self) -> None:
        super().__init__()
        self._opens = self._closes = 0.0

    def can_execute(self, entity: Any) -> bool:
        """See CallbackGroup."""
        now = time.monotonic()
        if now >= self._opens:
            self._opens, self._closes = now + _EVERY, now + _OPEN
        return now < self._closes

    def beginning_execution(self, entity: Any) -> bool:
        """See CallbackGroup."""
        return True

    def ending_execution(self, entity: Any) -> None:
        """See CallbackGroup."""
