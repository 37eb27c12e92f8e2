"""Pictures of an evaluation: the confusion matrix, and images beside truth and prediction."""

from __future__ import annotations

import cv2
import numpy as np

_CELL, _LEFT, _TOP = 56, 120, 110


def draw_confusion(matrix: np.ndarray, rows: list[str], columns: list[str]) -> np.ndarray:
    """The matrix as a picture (BGR): truth down, prediction across, each row in percent of its truth."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    canvas = np.full((_TOP + _CELL * len(rows) + 10, _LEFT + _CELL * len(columns) + 10, 3), 255, np.uint8)

    def write(text: str, x: int, y: int, colour: tuple[int, int, int] = (0, 0, 0)) -> None:
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)

    write("truth down, prediction across, % of truth", 8, 20)
    for j, name in enumerate(columns):
        write(name[:12], _LEFT + _CELL * j + 4, _TOP - 10 - 18 * (j % 3))
    for i, name in enumerate(rows):
        write(name, 8, _TOP + _CELL * i + 33)
        for j in range(len(columns)):
            share = float(shares[i, j])
            corner = (_LEFT + _CELL * j, _TOP + _CELL * i)
            shade = (int(255 - 190 * share), int(255 - 130 * share), int(255 - 215 * share))
            cv2.rectangle(canvas, corner, (corner[0] + _CELL - 2, corner[1] + _CELL - 2), shade, -1)
            if share >= 0.0005:
                write(f"{100 * share:.1f}", corner[0] + 8, corner[1] + 33)
    return canvas


def side_by_side(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Image, truth and prediction in one row (BGR). colours: (256, 3) RGB by id."""
    return np.hstack([image, colours[truth][..., ::-1], colours[predicted][..., ::-1]])
