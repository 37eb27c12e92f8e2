"""What is reported of the health of the whole, ~/health and /diagnostics, and when it is due."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drive_seg.core.health.status import Health, Status, summarise
from drive_seg.outputs.messages import Messages

HEALTH, DIAGNOSTICS = "health", "/diagnostics"
"""Names of the topics; the first is below the node's."""

ARRAY, STATUS, VALUE = (f"diagnostic_msgs/msg/{kind}" for kind in ("DiagnosticArray", "DiagnosticStatus", "KeyValue"))

CHECK_S = 0.1
"""Seconds between looks for a change."""

_PERIOD_S = 1.0  # between diagnostics without a change, and between changes of nothing but the reasons


@dataclass(frozen=True)
class Due:
    """What a look at the statuses makes due. health: the state and its reasons, None where it is as it was."""

    diagnostics: bool
    health: tuple[Health, tuple[str, ...]] | None


class Changes:
    """Remembers what was reported: diagnostics are due every second and on a change of a level, health on a change.

    Health is due at once where the state or a check's level changes, and within a second where only a reason does.
    """

    def __init__(self) -> None:
        self._levels: tuple | None = None
        self._state: tuple | None = None
        self._reasons: tuple[str, ...] = ()
        self._sent = self._told = 0.0

    def look(self, statuses: Sequence[Status], now: float) -> Due:
        """What is due of these statuses; it counts as reported. now: seconds."""
        levels = tuple(s.level for s in statuses)
        due = levels != self._levels or now - self._sent >= _PERIOD_S or now < self._sent
        if due:
            self._levels, self._sent = levels, now
        state, reasons = summarise(statuses)
        kinds = tuple(kind_of(r) for r in reasons)
        if (state, levels) == self._state and (kinds == self._reasons or 0 <= now - self._told < _PERIOD_S):
            return Due(due, None)
        self._state, self._reasons, self._told = (state, levels), kinds, now
        return Due(due, (state, reasons))


def kind_of(reason: str) -> str:
    """A reason without its figures, which change from frame to frame."""
    return re.sub(r"[\d.]+", "#", reason)


def health_text(state: str, reasons: Sequence[str], stamp: float) -> str:
    """The JSON of ~/health. stamp: seconds."""
    return json.dumps({"state": state, "reasons": list(reasons), "stamp": stamp})


def diagnostics(messages: Messages, header: Any, statuses: Sequence[Status], node: str) -> Any:
    """The DiagnosticArray. node: the node's name with its namespace, which leads those of the checks."""
    kind, pair = messages.kind(STATUS), messages.kind(VALUE)
    levels = (kind.OK, kind.WARN, kind.ERROR, kind.STALE)  # bytes for rclpy, integers for rosbags
    rows = [kind(level=levels[s.level], name=f"{node}: {s.name}", message=s.message, hardware_id=node,
                 values=[pair(key=key, value=value) for key, value in s.values.items()]) for s in statuses]
    return messages.make(ARRAY, header=header, status=rows)
