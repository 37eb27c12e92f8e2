"""Which class of the new data set a name or colour in foreign labels becomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import yaml

from drive_seg.core.classes import Group
from drive_seg.evaluation.dataset import LabelClass
from drive_seg.labelling.formats.masks import Colour, read_label_map
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


def template(names: Iterable[str], table: ClassMap, path: Path) -> Path:
    """Write a class table to be filled in: of what is not known, and of the classes that are, as they were understood.

    names: the names, colours and grey values that the labels have. table: what is known. Returns the file: `path`, or
    one beside it where that is there, which somebody may have filled in.
    """
    values = {name: value for value, name in table.by_id.items()}
    colours: dict[str, list[list[int]]] = {}
    for colour, name in table.by_colour.items():
        colours.setdefault(name, []).append(list(colour))
    greys = {name: int(name.removeprefix("id ")) for name in names if name.startswith("id ")}
    rows: dict[int, dict] = {}
    rest: list[dict] = []
    for name in names:
        known = table.id(name)
        row: dict = {"name": name, "group": "FILL IN"}
        id_ = greys.get(name)
        if known == IGNORE:
            row["group"], id_ = "ignore", values.get(name)
        elif known is not None:
            label, id_ = table.classes[known], known
            groups = [group.name.lower() for group in label.groups]
            row = rows.get(id_, {"name": label.name, "group": groups[0] if len(groups) == 1 else groups})
            if plain(label.name) != plain(name):
                row["also"] = [*row.get("also", []), name]
        elif id_ is not None:
            row |= {"name": f"class_{id_}", "also": [name]}
            if id_ >= IGNORE:
                id_ = None
        elif name.startswith("colour "):
            row |= {"name": "colour_" + "_".join(name.split()[1:]), "colour": [int(v) for v in name.split()[1:]]}
        if name in colours:
            row["colour"] = [*row.get("colour", []), *colours[name]]
        if id_ is None:
            rest.append(row)
        elif id_ != IGNORE:
            rows[id_] = row
    taken = {*rows, *greys.values(), *values.values()}  # no class may get a number that means another in the masks
    free = (id_ for id_ in range(IGNORE) if id_ not in taken)
    for row, id_ in zip(rest, free, strict=False):
        rows[id_] = row
    text = ("# Each group: road, pavement, obstacle, background, a list of several (one of them, not known which), or\n"
            "# ignore. With a table, only the table counts.\n"
            + yaml.safe_dump({"ignore": IGNORE, "classes": dict(sorted(rows.items()))}, sort_keys=False,
                             allow_unicode=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    places = chain([path], (path.with_name(f"{path.stem}.{number}.yaml") for number in count(2)))
    file = next(p for p in places if not p.exists() or p.read_text(encoding="utf-8") == text)
    file.write_text(text, encoding="utf-8")
    return file
