"""What a check says, and what all checks together mean for the planner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum


class Level(IntEnum):
    """The levels of diagnostic_msgs/DiagnosticStatus, with its values."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


class Health(str, Enum):
    """READY: believe the masks. DEGRADED: they come, with a reservation. FAULT: don't drive by them."""

    READY = "READY"
    DEGRADED = "DEGRADED"
    FAULT = "FAULT"


@dataclass(frozen=True)
class Status:
    """One check's finding. reason: what is wrong, and fix: what to do about it; empty when all is well. values: figures
    by name.
    """

    name: str
    level: Level = Level.OK
    reason: str = ""
    fix: str = ""
    values: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """One line: reason and fix."""
        if not self.reason:
            return "ok"
        return f"{self.reason}: {self.fix}" if self.fix else self.reason


def worst(name: str, findings: Sequence[Status], values: dict[str, str] | None = None) -> Status:
    """One status from several findings: the gravest leads, the reasons of the others follow."""
    bad = sorted((f for f in findings if f.level), key=lambda f: -f.level)
    values = {k: v for f in findings for k, v in f.values.items()} | (values or {})
    if not bad:
        return Status(name, values=values)
    reason = bad[0].reason
    if len(bad) > 1:
        reason += " (also " + ", ".join(f.reason for f in bad[1:]) + ")"
    return Status(name, bad[0].level, reason, bad[0].fix, values)


def summarise(statuses: Sequence[Status]) -> tuple[Health, tuple[str, ...]]:
    """The state of the whole, and its reasons, gravest first: any ERROR or STALE is a FAULT, any WARN is DEGRADED."""
    bad = sorted((s for s in statuses if s.level), key=lambda s: -s.level)
    reasons = tuple(f"{s.name}: {s.message}" for s in bad)
    if any(s.level >= Level.ERROR for s in bad):
        return Health.FAULT, reasons
    return (Health.DEGRADED if bad else Health.READY), reasons
