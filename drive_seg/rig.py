"""The settings of several cameras that share a node: what is common, and what each camera has of its own.

`front.min_confidence` is the setting `min_confidence` of the camera `front`. Needs no ROS.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drive_seg.errors import ParameterError
from drive_seg.settings import TABLE, Setting, Settings, find, unknown

OWN: tuple[str, ...] = tuple(setting.name for setting in TABLE.values() if setting.own)
"""The settings that each camera may have of its own."""


def split(name: str) -> tuple[str, str]:
    """The camera and the setting that a name means; the camera is "" where it has no point."""
    camera, _, setting = name.rpartition(".")
    return camera, setting


def look_up(name: str, cameras: Collection[str]) -> Setting:
    """The line of the table that a name means, of one of these cameras or of the node.

    Raises ParameterError for a camera or a setting that nobody knows, and for one that cameras can't have of their own.
    """
    camera, setting = split(name)
    if not camera:
        return find(name)
    if camera not in cameras:
        raise ParameterError(f"{name} is of the camera {camera!r}, which is not among cameras", f"add {camera} to"
                             " cameras, or remove it")
    if setting not in TABLE:
        error = unknown(setting)
        raise ParameterError(f"{name}: {error.reason}", error.fix)
    if not TABLE[setting].own:
        raise ParameterError(f"{setting} is the same for all cameras", f"set {setting}, not {name}")
    return TABLE[setting]


@dataclass(frozen=True)
class Rig:
    """All cameras of a node. common: what holds where a camera has no setting of its own. cameras: the settings of each
    by its name; one camera alone has the name ""."""

    common: Settings
    cameras: dict[str, Settings]

    @classmethod
    def of(cls, settings: Settings) -> Rig:
        """The cameras that `settings.cameras` names, all with the same settings."""
        return cls(settings, dict.fromkeys(settings.cameras, settings))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, exact: bool = True) -> Rig:
        """From names and values, as the node has them; for `exact` see Settings.from_values. Raises ParameterError."""
        common = Settings.from_values({n: v for n, v in values.items() if not split(n)[0]}, exact=exact)
        own: dict[str, dict[str, Any]] = {name: {} for name in common.cameras}
        for name, value in values.items():
            camera, setting = split(name)
            if not camera:
                continue
            line = look_up(name, own)
            if exact:
                _checked(line, name, value)
            own[camera][setting] = value
        return cls(common, {camera: _replaced(common, camera, given) for camera, given in own.items()})

    @property
    def several(self) -> bool:
        """Whether the cameras have names, for which the node joins their ground."""
        return self.common.cameras != ("",)

    def changed(self, values: Mapping[str, Any]) -> Rig:
        """The same with changes made in use, for which see Settings.changed.

        What cameras may have of their own is changed camera by camera. Raises ParameterError.
        """
        common = {name: value for name, value in values.items() if not split(name)[0]}
        if not self.several:
            changed = self.common.changed(common)
            rig = Rig.of(changed)
        else:
            for name, value in common.items():
                self._check_common(name, value)
            rig = Rig(self.common.changed(common), dict(self.cameras))
        for name, value in values.items():
            camera, setting = split(name)
            if not camera:
                continue
            _checked(look_up(name, rig.cameras), name, value)
            try:
                rig.cameras[camera] = rig.cameras[camera].changed({setting: value})
            except ParameterError as error:
                raise ParameterError(f"{camera}: {error.reason}", error.fix) from error
        return rig

    def _check_common(self, name: str, value: Any) -> None:
        setting = find(name)
        if setting.own and value != getattr(self.common, name):
            each = ", ".join(f"{camera}.{name}" for camera in self.cameras)
            raise ParameterError(f"{name} is each camera's own", f"set {each}")

    def check_files(self) -> None:
        """Raise ParameterError where a file that is named is not there."""
        self.common.check_files()
        for settings in self.cameras.values():
            settings.check_files()

    def map(self, change: Any) -> Rig:
        """The same with `change(settings)` for every Settings in it."""
        return Rig(change(self.common), {name: change(settings) for name, settings in self.cameras.items()})


def _checked(setting: Setting, name: str, value: Any) -> None:
    try:
        setting.check(value)
    except ParameterError as error:
        raise ParameterError(error.reason.replace(setting.name, name, 1), error.fix) from error


def _replaced(common: Settings, camera: str, given: dict[str, Any]) -> Settings:
    try:
        return replace(common, **given)
    except ParameterError as error:
        raise ParameterError(f"{camera}: {error.reason}", error.fix) from error
