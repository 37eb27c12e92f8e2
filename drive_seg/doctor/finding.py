"""What a check says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Level(str, Enum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Not there, and not needed for the main job."""
    WARNING = "warning"
    """Works, but worse than it could."""
    ERROR = "error"
    """The node can't run."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. fix: what to do about it, for every level but OK."""

    name: str
    level: Level
    text: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {**asdict(self), "level": self.level.value}
