"""What a pixel can be: the planner's fixed groups, and a network's own classes mapped onto them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from drive_seg.errors import DriveSegError

UNKNOWN = 255
"""Label of a pixel that must not be trusted. Never drivable."""


class Group(IntEnum):
    """The ids in `labels` images, the same whatever the network."""

    BACKGROUND = 0
    ROAD = 1
    PAVEMENT = 2
    OBSTACLE = 3


LABEL_NAMES: dict[int, str] = {int(g): g.name.lower() for g in Group} | {UNKNOWN: "unknown"}

LABEL_COLOURS: dict[int, tuple[int, int, int]] = {
    Group.BACKGROUND: (70, 80, 90),
    Group.ROAD: (128, 64, 160),
    Group.PAVEMENT: (244, 150, 220),
    Group.OBSTACLE: (230, 60, 50),
    UNKNOWN: (250, 200, 40),
}
"""RGB colours of the planner labels in pictures."""


class ClassTableError(DriveSegError, ValueError):
    """A class table that can't be used; the message names the entry and the fix."""


@dataclass(frozen=True)
class SegClass:
    """One class of a network: its channel in the logits, and what a planner should make of it.

    ego: the vehicle that carries the camera; it neither ends the road nor is an obstacle. within: name of the class
    that a data set or a map with fewer classes has for it, as `tree` for `terrain`; empty for a class of its own.
    also: other names that data sets have for it, as `sidewalk` for `pavement`.
    """

    id: int
    name: str
    group: Group
    colour: tuple[int, int, int]
    drivable: bool
    ego: bool = False
    within: str = ""
    also: tuple[str, ...] = ()


class ClassTable:
    """The classes of one network, ids 0..C-1 without gaps, with look-up tables of 256 entries by class id."""

    def __init__(self, classes: Sequence[SegClass]) -> None:
        if not 1 <= len(classes) <= 254:
            raise ClassTableError(f"a class table has 1 to 254 classes, this one has {len(classes)}")
        ids = [c.id for c in classes]
        if ids != list(range(len(classes))):
            raise ClassTableError(f"class ids must be 0, 1, 2, ... in order, these are {ids}")
        names = [c.name for c in classes]
        if len(set(names)) != len(names):
            raise ClassTableError(f"class names must differ, these are {names}")
        for c in classes:
            if c.drivable and c.group is not Group.ROAD:
                raise ClassTableError(f"class {c.id} ({c.name}) is drivable but its group is {c.group.name.lower()}",
                                      "only road can be drivable")
            if c.ego and c.group is not Group.BACKGROUND:
                raise ClassTableError(f"class {c.id} ({c.name}) is the ego vehicle but its group is"
                                      f" {c.group.name.lower()}", "make it background")
        _check_names(classes)
        self.classes = tuple(classes)
        self.group_lut = np.full(256, UNKNOWN, np.uint8)
        self.drivable_lut = np.zeros(256, np.bool_)
        self.colour_lut = np.zeros((256, 3), np.uint8)
        self.ego_lut = np.zeros(256, np.bool_)
        for c in classes:
            self.ego_lut[c.id] = c.ego
            self.group_lut[c.id] = c.group
            self.drivable_lut[c.id] = c.drivable
            self.colour_lut[c.id] = c.colour

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    @classmethod
    def from_dicts(cls, rows: object) -> ClassTable:
        """Read the `classes` list of a network's YAML file, whatever that holds. Raises ClassTableError."""
        if not isinstance(rows, Sequence) or isinstance(rows, str):
            raise ClassTableError("`classes` must be a list of {id, name, group, colour, drivable}")
        return cls([_read_class(row) for row in rows])

    def to_dicts(self) -> list[dict]:
        """The inverse of from_dicts."""
        return [
            {"id": c.id, "name": c.name, "group": c.group.name.lower(), "colour": list(c.colour),
             "drivable": c.drivable, **({"ego": True} if c.ego else {}), **({"within": c.within} if c.within else {}),
             **({"also": list(c.also)} if c.also else {})}
            for c in self.classes
        ]


def _check_names(classes: Sequence[SegClass]) -> None:
    """Whether `within` and `also` say one thing. Raises ClassTableError."""
    whole = {c.name for c in classes if not c.within}
    for c in classes:
        if c.within and c.within not in whole:
            raise ClassTableError(f"class {c.id} ({c.name}) is within {c.within!r}, which is not another class that is"
                                  " within none", "name one of " + ", ".join(sorted(whole - {c.name})))
    names = [name for c in classes for name in (c.name, *c.also)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ClassTableError(f"{', '.join(twice)} names more than one class, by `name` or `also`", "leave one")


def _read_class(row: Mapping) -> SegClass:
    try:
        group, colour = row["group"], tuple(int(v) for v in row["colour"])
        if str(group).upper() not in Group.__members__:
            raise ClassTableError(f"group {group!r} in {dict(row)} is none of"
                                  f" {', '.join(g.name.lower() for g in Group)}")
        if len(colour) != 3 or not all(0 <= v <= 255 for v in colour):
            raise ClassTableError(f"colour in {dict(row)} must be three values of 0..255 (RGB)")
        if not isinstance(row["drivable"], bool):
            raise ClassTableError(f"drivable in {dict(row)} must be true or false")
        if not isinstance(row.get("ego", False), bool):
            raise ClassTableError(f"ego in {dict(row)} must be true or false")
        within, also = row.get("within", ""), row.get("also", [])
        if not isinstance(within, str) or not (isinstance(also, list) and all(isinstance(name, str) for name in also)):
            raise ClassTableError(f"in {dict(row)} `within` must be the name of a class and `also` a list of names")
        return SegClass(int(row["id"]), str(row["name"]), Group[str(group).upper()], colour, row["drivable"],
                        row.get("ego", False), within, tuple(also))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ClassTableError):
            raise
        raise ClassTableError(f"class {row!r} must have id, name, group, colour and drivable ({error})") from error
