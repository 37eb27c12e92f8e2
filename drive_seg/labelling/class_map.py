"""Which class of the new data set a name or colour in foreign labels becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from drive_seg.core.classes import Group
from drive_seg.evaluation.dataset import LabelClass
from drive_seg.labelling.formats.masks import Colour, id_name, read_label_map
from drive_seg.labelling.known_classes import GROUPS, IDS, IGNORED, plain
from drive_seg.labelling.record import UNLABELLED, LabelError
from drive_seg.yaml_file import YamlError, read_yaml

IGNORE = UNLABELLED
"""The id in the new data set of pixels that nothing is said about."""


@dataclass(frozen=True)
class ClassMap:
    """ids: class id by plain name, IGNORE for what is left out. classes: those that may come out. by_colour: names of
    colours, RGB. by_id: names of grey values. given: whether the user named the classes."""

    ids: dict[str, int]
    classes: dict[int, LabelClass]
    by_colour: dict[Colour, str] = field(default_factory=dict)
    by_id: dict[int, str] = field(default_factory=dict)
    given: bool = False

    def id(self, name: str) -> int | None:
        """None for a name that nothing is known about."""
        return self.ids.get(plain(name))


def known() -> ClassMap:
    """The classes whose names are known."""
    classes = {id_: LabelClass(id_, name.replace(" ", "_"), GROUPS[name]) for name, id_ in IDS.items()}
    return ClassMap({**IDS, **dict.fromkeys(IGNORED, IGNORE)}, classes)


def load(path: Path) -> ClassMap:
    """A class table: a dataset.yaml or a network's YAML, or a text file of colours and names. In a YAML each class may
    have `colour: [r, g, b]` and `also`, other names for it; `group: ignore` leaves it out. Raises LabelError."""
    if not path.is_file():
        raise LabelError(f"there is no class table at {path}")
    if path.suffix.lower() not in (".yaml", ".yml"):
        by_colour = read_label_map(path)
        base = known()
        strange = sorted({name for name in by_colour.values() if base.id(name) is None})
        if strange:
            raise LabelError(f"{path} names classes whose meaning is not known: {', '.join(strange)}",
                             "write them as YAML with their groups (see drive-seg import --help)")
        return ClassMap(base.ids, base.classes, by_colour)
    try:
        facts = read_yaml(path)
        rows = facts["classes"]
        if isinstance(rows, dict):
            rows = [{"id": id_, **row} for id_, row in rows.items()]
        return _read(rows, facts.get("ignore"))
    except YamlError as error:
        raise LabelError(error.reason, error.fix) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LabelError(f"{path}: `classes` must give each class an id, a name and a group ({error})") from error


def _read(rows: list[dict], ignore: int | None) -> ClassMap:
    ids: dict[str, int] = dict.fromkeys(IGNORED, IGNORE)
    classes: dict[int, LabelClass] = {}
    by_colour: dict[Colour, str] = {}
    by_id: dict[int, str] = {}
    for row in rows:
        id_, name = int(row["id"]), str(row["name"])
        left_out = id_ == ignore or row["group"] == "ignore"
        if not left_out:
            if not 0 <= id_ < IGNORE or id_ in classes:
                raise ValueError(f"class id {id_} is above 254 or appears twice")
            groups = row["group"] if isinstance(row["group"], list) else [row["group"]]
            wrong = [g for g in groups if str(g).upper() not in Group.__members__]
            if wrong or not groups:
                raise ValueError(f"the group of {name!r} must be among background, road, pavement, obstacle, ignore, it"
                                 f" is {row['group']!r}")
            classes[id_] = LabelClass(id_, name, tuple(Group[str(g).upper()] for g in groups))
        by_id[id_] = name
        for other in (name, *_listed(row.get("also"))):
            ids[plain(other)] = IGNORE if left_out else id_
        colours = row.get("colour", row.get("color", []))
        for colour in colours if colours and isinstance(colours[0], list) else [colours] if colours else []:
            red, green, blue = (int(v) for v in colour)
            by_colour[red, green, blue] = name
    if ignore is not None:
        by_id.setdefault(int(ignore), "ignore")
    return ClassMap(ids, classes, by_colour, by_id, given=True)


def _listed(value: object) -> list[str]:
    return [] if value is None else [str(v) for v in value] if isinstance(value, list) else [str(value)]


def template(names: dict[str, int], path: Path) -> None:
    """Write a class table to be filled in. names: pixels by name or colour of what is not known."""
    rows = {}
    for id_, name in enumerate(sorted(names, key=lambda n: -names[n])):
        colour = name.removeprefix("colour ").split() if name.startswith("colour ") else None
        number = name.removeprefix("id ") if name.startswith("id ") else None
        row: dict = {"name": f"class_{id_}" if colour or number else name, "group": "FILL IN"}
        if colour:
            row["colour"] = [int(v) for v in colour]
        if number:
            row["also"] = [id_name(int(number))]
        rows[id_] = row
    text = ("# Each group: road, pavement, obstacle, background, a list of several (one of them, not known which), or\n"
            "# ignore. Add the classes whose names were known, too: with a table, only the table counts.\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + yaml.safe_dump({"ignore": IGNORE, "classes": rows}, sort_keys=False))
