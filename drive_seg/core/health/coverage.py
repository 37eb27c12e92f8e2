"""Is a part of the lens covered? What stands still on the lens while the world moves past it.

Judged over the whole picture, cell by cell. A cell is still where its pixels hardly change between looks that lie up
to a second and more apart; the vehicle moves where other cells change, and what is rich in detail is not still. Sky
stands still as well. So above the ground a still cell counts only where it has what no sky has: one and the same
brightness over a large area, or a texture that is nailed to the picture.

The vehicle itself stands still too, at the bottom edge. What is still there, up to STRIP_ROWS, is kept apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

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


class _Seen(NamedTuple):
    """What a look shows, by cell, arrays (ROWS, COLUMNS). mean: float32, brightness. still: bool, does not change.
    strip: bool, still, and so are all cells below it down to the bottom edge. nailed: bool, still, with a texture that
    stays in place: strong against what changes, and not the edge of an object.

    Counts of cells: in_strip; on_ground, still ones below the sky outside the strip; nailed_count; alike, the most
    still ones of one brightness, which is within _FLAT levels from `low` on.
    """

    mean: np.ndarray
    still: np.ndarray
    strip: np.ndarray
    nailed: np.ndarray
    in_strip: int
    on_ground: int
    nailed_count: int
    alike: int
    low: float


class Coverage:
    """Show it looks at successive images, about ten a second at most; it says what is covered."""

    def __init__(self, ego: np.ndarray | None = None) -> None:
        """ego: (h, w) bool, the vehicle itself; not examined."""
        self._examined = np.ones((ROWS, COLUMNS), np.bool_)
        if ego is not None:
            small = cv2.resize(np.asarray(ego, np.bool_).astype(np.float32), (COLUMNS, ROWS),
                               interpolation=cv2.INTER_AREA)
            self._examined = small < 0.3
        self._count = int(self._examined.sum())
        self.reset()

    def reset(self) -> None:
        """Forget earlier images: they don't belong with what follows."""
        self._looks: deque[tuple[float, np.ndarray, np.ndarray]] = deque()
        self._moved = -np.inf
        self._judged_at: deque[float] = deque()  # the looks of the last _LASTS
        self._number = 0  # of the newest of them, counted from 1
        self._lost = np.zeros((ROWS, COLUMNS), np.int32)  # number of the newest look in which a cell was not still

    def due(self, now: float) -> bool:
        """Whether an image of this time would say anything beyond the last one."""
        return not self._looks or now - self._looks[-1][0] >= 0.1 - 1e-6

    def judge(self, thumb: np.ndarray, now: float) -> Cover:
        """thumb: (THUMB_ROWS, THUMB_COLUMNS) float32 brightness 0..255 of an image that differs from the last one."""
        gap = now - self._looks[-1][0] if self._looks else 0.0
        rough = _rough(thumb)
        earlier = self._compared(now)
        self._looks.append((now, thumb, rough))
        if not self._count:
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
        times = [look[0] for look in self._looks]
        nearest = set()
        for lag in _LAGS:
            i = min(bisect_left(times, now - lag), len(times) - 1)
            nearest.add(i - 1 if i and abs(now - times[i - 1] - lag) <= abs(now - times[i] - lag) else i)
        chosen = [self._looks[i] for i in sorted(nearest)]
        return chosen if now - chosen[0][0] >= _LEAST_LAG - 1e-6 else []

    def _judged(self, thumb: np.ndarray, rough: np.ndarray, earlier: list, now: float) -> Cover:
        cells = float(self._count)
        oldest, *others = earlier
        middle, newest = (others[0], others[-1]) if others else (oldest, oldest)
        seen, moving, detailed_still = _cells(thumb, rough, oldest[1], middle[1], newest[1], oldest[2], self._examined)
        if moving >= _LEAST_MOVING * cells and 2 * detailed_still <= moving:
            self._moved = now
        elif detailed_still > max(moving, _LEAST_MOVING * cells):
            self._moved = -np.inf  # the vehicle stands
        moves = now - self._moved <= _REMEMBERED

        covered, strip = self._covered(seen, moves), seen.strip
        if covered is None and not seen.in_strip:
            self._lasting(None, now)
            return Cover(0.0, 0.0, "" if moves else "nothing moves", np.zeros_like(strip))
        if covered is None:
            covered = np.zeros_like(strip)
        compact = _compact(covered, cells)
        lasting = self._lasting(covered | strip, now)
        share = self._share(compact, seen)
        if share < _LEAST_AT_ONCE:
            compact = lasting & ~strip
            share = self._share(compact, seen)
        unknown = "" if moves or covered.any() else "nothing moves"
        return Cover(share, float((strip & lasting).sum() / cells) if moves else 0.0, unknown, compact)

    def _covered(self, seen: _Seen, moves: bool) -> np.ndarray | None:
        """The cells that look covered, (ROWS, COLUMNS) bool; None without any. moves: whether the vehicle does."""
        cells = float(self._count)
        # Most frames show nothing that is large enough. The counts say so before connected parts are looked for.
        has_flat, has_ground = seen.alike >= _LEAST_FLAT * cells, seen.on_ground >= _LEAST_PATCH * cells
        has_texture = seen.nailed_count * _SQUARE.size >= _LEAST_TEXTURE * cells  # closing makes it no larger than that
        if not (has_flat or moves and (has_ground or has_texture)):
            return None
        mean, still = seen.mean, seen.still
        covered = np.zeros_like(still)
        flat, flat_area = covered, 0
        if has_flat:
            low, high = seen.low, seen.low + np.float32(_FLAT)
            flat = _largest(still & ~_extreme(mean) & (mean >= low) & (mean <= high))
            flat_area = flat.sum()
        if flat_area >= _LEAST_ALONE * cells:
            covered = flat
        if moves:
            if has_ground:
                ground = still & ~seen.strip
                ground[:_SKY_ROWS] = False
                for patch in _patches(ground, _LEAST_PATCH * cells):
                    covered = covered | patch
                    if _is_compact(patch, cells):
                        covered = covered | _grown(patch, still & (np.abs(mean - np.median(mean[patch])) <= _FLAT))
            if flat_area >= _LEAST_FLAT * cells:
                covered = covered | flat
            textured = _closed(seen.nailed, still) if seen.nailed_count else seen.nailed
            if has_texture and textured.sum() >= _LEAST_TEXTURE * cells:
                texture = _largest(textured)
                if texture.sum() >= _LEAST_TEXTURE * cells and _is_even(texture, mean, _LEAST_TEXTURE * cells):
                    covered = covered | texture
            compact = _compact(covered, cells)
            if compact.any():
                covered = covered | _grown(compact, textured)
        return covered & ~seen.strip

    def _share(self, part: np.ndarray, seen: _Seen) -> float:
        """Share of the picture that a part covers."""
        if not part.any():
            return 0.0
        weight = np.where(_extreme(seen.mean), _EXTREME_WEIGHT, 1.0)
        # A cell that is half covered is not still: the half of those around.
        rim = (cv2.dilate(part.astype(np.uint8), _CROSS) != 0) & ~part & self._examined & ~seen.strip
        return float((weight[part].sum() + 0.5 * weight[rim].sum()) / self._count)

    def _lasting(self, found: np.ndarray | None, now: float) -> np.ndarray:
        """The cells that were found in every look of the last _LASTS seconds, three looks at least. None: nothing was
        found now."""
        self._number += 1
        if found is None:
            self._lost.fill(self._number)
        else:
            self._lost[~found] = self._number
        times = self._judged_at
        times.append(now)
        while len(times) > 1 and now - times[1] >= _LASTS - 1e-6:
            times.popleft()
        if len(times) < 3 or now - times[0] < _LASTS - 1e-6:
            return np.zeros((ROWS, COLUMNS), np.bool_)
        return self._lost <= self._number - len(times)


def warm_up() -> None:
    """Compile what judges."""
    thumb = np.zeros((THUMB_ROWS, THUMB_COLUMNS), np.float32)
    _cells(thumb, _rough(thumb), thumb, thumb, thumb, thumb, np.ones((ROWS, COLUMNS), np.bool_))


@njit(cache=True, nogil=True)
def _rough(thumb):
    """What each pixel differs by from the mean of the square of _PATTERN pixels around it; mirrored at the rim."""
    height, width = thumb.shape
    half = _PATTERN // 2
    column = np.empty(width + 2 * half, np.float64)  # sums down the columns, to which rows add and subtract one pixel
    out = np.empty_like(thumb)
    for x in range(width):
        total = 0.0
        for y in range(-half, half):
            total += thumb[abs(y), x]
        column[half + x] = total
    for y in range(height):
        ahead = y + half if y + half < height else 2 * (height - 1) - y - half
        behind = abs(y - half - 1)
        for x in range(width):
            column[half + x] += thumb[ahead, x]
        if y > 0:
            for x in range(width):
                column[half + x] -= thumb[behind, x]
        for i in range(half):
            column[i] = column[2 * half - i]
            column[width + 2 * half - 1 - i] = column[width - 1 + i]
        for x in range(width):
            total = 0.0
            for i in range(_PATTERN):
                total += column[x + i]
            out[y, x] = thumb[y, x] - np.float32(total * (1.0 / (_PATTERN * _PATTERN)))
    return out


@njit(cache=True, nogil=True)
def _cells(thumb, rough, oldest, middle, newest, rough_oldest, examined):
    """Compare a look with three earlier ones: _Seen, cells that move, and still ones with detail outside the strip."""
    mean = np.empty((ROWS, COLUMNS), np.float32)
    still, strip = np.zeros((ROWS, COLUMNS), np.bool_), np.zeros((ROWS, COLUMNS), np.bool_)
    nailed = np.zeros((ROWS, COLUMNS), np.bool_)
    levels = np.empty(ROWS * COLUMNS, np.float32)
    moving, detailed, in_strip, on_ground, nailed_count, level_count = 0, 0, 0, 0, 0, 0
    area = np.float32(_SIDE * _SIDE)
    for r in range(ROWS - 1, -1, -1):
        for c in range(COLUMNS):
            total, squares, product = np.float32(0), np.float32(0), np.float32(0)
            since_oldest, since_middle, since_newest = np.float32(0), np.float32(0), np.float32(0)
            for y in range(r * _SIDE, (r + 1) * _SIDE):
                for x in range(c * _SIDE, (c + 1) * _SIDE):
                    value = thumb[y, x]
                    total += value
                    squares += value * value
                    since_oldest += abs(value - oldest[y, x])
                    since_middle += abs(value - middle[y, x])
                    since_newest += abs(value - newest[y, x])
            average = total / area
            mean[r, c] = average
            change = max(max(since_oldest / area, since_middle / area), since_newest / area)  # greatest of them
            moving += change >= _MOVES and examined[r, c]
            still[r, c] = change < _STILL and examined[r, c]
            if r >= ROWS - STRIP_ROWS and (still[r, c] or not examined[r, c]):
                # A cell that is not examined passes the strip on upwards, and is taken out of it below.
                strip[r, c] = r == ROWS - 1 or strip[r + 1, c]
            if not still[r, c]:
                continue
            if not strip[r, c]:
                detailed += np.sqrt(max(squares / area - average * average, np.float32(0))) >= _DETAIL
                on_ground += r >= _SKY_ROWS
            if average >= _DEEP and average < _FULL:
                levels[level_count] = average
                level_count += 1
            for y in range(r * _SIDE, (r + 1) * _SIDE):
                for x in range(c * _SIDE, (c + 1) * _SIDE):
                    product += rough[y, x] * rough_oldest[y, x]
            pattern = max(product / area, np.float32(0))  # covariance of its fine pattern with that of the oldest look
            nailed[r, c] = (pattern > np.float32(0.7) and pattern < np.float32(_EDGE)
                            and change < np.float32(_NAILED) * np.sqrt(pattern))
            nailed_count += nailed[r, c]
    for r in range(ROWS - STRIP_ROWS, ROWS):
        for c in range(COLUMNS):
            strip[r, c] = strip[r, c] and still[r, c]
            in_strip += strip[r, c]
    levels = np.sort(levels[:level_count])
    most, low, end = 0, np.float32(0), 0
    for i in range(level_count):
        while end < level_count and levels[end] <= np.float32(levels[i] + np.float32(_FLAT)):
            end += 1
        if end - i > most:
            most, low = end - i, levels[i]
    seen = _Seen(mean, still, strip, nailed, in_strip, on_ground, nailed_count, most, low)
    return seen, moving, detailed


def _extreme(mean: np.ndarray) -> np.ndarray:
    """Cells so dark or so bright that a night or a glare would be as flat."""
    return (mean < _DEEP) | (mean >= _FULL)


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
    if not cells.any():
        return out
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


def _closed(nailed: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Cells with such a texture, and the still ones in the gaps between them."""
    return cv2.morphologyEx(nailed.astype(np.uint8), cv2.MORPH_CLOSE, _SQUARE).astype(np.bool_) & still
