"""Curves of a run, drawn from its log."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from drive_seg.training import log as run_log

WIDTH, HEIGHT, MARGIN = 900, 420, 60
COLOURS = ((180, 90, 30), (40, 120, 220), (60, 160, 60), (160, 60, 160), (90, 90, 90))  # BGR


def draw_curves(log: Path, picture: Path) -> None:
    """Draws loss, and mIoU of each data set's val split, over the step, one panel above the other."""
    entries = run_log.read(log)
    loss = {"loss": [(e["step"], e["loss"]) for e in entries if "loss" in e]}
    scores: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        for name, score in entry.get("val", {}).items():
            if score["miou"] is not None:  # a val split that shows no class alone
                scores.setdefault(f"{name} val mIoU", []).append((entry["step"], score["miou"]))
    cv2.imwrite(str(picture), np.vstack([_panel(loss), _panel(scores)]))


def _panel(series: dict[str, list[tuple[float, float]]]) -> np.ndarray:
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    points = np.array([p for line in series.values() for p in line], float)
    if len(points) == 0:
        return canvas
    low, high = points.min(0), points.max(0)
    low[0] = 0
    span = np.maximum(high - low, 1e-9)

    def place(x: float, y: float) -> tuple[int, int]:
        return (round(MARGIN + (x - low[0]) / span[0] * (WIDTH - 2 * MARGIN)),
                round(HEIGHT - MARGIN - (y - low[1]) / span[1] * (HEIGHT - 2 * MARGIN)))

    def write(text: str, at: tuple[int, int], colour: tuple[int, int, int] = (0, 0, 0)) -> None:
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    cv2.rectangle(canvas, (MARGIN, MARGIN), (WIDTH - MARGIN, HEIGHT - MARGIN), (200, 200, 200))
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = low + share * span
        write(f"{x:.0f}", (place(x, low[1])[0] - 15, HEIGHT - MARGIN + 18))
        write(f"{y:.3g}", (8, place(low[0], y)[1] + 4))
    for line, colour in zip(series.values(), COLOURS * len(series), strict=False):
        corners = np.array([place(*p) for p in line], np.int32)
        cv2.polylines(canvas, [corners], False, colour, 2, cv2.LINE_AA)
    for row, (name, colour) in enumerate(zip(series, COLOURS, strict=False)):
        write(name, (MARGIN + 8, MARGIN + 18 + 18 * row), colour)
    return canvas
