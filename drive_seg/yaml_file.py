"""YAML from anybody: what a file says, or one line on what is wrong with it, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from drive_seg.errors import DriveSegError

_LONGEST = 2 << 20  # bytes
_DEEPEST = 50  # lists and mappings within one another
_MOST = 200_000  # values, each counted as often as it is referred to
_MOST_DIGITS = 300
_MOST_QUOTED = 80  # letters of a value in a message

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(DriveSegError, ValueError):
    """A YAML file that can't be used; the message names the file."""


def read_yaml(path: Path, longest: int = _LONGEST) -> Any:
    """What a YAML file says. Raises YamlError; OSError where it can't be read.

    longest: bytes. Refuses files that are long or deep, that refer to themselves, or that become large when all
    references are followed: a few lines can stand for more values than any memory holds.
    """
    size = path.stat().st_size
    if size > longest:
        raise YamlError(f"{path} has {size / 1e6:.0f} MB, more than the {longest / 1e6:.0f} MB that such a file may"
                        " have", "give the right file")
    try:
        text = path.read_text(encoding="utf-8")
        depth = 0
        for event in yaml.parse(text, _LOADER):  # without recursion, as loading is
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise YamlError(f"{path} has more than {_DEEPEST} levels", "give the right file")
            if isinstance(event, yaml.ScalarEvent):
                _check_scalar(path, event)
        document = yaml.load(text, _LOADER)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"{path} is not valid YAML", _one_line(error)) from error
    if _count(document, {}, set()) > _MOST:
        raise YamlError(f"{path} refers to itself, or to the same values too often", "write them out")
    return document


def _check_scalar(path: Path, event: yaml.ScalarEvent) -> None:
    """Raise YamlError for what takes the loader very long: a number without end, and mappings merged by `<<`."""
    line = event.start_mark.line + 1
    if event.style or not event.implicit[0]:
        return
    if event.value == "<<":
        raise YamlError(f"{path} merges mappings with `<<` (line {line})", "write them out")
    if len(event.value) > _MOST_DIGITS and event.value[0] in "+-.0123456789":
        raise YamlError(f"{path} has a number of {len(event.value)} digits (line {line})", "correct it")


def quoted(value: object) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _MOST_QUOTED else text[:_MOST_QUOTED] + "..."


def _count(value: Any, known: dict[int, float], open_: set[int]) -> float:
    """Values in a value with every reference followed; infinite for one that contains itself."""
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if id(value) in open_:
        return float("inf")
    if id(value) not in known:
        open_.add(id(value))
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)
        known[id(value)] = 1 + sum(_count(part, known, open_) for part in parts)
        open_.remove(id(value))
    return known[id(value)]


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    text = problem if len(problem) <= 2 * _MOST_QUOTED else problem[: 2 * _MOST_QUOTED] + "..."
    return text + (f" (line {mark.line + 1})" if mark is not None else "")
