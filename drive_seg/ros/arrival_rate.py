"""When a camera's next message is due, learnt from when the last ones came."""

from __future__ import annotations

from collections import deque

_ARRIVALS = 9  # that are remembered
_NEAR = 0.35  # share by which an interval may differ from the usual one
_REGULAR = 6  # of the eight intervals must be near the usual one


class ArrivalRate:
    """Intervals between arrivals; times in seconds of one clock."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque(maxlen=_ARRIVALS)

    def arrived(self, now: float) -> None:
        """A message came."""
        self._arrivals.append(now)

    def interval(self) -> float | None:
        """Seconds from one message to the next; None while they come irregularly or were too few to tell."""
        if len(self._arrivals) < _ARRIVALS:
            return None
        times = list(self._arrivals)
        intervals = sorted(after - before for before, after in zip(times, times[1:], strict=False))
        usual = intervals[len(intervals) // 2]
        near = sum(abs(interval - usual) <= _NEAR * usual for interval in intervals)
        return usual if near >= _REGULAR and usual > 0 else None
