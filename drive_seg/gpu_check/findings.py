"""What the checks found: lines that hold or don't, and a table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Findings:
    """Collects findings, and prints them as they come unless quiet."""

    lines: list[dict] = field(default_factory=list)
    table: list[dict] = field(default_factory=list)
    quiet: bool = False

    def say(self, what: str, result: str) -> None:
        """Something to know that can't be wrong."""
        self._add(what, None, result)

    def must(self, what: str, holds: bool, result: str) -> None:
        """Something that must hold."""
        self._add(what, bool(holds), result)

    def row(self, **columns) -> None:
        """One row of the table of times."""
        self.table.append(columns)

    @property
    def failed(self) -> int:
        """How much of what must hold does not."""
        return sum(line["holds"] is False for line in self.lines)

    def _add(self, what: str, holds: bool | None, result: str) -> None:
        self.lines.append({"what": what, "holds": holds, "result": result})
        if not self.quiet:
            print(f"{ {True: 'ok    ', False: 'FAILED', None: '      '}[holds]} {what}: {result}", flush=True)

    def write(self, path: Path) -> None:
        """All of it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"findings": self.lines, "times": self.table}, indent=2) + "\n")

    def add(self, path: Path) -> int:
        """Take over what another process wrote, which printed it already. Returns how many rows its table has."""
        written = json.loads(path.read_text())
        self.lines += written["findings"]
        self.table += written["times"]
        return len(written["times"])


def table_of(rows: list[dict]) -> list[str]:
    """Lines of text for a table of times."""
    names = list(rows[0]) if rows else []
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]


def _cell(value) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
