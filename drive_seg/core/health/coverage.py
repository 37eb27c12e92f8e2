"""Is a part of the lens covered? What stands still on the lens while the world moves past it.

Judged over the whole picture, cell by cell. A cell is still where its pixels hardly change between looks that lie up
to a second and more apart; the vehicle moves where other cells change, and what is rich in detail is not still. Sky
stands still as well. So above the ground a still cell counts only where it has what no sky has: one and the same
brightness over a large area, or a texture that is nailed to the picture.

The vehicle itself stands still too, at the bottom edge. What is still there, up to STRIP_ROWS, is kept apart.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

THUMB_ROWS, THUMB_COLUMNS = 72, 128
"""Size of the small picture that is judged, see lens.Look."""
_SIDE = 4  # pixels of the small picture that make a cell, both ways
ROWS, COLUMNS = THUMB_ROWS // _SIDE, THUMB_COLUMNS // _SIDE
STRIP_ROWS = 4
"""Rows of cells at the bottom, 22 % of the height, in which the vehicle itself may be seen."""

# Levels of brightness, 0..255. Measured on the six drives: still sky changes by 0.5 to 1.3, road by 1 and more.
_STILL, _MOVES = 1.0, 3.0
_DETAIL = 10.0  # standard deviation in a cell whose movement would show
_PATTERN = 5  # pixels of the small picture within which brightness varies for a texture
_NAILED = 0.2  # change of a texture that is nailed to the picture against its strength; of drifting clouds: 0.3
_EDGE = 100.0  # variance above which it is an edge, no texture
_FLAT = 2.0  # range of brightness of a surface without any shading; a sky has more over any large area
_DEEP, _FULL = 12.0, 250.0  # darker and brighter than this a night and a glare are as flat
_EVEN = 15.0  # most brightness varies (10 to 90 % of the cells) over a textured surface; clouds: 18 and more
_EVEN_INSIDE = 13.0  # the same without its rim, where cells are half covered: covers to 11, clouds 16 and more
_EXTREME_WEIGHT = 0.3  # of such cells

_SKY_ROWS = 10  # rows of cells from the top that may show sky
_LEAST_PATCH = 0.01  # share of the picture; smaller patches of still ground are chance
_LEAST_FLAT = 0.07  # the six drives' skies: up to 0.052
_LEAST_TEXTURE = 0.05
_LEAST_ALONE = 0.2  # flat so far, it is a cover even where nothing else is seen to move

# When the vehicle is slow, or the image too small to show the texture of the asphalt, parts of the road also stay the
# same for a second: thin streaks along the lane, or small patches, never for long in one place. So only what is large
# and compact counts at once; the rest must last. Measured on the six drives down to a fifth of their speed, also at
# 320x180.
_LEAST_AT_ONCE = 0.1  # share of the picture; streaks and patches together: up to 0.12
_LEAST_CORE = 0.008  # share of the picture that lies a cell from the part's rim; of streaks: up to 0.005
_LARGE = 0.11  # a connected part of this share needs none; of streaks: up to 0.05
_LASTS = 4.0  # seconds in which the same cells are still in every look

_LEAST_MOVING = 0.02  # share of cells that must move
_REMEMBERED = 3.0  # seconds for which movement that was seen counts where nothing contradicts it

_SQUARE = np.ones((3, 3), np.uint8)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

_LAGS = (0.4, 0.8, 1.2)  # seconds between the looks that are compared
_LEAST_LAG, _MOST_LAG = 0.8, 5.0
TOO_RARE = 2.2
"""Seconds between looks beyond which a cover is not found in time."""


@dataclass(frozen=True)
class Cover:
    """What is known of the lens. share: of the picture that is covered, 0..1, black and saturated parts counted less.
    strip: share of the picture that stands still at the bottom edge, where the vehicle itself may be. unknown: why
    nothing can be said, empty where it can. cells: (ROWS, COLUMNS) bool, those that are covered."""

    share: float = 0.0
    strip: float = 0.0
    unknown: str = ""
    cells: np.ndarray | None = None


class Coverage:
    """Show it looks at successive images, about ten a second at most; it says what is covered."""

    def __init__(self, ego: np.ndarray | None = None) -> None:
        """ego: (h, w) bool, the vehicle itself; not examined."""
        self._examined = np.ones((ROWS, COLUMNS), np.bool_)
        if ego is not None:
            small = cv2.resize(np.asarray(ego, np.bool_).astype(np.float32), (COLUMNS, ROWS),
                               interpolation=cv2.INTER_AREA)
            self._examined = small < 0.3
        self.reset()

    def reset(self) -> None:
        """Forget earlier images: they don't belong with what follows."""
        self._looks: deque[tuple[float, np.ndarray, np.ndarray]] = deque()
        self._moved = -np.inf
        self._found: deque[tuple[float, np.ndarray]] = deque()  # what was still in the looks of the last _LASTS

    def due(self, now: float) -> bool:
        """Whether an image of this time would say anything beyond the last one."""
        return not self._looks or now - self._looks[-1][0] >= 0.1 - 1e-6

    def judge(self, thumb: np.ndarray, now: float) -> Cover:
        """thumb: (THUMB_ROWS, THUMB_COLUMNS) float32 brightness 0..255 of an image that differs from the last one."""
        gap = now - self._looks[-1][0] if self._looks else 0.0
        rough = thumb - cv2.blur(thumb, (_PATTERN, _PATTERN))
        earlier = self._compared(now)
        self._looks.append((now, thumb, rough))
        if not self._examined.any():
            return Cover(unknown="the ego mask covers the picture")
        if not earlier:
            return Cover(unknown=f"one image in {gap:.1f} s" if gap > _MOST_LAG else "too few images yet")
        return self._judged(thumb, rough, earlier, now)

    def _compared(self, now: float) -> list[tuple[float, np.ndarray, np.ndarray]]:
        """The earlier looks to compare with, the nearest to each of _LAGS; none where they are too near or far."""
        while self._looks and now - self._looks[0][0] > _MOST_LAG:
            self._looks.popleft()
        while len(self._looks) > 2 and now - self._looks[1][0] > _LAGS[-1] + 0.3:
            self._looks.popleft()
        if not self._looks:
            return []
        chosen: list[tuple[float, np.ndarray, np.ndarray]] = []
        for lag in _LAGS:
            look = min(self._looks, key=lambda look: abs(now - look[0] - lag))
            if not any(look is other for other in chosen):
                chosen.append(look)
        chosen.sort(key=lambda look: look[0])
        return chosen if now - chosen[0][0] >= _LEAST_LAG - 1e-6 else []

    def _judged(self, thumb: np.ndarray, rough: np.ndarray, earlier: list, now: float) -> Cover:
        change, mean, detail, pattern = _cells(thumb, rough, np.stack([look[1] for look in earlier]), earlier[0][2])
        examined, cells = self._examined, float(self._examined.sum())
        still = (change < _STILL) & examined
        extreme = (mean < _DEEP) | (mean >= _FULL)
        strip = np.zeros_like(still)
        strip[ROWS - STRIP_ROWS:] = np.logical_and.accumulate((still | ~examined)[:ROWS - STRIP_ROWS - 1:-1])[::-1]
        strip &= still

        moving = ((change >= _MOVES) & examined).sum()
        detailed_still = (still & (detail >= _DETAIL) & ~strip).sum()
        if moving >= _LEAST_MOVING * cells and 2 * detailed_still <= moving:
            self._moved = now
        elif detailed_still > max(moving, _LEAST_MOVING * cells):
            self._moved = -np.inf  # the vehicle stands
        moves = now - self._moved <= _REMEMBERED

        textured = _textured(still, pattern, change)
        flat = _largest(_alike(mean, still & ~extreme, _FLAT))
        covered = flat if flat.sum() >= _LEAST_ALONE * cells else np.zeros_like(still)
        if moves:
            ground = still & ~strip
            ground[:_SKY_ROWS] = False
            for patch in _patches(ground, _LEAST_PATCH * cells):
                covered = covered | patch
                if _is_compact(patch, cells):
                    covered = covered | _grown(patch, still & (np.abs(mean - np.median(mean[patch])) <= _FLAT))
            if flat.sum() >= _LEAST_FLAT * cells:
                covered = covered | flat
            texture = _largest(textured)
            if texture.sum() >= _LEAST_TEXTURE * cells and _is_even(texture, mean, _LEAST_TEXTURE * cells):
                covered = covered | texture
            compact = _compact(covered, cells)
            if compact.any():
                covered = covered | _grown(compact, textured)
        covered &= ~strip
        weight = np.where(extreme, _EXTREME_WEIGHT, 1.0)

        def share_of(part: np.ndarray) -> float:
            # A cell that is half covered is not still: the half of those around.
            rim = (cv2.dilate(part.astype(np.uint8), _CROSS) != 0) & ~part & examined & ~strip
            return float((weight[part].sum() + 0.5 * weight[rim].sum()) / cells)

        compact = _compact(covered, cells)
        lasting = self._lasting(covered | strip, now)
        share = share_of(compact)
        if share < _LEAST_AT_ONCE:
            compact = lasting & ~strip
            share = share_of(compact)
        unknown = "" if moves or covered.any() else "nothing moves"
        return Cover(share, float((strip & lasting).sum() / cells) if moves else 0.0, unknown, compact)

    def _lasting(self, found: np.ndarray, now: float) -> np.ndarray:
        """The cells that were found in every look of the last _LASTS seconds, three looks at least."""
        self._found.append((now, found))
        while len(self._found) > 1 and now - self._found[1][0] >= _LASTS - 1e-6:
            self._found.popleft()
        if len(self._found) < 3 or now - self._found[0][0] < _LASTS - 1e-6:
            return np.zeros_like(found)
        return np.logical_and.reduce([cells for _, cells in self._found])


def warm_up() -> None:
    """Compile what judges."""
    thumb = np.zeros((THUMB_ROWS, THUMB_COLUMNS), np.float32)
    _cells(thumb, thumb, thumb[None], thumb)


@njit(cache=True, nogil=True)
def _cells(thumb, rough, earlier, rough_earlier):
    """Per cell, each (ROWS, COLUMNS) float32: greatest mean change of a pixel since any earlier look, mean, standard
    deviation, and covariance of its fine pattern with that of the oldest look."""
    change = np.zeros((ROWS, COLUMNS), np.float32)
    mean, detail, pattern = np.zeros_like(change), np.zeros_like(change), np.zeros_like(change)
    area = np.float32(_SIDE * _SIDE)
    for r in range(ROWS):
        for c in range(COLUMNS):
            total, squares, product = np.float32(0), np.float32(0), np.float32(0)
            for y in range(r * _SIDE, (r + 1) * _SIDE):
                for x in range(c * _SIDE, (c + 1) * _SIDE):
                    total += thumb[y, x]
                    squares += thumb[y, x] * thumb[y, x]
                    product += rough[y, x] * rough_earlier[y, x]
            mean[r, c] = total / area
            detail[r, c] = np.sqrt(max(squares / area - mean[r, c] * mean[r, c], np.float32(0)))
            pattern[r, c] = max(product / area, np.float32(0))
            for k in range(earlier.shape[0]):
                moved = np.float32(0)
                for y in range(r * _SIDE, (r + 1) * _SIDE):
                    for x in range(c * _SIDE, (c + 1) * _SIDE):
                        moved += abs(thumb[y, x] - earlier[k, y, x])
                change[r, c] = max(change[r, c], moved / area)
    return change, mean, detail, pattern


def _alike(mean: np.ndarray, among: np.ndarray, within: float) -> np.ndarray:
    """The cells of one brightness, within so many levels, of which there are most."""
    levels = np.sort(mean[among])
    if not levels.size:
        return among
    count = np.searchsorted(levels, levels + within, "right") - np.arange(levels.size)
    low = levels[count.argmax()]
    return among & (mean >= low) & (mean <= low + within)


def _largest(cells: np.ndarray) -> np.ndarray:
    """Only the largest connected part."""
    count, parts, facts, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=4)
    return cells if count < 2 else parts == 1 + facts[1:, cv2.CC_STAT_AREA].argmax()


def _patches(cells: np.ndarray, least: float) -> list[np.ndarray]:
    """The connected parts of at least so many cells, the largest four."""
    count, parts, facts, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=4)
    areas = facts[1:, cv2.CC_STAT_AREA]
    return [parts == 1 + i for i in np.argsort(-areas)[:4] if areas[i] >= least]


def _is_compact(part: np.ndarray, of: float) -> bool:
    """Whether a connected part is more than a thin streak. of: cells of the picture."""
    return part.sum() >= _LARGE * of or cv2.erode(part.astype(np.uint8), _SQUARE).sum() >= _LEAST_CORE * of


def _compact(cells: np.ndarray, of: float) -> np.ndarray:
    """The connected parts that are more than thin streaks. of: cells of the picture."""
    out = np.zeros_like(cells)
    for part in _patches(cells, _LEAST_PATCH * of):
        if _is_compact(part, of):
            out |= part
    return out


def _is_even(part: np.ndarray, mean: np.ndarray, least: float) -> bool:
    """Whether brightness varies little over a part; or inside it, where so many cells are inside."""
    inside = cv2.erode(part.astype(np.uint8), _CROSS).astype(np.bool_)
    return bool(np.ptp(np.quantile(mean[part], (0.1, 0.9))) <= _EVEN
                or inside.sum() >= least and np.ptp(np.quantile(mean[inside], (0.1, 0.9))) <= _EVEN_INSIDE)


def _grown(seed: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The connected parts of `among` that the seed touches."""
    _, parts = cv2.connectedComponents((among | seed).astype(np.uint8), connectivity=4)
    return np.isin(parts, np.unique(parts[seed])) & among


def _textured(still: np.ndarray, pattern: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Still cells whose texture is nailed to the picture: strong against what changes, and no edge of something."""
    seen = still & (pattern > 0.7) & (pattern < _EDGE) & (change < _NAILED * np.sqrt(pattern))
    return cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)).astype(np.bool_) & still
