"""Are the results in time? Latency against a budget, dropped frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from drive_seg.core.health.status import Level, Status, worst


class LatencyHealth:
    """Feed it every finished frame; it looks at the last ten seconds."""

    _WINDOW = 10.0
    _LEAST_LATE = 5  # frames in a row: one or two after a pause say nothing of the machine

    def __init__(self, budget: float | None = None) -> None:
        """budget: seconds from receiving a frame to publishing its masks; None for no budget."""
        self.budget = budget
        self._frames: deque[tuple[float, float]] = deque()  # when finished, seconds taken
        self._drops: deque[tuple[float, int]] = deque()  # time of the report, drops until then
        self._over_since: float | None = None
        self._late = 0  # frames since then

    def observe(self, took: float, drops: int, now: float) -> None:
        """A frame's masks were published. took: seconds since it was received. drops: frames replaced by newer ones so
        far."""
        self._frames.append((now, took))
        self._drops.append((now, drops))
        if self.budget is None or took <= self.budget:
            self._over_since, self._late = None, 0
            return
        self._late += 1
        if self._over_since is None:
            self._over_since = now

    def restart(self) -> None:
        """Forget earlier frames: something has changed."""
        self._frames.clear()
        self._drops.clear()
        self._over_since, self._late = None, 0

    def over_budget_for(self, now: float) -> float:
        """Seconds since when every frame missed the budget; 0 when the last one met it, or there were few."""
        return 0.0 if self._over_since is None or self._late < self._LEAST_LATE else now - self._over_since

    def status(self, now: float) -> Status:
        """p50, p99, drops and missed deadlines of the last ten seconds."""
        for queue in (self._frames, self._drops):
            while queue and queue[0][0] < now - self._WINDOW:
                queue.popleft()
        if not self._frames:
            return Status("latency", values={"frames": "0"})
        took = sorted(t for _, t in self._frames)
        p50, p99 = (_percentile(took, share) * 1e3 for share in (0.5, 0.99))
        dropped = self._drops[-1][1] - self._drops[0][1]
        values = {"p50": f"{p50:.1f} ms", "p99": f"{p99:.1f} ms", "frames": str(len(took)), "dropped": str(dropped)}
        found = []
        if self.budget is not None:
            missed = sum(t > self.budget for t in took) / len(took)
            values |= {"budget": f"{self.budget * 1e3:.0f} ms", "missed": f"{missed:.0%}"}
            if missed > 0.1:
                found.append(Status("budget", Level.WARN,
                                    f"{missed:.0%} of the frames took longer than {self.budget * 1e3:.0f} ms"
                                    f" (p50 {p50:.0f} ms, p99 {p99:.0f} ms)",
                                    "use a smaller input size, subscribe to less, or free the machine"))
        if dropped > len(took):
            found.append(Status("drops", Level.WARN, f"{dropped} frames were dropped for {len(took)} that were used",
                                "the camera is faster than this machine: lower its rate or use a smaller input size"))
        return worst("latency", found, values)


def _percentile(ordered: Sequence[float], share: float) -> float:
    """As np.percentile, which takes longer than all the rest for so few values. ordered: the least first."""
    place = (len(ordered) - 1) * share
    low = int(place)
    if low + 1 == len(ordered):
        return ordered[low]
    step, beyond = ordered[low + 1] - ordered[low], place - low
    return ordered[low] + step * beyond if beyond < 0.5 else ordered[low + 1] - step * (1 - beyond)
