"""Sheets of small pictures: what was picked, what was imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

_WIDTH, _GAP, _LINE = 320, 8, 16  # pixels
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GROUND, _INK = (250, 250, 250), (30, 30, 30)


@dataclass(frozen=True)
class Cell:
    """One picture, (h, w, 3) uint8 BGR, and the lines below it."""

    picture: np.ndarray
    lines: tuple[str, ...] = field(default_factory=tuple)


def small(picture: np.ndarray) -> np.ndarray:
    """A picture (BGR) at the width of a cell."""
    height = max(1, round(_WIDTH * picture.shape[0] / picture.shape[1]))
    return cv2.resize(picture, (_WIDTH, height), interpolation=cv2.INTER_AREA)


def write_sheets(path: Path, cells: Sequence[Cell], columns: int = 5, rows: int = 12) -> list[Path]:
    """Write cells as NAME.jpg, and as NAME_2.jpg and so on where they are many. Returns the files."""
    files = []
    for number, first in enumerate(range(0, len(cells), columns * rows), 1):
        file = path if number == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}")
        cv2.imwrite(str(file), _draw(cells[first:first + columns * rows], columns), (cv2.IMWRITE_JPEG_QUALITY, 85))
        files.append(file)
    return files


def _draw(cells: Sequence[Cell], columns: int) -> np.ndarray:
    columns = min(columns, len(cells))
    high = max(cell.picture.shape[0] + _LINE * len(cell.lines) for cell in cells) + 2 * _GAP
    sheet = np.full((high * math.ceil(len(cells) / columns), (_WIDTH + _GAP) * columns + _GAP, 3), _GROUND, np.uint8)
    for index, cell in enumerate(cells):
        top, left = high * (index // columns) + _GAP, _GAP + (_WIDTH + _GAP) * (index % columns)
        height = cell.picture.shape[0]
        sheet[top:top + height, left:left + _WIDTH] = cell.picture
        for number, line in enumerate(cell.lines):
            text = line.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
            while cv2.getTextSize(text, _FONT, 0.4, 1)[0][0] > _WIDTH:
                text = text[:-4] + "..."
            cv2.putText(sheet, text, (left, top + height + _LINE * (number + 1) - 4), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
    return sheet
