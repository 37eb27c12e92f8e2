"""Things that no class covers, drawn onto the road of labelled pictures: does the network call them drivable?

Half of them are vivid, half muted: nearly grey, but at least 45 levels of brightness off the road around them, so that
a driver would see them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

KINDS = ("checks", "stripes", "noise", "box", "ball", "animal", "sheet", "rubble")


@dataclass(frozen=True)
class Pasted:
    """A picture (H, W, 3) uint8 BGR with an object, where it is (H, W) bool, what kind it is, and whether its colours
    are muted (near grey)."""

    image: np.ndarray
    where: np.ndarray
    kind: str
    muted: bool


def paste(image: np.ndarray, road: np.ndarray, kind: str, rng: np.random.Generator) -> Pasted | None:
    """Draw an object of a kind standing on the road.

    road: (H, W) bool, true road. Its foot is on road, it is smaller the nearer it is to the horizon, and most of it
    covers road. None when there is no room.
    """
    height, width = road.shape
    rows = np.flatnonzero(road.sum(axis=1) > width // 12)
    if rows.size < 8:
        return None
    horizon = rows[0]
    for _ in range(30):
        foot = int(rng.integers(horizon + (height - horizon) // 8, height - 4))
        size = int((foot - horizon) * rng.uniform(0.25, 0.6))
        columns = np.flatnonzero(road[foot])
        if size < 10 or columns.size < size:
            continue
        centre = int(rng.choice(columns))
        pasted = paste_at(image, road, kind, rng, foot=foot, centre=centre, size=size)
        if pasted is not None:
            return pasted
    return None


def paste_at(image: np.ndarray, road: np.ndarray, kind: str, rng: np.random.Generator, *, foot: int, centre: int,
             size: int) -> Pasted | None:
    """Draw an object whose foot is in row `foot` and whose middle in column `centre`, `size` pixels high.

    None where it would leave the picture, or less than 80 % of it would cover road.
    """
    width = road.shape[1]
    shape = _shape(kind, size, rng)
    top, left = foot - shape.shape[0], centre - shape.shape[1] // 2
    if top < 0 or left < 0 or left + shape.shape[1] > width:
        return None
    where = np.zeros(road.shape, np.bool_)
    where[top:foot, left:left + shape.shape[1]] = shape
    if road[where].mean() < 0.8:
        return None
    muted = bool(rng.random() < 0.5)
    ground = float(image[top:foot][road[top:foot]].mean())
    return Pasted(_blend(image, where, _texture(kind, road.shape, size, rng, muted_off=ground if muted else None)),
                  where, kind, muted)


def _shape(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """The outline, bool (rows, columns), standing on its lowest row."""
    wide = max(8, int(size * rng.uniform(0.7, 1.6)))
    shape = np.zeros((size, wide), np.uint8)
    middle = (wide // 2, size // 2)
    if kind in ("ball", "noise"):
        cv2.ellipse(shape, middle, (wide // 2 - 1, size // 2 - 1), 0, 0, 360, 1, -1)
    elif kind == "animal":
        cv2.ellipse(shape, (wide // 2, size * 2 // 5), (wide * 3 // 8, size // 4), 0, 0, 360, 1, -1)
        cv2.circle(shape, (wide * 7 // 8, size // 5), max(2, size // 7), 1, -1)
        for leg in (0.22, 0.35, 0.6, 0.73):
            x = int(wide * leg)
            cv2.rectangle(shape, (x, size * 2 // 5), (x + max(1, wide // 16), size - 1), 1, -1)
    elif kind == "rubble":
        angles = np.sort(rng.uniform(0, 2 * np.pi, 11))
        radii = rng.uniform(0.5, 1, 11)
        points = np.stack([middle[0] * (1 + radii * np.cos(angles)), middle[1] * (1 + radii * np.sin(angles))], 1)
        cv2.fillPoly(shape, [points.astype(np.int32)], 1)
    else:
        shape[:] = 1
    return shape.astype(np.bool_)


def _texture(kind: str, size: tuple[int, int], scale: int, rng: np.random.Generator,
             muted_off: float | None) -> np.ndarray:
    """A picture full of it, (H, W, 3) float. muted_off: brightness of the road that a muted one keeps clear of."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    one, other = rng.integers(0, 256, (2, 3))
    while np.abs(one - other).sum() < 150:
        one, other = rng.integers(0, 256, (2, 3))
    period = max(3, scale // int(rng.integers(3, 7)))
    if kind == "checks":
        choice = (y // period + x // period) % 2
    elif kind in ("stripes", "ball"):
        turn = rng.uniform(0, np.pi)
        choice = ((np.cos(turn) * x + np.sin(turn) * y) // period).astype(int) % 2
    elif kind in ("noise", "rubble"):
        coarse = rng.random((height // period + 2, width // period + 2)).astype(np.float32)
        choice = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    elif kind == "animal":
        coarse = rng.random((height // period + 2, width // period + 2)).astype(np.float32)
        choice = (cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) > 0.6) * 0.6
        one, other = np.array((40, 70, 110)) + rng.integers(-30, 60, 3), np.array((220, 225, 230))
    elif kind == "box":
        choice = (x // max(2, scale // 2) % 2) * 0.35  # two sides in different light
    else:  # a sheet of one colour
        choice = np.zeros((height, width))
    if muted_off is not None:
        levels = np.arange(256)
        levels = levels[np.abs(levels - muted_off) >= 45]
        one, other = (0.15 * (np.asarray(colour) - np.mean(colour)) + rng.choice(levels) for colour in (one, other))
    choice = np.asarray(choice, np.float32)[..., None]
    picture = (1 - choice) * np.asarray(one, np.float32) + choice * np.asarray(other, np.float32)
    return picture + rng.normal(0, 4, (height, width, 3))


def _blend(image: np.ndarray, where: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Soft edge, a shadow at the foot, and brightness that fits the picture."""
    alpha = cv2.GaussianBlur(where.astype(np.float32), (0, 0), 0.8)[..., None]
    shadow = cv2.GaussianBlur(np.roll(where, 3, axis=0).astype(np.float32), (0, 0), 3)[..., None]
    ground = image.astype(np.float32) * (1 - 0.35 * shadow)
    return np.clip(ground * (1 - alpha) + texture * alpha, 0, 255).astype(np.uint8)
