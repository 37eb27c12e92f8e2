"""A place for one message: the newest wins, the one it replaces is counted as dropped.

With it lies when it came, in seconds of time.monotonic().
"""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands the newest item from one thread to another; nothing queues."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: tuple[T, float] | None = None
        self._closed = False
        self.received = 0
        self.dropped = 0

    def put(self, item: T) -> None:
        """Leave an item; replaces one that still waits."""
        with self._condition:
            self.received += 1
            if self._item is not None:
                self.dropped += 1
            self._item = (item, time.monotonic())
            self._condition.notify()

    def take(self) -> tuple[T, float] | None:
        """Wait for an item; returns it and when it was put. None once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Wake the taker for good; an item that still waits is dropped."""
        with self._condition:
            self._closed = True
            if self._item is not None:
                self.dropped += 1
                self._item = None
            self._condition.notify_all()
