"""What the node would report of its health along a bag: looked at in the bag's time, between the frames too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from drive_seg.core.health.monitor import Monitor
from drive_seg.core.health.status import Health, Status
from drive_seg.outputs.health import CHECK_S, Changes

_CHECK_NS = round(CHECK_S * 1e9)
_LONGEST_GAP_NS = 600 * 10**9  # of a camera that is gone; beyond it the recorder's clock has jumped


@dataclass(frozen=True)
class HealthReport:
    """What is reported at a moment. diagnostics: the statuses, health: state and reasons; None where it is not due."""

    log_ns: int
    diagnostics: Sequence[Status] | None
    health: tuple[Health, tuple[str, ...]] | None


class HealthReporter:
    """Asks a monitor ten times a second of bag time, as the node's timer does, and at every frame."""

    def __init__(self, monitor: Monitor, start_ns: int) -> None:
        """start_ns: when the first frame was recorded."""
        self._monitor, self._changes = monitor, Changes()
        self._next_ns = start_ns

    def before(self, log_ns: int) -> list[HealthReport]:
        """What becomes due until a frame that was recorded at log_ns."""
        last_ns = min(log_ns, self._next_ns + _LONGEST_GAP_NS)
        reports = [t for ns in range(self._next_ns, last_ns, _CHECK_NS) if (t := self._look(ns)) is not None]
        self._next_ns = log_ns
        return reports

    def after(self, log_ns: int) -> list[HealthReport]:
        """What that frame itself makes due."""
        self._next_ns = log_ns + _CHECK_NS
        report = self._look(log_ns)
        return [] if report is None else [report]

    def _look(self, ns: int) -> HealthReport | None:
        statuses = [_without_measured(s) for s in self._monitor.statuses(ns / 1e9)]
        due = self._changes.look(statuses, ns / 1e9)
        if not due.diagnostics and due.health is None:
            return None
        return HealthReport(ns, statuses if due.diagnostics else None, due.health)


def _without_measured(status: Status) -> Status:
    """Latencies are the machine's, not the bag's: they would make each replay another."""
    return replace(status, values={}) if status.name == "latency" else status
