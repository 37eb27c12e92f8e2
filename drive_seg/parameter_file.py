"""ROS 2 parameter files: read as rcl reads them, and the one that lists every setting with its default.

    python -m drive_seg.parameter_file config > config/drive_seg.yaml
    python -m drive_seg.parameter_file docs > docs/parameters.md
"""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from drive_seg.errors import DriveSegError, ParameterError
from drive_seg.rig import look_up
from drive_seg.settings import GROUPS, TABLE, Setting, of_groups, unknown

NODE = "/drive_seg"
"""The node's name where nothing else is said."""

_PARAMETERS = "ros__parameters"
_OF_ROS = re.compile(r"use_sim_time|start_type_description_service|qos_overrides(\..*)?")
_LARGEST = 1 << 20  # bytes; a file of every setting has 6000
_TRUE = {"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"}
_FALSE = {"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"}
_NAME = r"(\*\*?|[A-Za-z_][A-Za-z0-9_]{0,254})"
_NODE = re.compile(f"/?{_NAME}(/{_NAME})*")
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][+-]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[+-]?(\.(inf|Inf|INF)|(?i:inf(inity)?|nan(\(\w*\))?))|\.(nan|NaN|NAN)")
_TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Section:
    """The parameters of the nodes whose full name fits `node`, in which `*` stands for one name and `**` for any."""

    node: str
    values: dict[str, Any]

    def fits(self, node: str) -> bool:
        """Whether they are meant for a node of this full name."""
        pattern = "".join("(/[^/]+)*" if part == "**" else "/[^/]+" if part == "*" else "/" + re.escape(part)
                          for part in self.node.strip("/").split("/"))
        return re.fullmatch(pattern, node) is not None

    @property
    def wild(self) -> bool:
        """Whether it is meant for nodes of several names."""
        return "*" in self.node


def read_parameters(path: Path, node: str | None = None, say: Callable[[str], None] = lambda line: None,
                    ) -> dict[str, Any]:
    """The settings that a parameter file has for a node, by name: what `--ros-args --params-file` would give it.

    Those of one of several cameras are `front.min_confidence`.

    node: its full name; by default /drive_seg or, where the file has nothing for that, the only one that it names. say:
    takes a line for each section and each name that is left out. Raises ParameterError for a file that can't be read or
    has nothing for the node, and for a value that can't be used.
    """
    sections = read_sections(path)
    wanted = NODE if node is None else "/" + node.strip("/")
    if node is None and not any(s.fits(wanted) for s in sections):
        named = [s.node for s in sections if not s.wild and any(name.rpartition(".")[2] in TABLE for name in s.values)]
        if len(named) > 1:
            raise ParameterError(f"{path} has parameters of {', '.join(named)}", "choose one with --node")
        if named:
            wanted = named[0]
            say(f"{path}: taken are the parameters of {wanted}")
    taken = [s for s in sections if s.fits(wanted)]
    if not taken:
        raise ParameterError(f"{path} has no parameters of {wanted}",
                             f"it needs `/**:` or `{wanted}:` with `{_PARAMETERS}:`, or give its node with --node")
    values: dict[str, Any] = {}
    for section in sections:
        if section not in taken:
            say(f"{path}: the parameters of {section.node} are left out, this is {wanted}")
            continue
        for name, value in section.values.items():  # what comes later wins
            if (setting := TABLE.get(name.rpartition(".")[2])) is not None:
                try:
                    setting.check(value)
                except ParameterError as error:
                    raise ParameterError(f"{path}: {error.reason}", error.fix) from error
                values[name] = value
            elif not _OF_ROS.fullmatch(name):
                say(f"{path}: {unknown(name)}; it is left out")
    cameras = values.get("cameras", ())
    for name in [name for name in values if "." in name]:
        try:
            look_up(name, cameras)
        except ParameterError as error:
            say(f"{path}: {error.reason}; it is left out")
            del values[name]
    return values


def read_sections(path: Path) -> list[Section]:
    """All sections of a parameter file, in their order. Raises ParameterError."""
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ParameterError(f"{path} is not a parameter file: it has more than {_LARGEST} bytes")
        sections: list[Section] = []
        for root in yaml.compose_all(content.decode(), Loader=_Loader):
            _walk(root, "", sections, set())
    except OSError as error:
        raise ParameterError(f"{path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise ParameterError(f"{path} is not a parameter file: it is nested too deeply") from None
    except _UnfitError as error:
        raise ParameterError(f"{path} is not a parameter file: {error}") from None
    return sections


class _UnfitError(DriveSegError, ValueError):
    """YAML that rcl would refuse."""


class _Loader(yaml.BaseLoader):
    """Tags only what the file itself tags."""

    DEFAULT_SCALAR_TAG = ""


def _walk(node: yaml.Node, above: str, sections: list[Section], seen: set[int]) -> None:
    """Names of nodes, which may be nested in their namespaces, until `ros__parameters`."""
    for key, value in _items(node, seen, f"it needs a node's name, and `{_PARAMETERS}:` below it"):
        if key == _PARAMETERS:
            line = value.start_mark.line + 1
            if not _NODE.fullmatch(above):
                raise _UnfitError(f"line {line}: `{_PARAMETERS}` stands below {above!r}, which can't be a node's name")
            if not isinstance(value, yaml.MappingNode):
                raise _UnfitError(f"`{_PARAMETERS}` in line {line} has no names with values")
            sections.append(Section("/" + above.lstrip("/"), dict(_flat(value, "", seen))))
        else:
            _walk(value, f"{above.removesuffix('/')}/{key}" if above else key, sections, seen)


def _flat(node: yaml.Node, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Parameters with their values; nested names are joined by points."""
    for key, value in _items(node, seen, "parameters are names with values"):
        if isinstance(value, yaml.MappingNode):
            yield from _flat(value, f"{prefix}{key}.", seen)
        elif isinstance(value, yaml.SequenceNode):
            values = [_value(item, prefix + key, seen) for item in value.value]
            if len({type(item) for item in values}) > 1:
                raise _UnfitError(f"line {value.start_mark.line + 1}: {prefix}{key} is a list of several types")
            yield prefix + key, values
        else:
            yield prefix + key, _value(value, prefix + key, seen)


def _items(node: yaml.Node, seen: set[int], otherwise: str) -> Iterator[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise _UnfitError(f"line {node.start_mark.line + 1}: {otherwise}")
    _once(node, seen)
    for key, value in node.value:
        _once(key, seen)
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            raise _UnfitError(f"line {key.start_mark.line + 1}: a name is missing")
        yield key.value, value


def _value(node: yaml.Node, name: str, seen: set[int]) -> Any:
    """A scalar as rcl takes it, which is not quite as YAML does: `yes` is true, 1e-3 a number, ~ a text."""
    _once(node, seen)
    if not isinstance(node, yaml.ScalarNode):
        raise _UnfitError(f"line {node.start_mark.line + 1}: {name} can't be a list of lists")
    text = node.value
    if node.style in ("'", '"'):
        return text
    if not text:
        raise _UnfitError(f"line {node.start_mark.line + 1}: {name} has no value")
    if node.tag == _TEXT:
        return text
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> float | None:
    """A number as strtol and strtod of C take it; None where they take none."""
    if _INTEGER.fullmatch(text) and len(text) <= 25:
        digits = text.lstrip("+-")
        whole = int(text, 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10)
        if -(1 << 63) <= whole < 1 << 63:
            return whole
    if _NO_NUMBER.fullmatch(text):
        return float(re.sub(r"\.|\(.*", "", text))
    try:
        if _HEXADECIMAL.fullmatch(text):
            return float.fromhex(text)
        if _DECIMAL.fullmatch(text):
            number = float(text)
            # rcl does not take a number that is too large or too small for a double.
            small = abs(number) < sys.float_info.min and re.search("[1-9]", re.split("[eE]", text)[0])
            return None if math.isinf(number) or small else number
    except OverflowError:
        pass
    return None


def _once(node: yaml.Node, seen: set[int]) -> None:
    if id(node) in seen:
        raise _UnfitError(f"line {node.start_mark.line + 1}: ROS 2 takes no aliases (& and *)")
    seen.add(id(node))


_HEAD = """\
# Every parameter of the node with its default: copy it, keep what you change, and start with
#     ros2 launch drive_seg seg.launch.py params_file:=/path/to/your.yaml
# Those marked * can change while the node runs (ros2 param set); the others are read when it is configured.
# With several cameras those marked + can be each camera's own: `front: {min_confidence: 0.8}`.
/**:
  ros__parameters:
"""
_WIDTH = 116


def config_text() -> str:
    """config/drive_seg.yaml: for each setting a comment and its default."""
    parts = []
    for group, title in GROUPS.items():
        lines = [f"    # --- {title} ---"]
        for setting in of_groups([group]):
            allowed = f" ({setting.allowed})" if setting.allowed else ""
            marks = "*" * setting.live + "+" * setting.own
            about = f"{marks} {setting.about}{allowed}".lstrip()
            lines += textwrap.wrap(about, _WIDTH, initial_indent="    # ", subsequent_indent="    #   ")
            lines.append(f"    {setting.name}: {_json(setting.default)}")
        parts.append("\n".join(lines) + "\n")
    return _HEAD + "\n".join(parts)


_DOCS_HEAD = """\
# Parameters

The node takes these as ROS 2 parameters. Commands that run a network read them from the same file (`--params-file`)
and have them as options, with `-` for `_` (`--min-confidence 0.8`; the input size is `--size HxW`). *Live* ones can
change while the node runs (`ros2 param set`); the others are read when it is configured, and a change is refused with
the way to do it. A file of them can be loaded again (`ros2 param load`): values that stay the same are accepted.
*Own* ones may differ between the cameras of one node, as `front.min_confidence` ([several cameras](cameras.md)).
`config/drive_seg.yaml` lists them all with their defaults.

Sections of a file belong to nodes as for ROS 2: `/**`, `/*`, `/**/drive_seg`, namespaces, nested names; of several that
fit, the later wins. A command takes the section of `/drive_seg`, or the only node that the file names, or that of
`--node NAME`, and reports what it leaves out.

This page is made from the table in `drive_seg/settings.py`: `python -m drive_seg.parameter_file docs`.
"""


def docs_text() -> str:
    """docs/parameters.md: a table for each group."""
    return _DOCS_HEAD + "".join(f"\n## {title}\n\n{_table(of_groups([group]))}" for group, title in GROUPS.items())


def _table(settings: list[Setting]) -> str:
    rows = ["| parameter | type | default | allowed | live | own | meaning |",
            "| --- | --- | --- | --- | --- | --- | --- |"]
    for s in settings:
        kind = {bool: "bool", int: "integer", float: "double", str: "string", tuple: "string array"}[s.kind]
        default = f"`{_json(s.default)}`" if s.default != "" else "empty"
        live, own = ("yes" if mark else "" for mark in (s.live, s.own))
        rows.append(f"| `{s.name}` | {kind} | {default} | {s.allowed} | {live} | {own} | {s.about} |")
    return "\n".join(rows) + "\n"


def _json(default: Any) -> str:
    return json.dumps(list(default) if isinstance(default, tuple) else default)


TEXTS: dict[str, Callable[[], str]] = {"config": config_text, "docs": docs_text}

if __name__ == "__main__":
    print(TEXTS[sys.argv[1]](), end="")
