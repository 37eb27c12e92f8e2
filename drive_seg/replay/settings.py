"""What of the settings counts for a replay."""

from __future__ import annotations

from dataclasses import asdict, replace

from drive_seg.errors import DriveSegError
from drive_seg.settings import Settings

_COUNTS_NOT = ("autostart", "image_transport", "plan_folder", "latency_budget")


class ReplayError(DriveSegError, RuntimeError):
    """A replay that can't be done; the message names the fix."""


def for_replay(settings: Settings) -> Settings:
    """The same without a latency budget: results must not depend on the machine's load."""
    return replace(settings, latency_budget=0.0)


def that_count(settings: Settings) -> dict[str, object]:
    """Those that change a result, for summary.json."""
    return {name: value for name, value in asdict(settings.absolute()).items() if name not in _COUNTS_NOT}
