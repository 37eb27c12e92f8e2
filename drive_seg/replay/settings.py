"""What of the settings counts for a replay."""

from __future__ import annotations

from dataclasses import asdict, replace

from drive_seg.errors import DriveSegError
from drive_seg.rig import OWN, Rig
from drive_seg.settings import Settings

_COUNTS_NOT = ("autostart", "image_transport", "plan_folder", "latency_budget", "weight")
_OF_SEVERAL = ("cameras", "camera_tolerance", "odom_frame")


class ReplayError(DriveSegError, RuntimeError):
    """A replay that can't be done; the message names the fix."""


def for_replay(settings: Settings) -> Settings:
    """The same without a latency budget: results must not depend on the machine's load."""
    return replace(settings, latency_budget=0.0)


def that_count(settings: Settings) -> dict[str, object]:
    """Those that change a result of one camera, for summary.json."""
    values = asdict(settings.absolute())
    return {name: value for name, value in values.items() if name not in (*_COUNTS_NOT, *_OF_SEVERAL)}


def that_count_for_all(rig: Rig) -> dict[str, object]:
    """The same of several cameras."""
    common = {name: getattr(rig.common, name) for name in _OF_SEVERAL} | {"cameras": list(rig.cameras)}
    return that_count(rig.common) | common | {f"{name}.{setting}": value for name, settings in rig.cameras.items()
                                              for setting, value in that_count(settings).items() if setting in OWN}
