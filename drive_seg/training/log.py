"""A run's log: one JSON object a line, each with its step."""

from __future__ import annotations

import json
from pathlib import Path


def read(path: Path) -> list[dict]:
    """The entries. A line that a kill tore is left out; no file has none."""
    if not path.is_file():
        return []
    return [entry for line in path.read_text(errors="replace").splitlines() if (entry := _parsed(line)) is not None]


def last_validation(path: Path, start: float) -> float:
    """Progress at the last validation of a run, `start` where there was none."""
    return max((entry["progress"] for entry in read(path) if "val" in entry and "progress" in entry), default=start)


def append(path: Path, entry: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def cut(path: Path, step: int) -> None:
    """Drops what came after a step, which is done again. A kill while cutting leaves the log as it was."""
    if not path.is_file():
        return
    partial = path.with_suffix(".part")
    partial.write_text("".join(json.dumps(entry) + "\n" for entry in read(path) if entry["step"] <= step))
    partial.replace(path)


def _parsed(line: str) -> dict | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None
