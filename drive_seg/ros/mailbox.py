"""A place for one message: the newest wins, the one it replaces is counted as dropped.

With it lies when it came. Where a camera sends regularly, a taker who is late for a message, by more than a third of
the interval, and who would not be done with it before the next one comes, is given that next one: it works on fresher
images, and what planners hold is fresher on average, though it changes less often ("Update or Wait": Sun et al., IEEE
Transactions on Information Theory, 2017). A worker that takes whatever lies there stays behind once it fell behind.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from drive_seg.ros.arrival_rate import ArrivalRate

T = TypeVar("T")

_STALE = 1 / 3  # of the interval: what waited longer gives way to the next message
_LATE = 0.25  # of the interval: how much later than due the next message is waited for


class Mailbox(Generic[T]):
    """Hands the newest item from one thread to another; nothing queues."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: gives seconds; of no other clock than time.monotonic() except in tests."""
        self._condition = threading.Condition()
        self._clock = clock
        self._arrival_rate = ArrivalRate()
        self._taken_at = 0.0
        self._work: deque[float] = deque([0.0], maxlen=5)  # seconds that the last items took
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
            now = self._clock()
            self._arrival_rate.arrived(now)
            self._item = (item, now)
            self._condition.notify()

    def take(self) -> tuple[T, float] | None:
        """Wait for an item; returns it and when it was put, seconds of the clock. None once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._item is not None)
            patience = self._patience()
            if patience:
                waiting = self._item
                self._condition.wait_for(lambda: self._closed or self._item is not waiting, patience)
            item, self._item = self._item, None
            self._taken_at = self._clock()
            return None if self._closed else item

    def wait(self) -> bool:
        """Wait until an item lies here. Returns False once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._item is not None)
            return not self._closed

    @property
    def waiting(self) -> bool:
        """Whether an item lies here."""
        with self._condition:
            return self._item is not None

    def take_now(self) -> tuple[T, float] | None:
        """The item that lies here, as `take` returns it but at once; None where there is none."""
        with self._condition:
            item, self._item = self._item, None
            self._taken_at = self._clock()
            return item

    def done(self) -> None:
        """The taker is done with the item that it took last."""
        with self._condition:
            self._work.append(self._clock() - self._taken_at)

    def close(self) -> None:
        """Wake the taker for good; an item that still waits is dropped."""
        with self._condition:
            self._closed = True
            if self._item is not None:
                self.dropped += 1
                self._item = None
            self._condition.notify_all()

    def _patience(self) -> float:
        """Seconds to wait for a newer item than the one that lies here."""
        interval = self._arrival_rate.interval()
        if self._item is None or interval is None:
            return 0.0
        waited = self._clock() - self._item[1]
        if not _STALE * interval < waited < interval:  # beyond: the next one is late already, and may not come
            return 0.0
        if waited + statistics.median(self._work) <= interval:  # there is time enough for both
            return 0.0
        return (1 + _LATE) * interval - waited
