"""Things that no class covers, and paint that is only road: drawn onto the road of training pictures.

A thing that stands on the road is an obstacle whatever it is; a line, a patch of tar or a puddle is not. Trained with
both, the network learns to tell what rises from the road from what lies on it. The shapes and textures are other ones
than those of drive_seg.evaluation.pasted, which measures the outcome.
"""

from __future__ import annotations

import cv2
import numpy as np

Random = np.random.Generator


def add_thing(rng: Random, image: np.ndarray, codes: np.ndarray, road: list[int], code: int,
              other: np.ndarray) -> None:
    """Stands a thing on the road, in place, and gives its pixels `code`.

    image: (H, W, 3) uint8. codes: (H, W) uint8. road: the codes that are road. other: a picture that lends texture.
    Nothing happens where there is no room.
    """
    is_road = np.isin(codes, road)
    horizon = _horizon(is_road)
    if horizon is None:
        return
    height, width = codes.shape
    for _ in range(10):
        foot = int(rng.integers(horizon + max(2, (height - horizon) // 10), height))
        columns = np.flatnonzero(is_road[foot])
        tall = int((foot - horizon) * np.exp(rng.uniform(np.log(0.17), np.log(0.8))))
        if tall < 5 or columns.size < 4:
            continue
        mask = _outline(rng, tall, max(4, int(tall * np.exp(rng.normal(0, 0.45)))))
        centre = int(rng.choice(columns))
        top, left = foot - mask.shape[0], centre - mask.shape[1] // 2
        y0, x0, x1 = max(0, top), max(0, left), min(width, left + mask.shape[1])
        mask = mask[y0 - top:, x0 - left:x1 - left]
        if mask.sum() < 20 or is_road[y0:foot, x0:x1][mask > 0].mean() < 0.5:
            continue
        alike = rng.random() < 0.2
        texture = _road_texture(rng, mask.shape, image[is_road]) if alike else _texture(rng, mask.shape, other)
        edge = rng.uniform(0.4, 1.4)
        if rng.random() < 0.6:
            _contact_shadow(rng, image, is_road, foot, x0, x1)
        target = image[y0:foot, x0:x1]
        alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), edge, borderType=cv2.BORDER_REPLICATE)[..., None]
        target[:] = np.clip(target * (1 - alpha) + texture * alpha, 0, 255).astype(np.uint8)
        codes[y0:foot, x0:x1][mask > 0] = code
        return


def add_wall(rng: Random, image: np.ndarray, codes: np.ndarray, road: list[int], code: int, other: np.ndarray) -> None:
    """Builds a wall or barrier along one side of the road, in place, and gives its pixels `code`. See add_thing.

    Its lower and upper edges meet at a point on the horizon, as those of a straight concrete barrier do, or follow a
    bend to it; most have the road's own colour, lighter or darker, which is what makes barriers hard to see.
    """
    is_road = np.isin(codes, road)
    horizon = _horizon(is_road)
    if horizon is None:
        return
    height, width = codes.shape
    point = np.array([width * rng.uniform(0.35, 0.65), horizon - 2.0])
    side = -1 if rng.random() < 0.5 else 1
    foot = np.array([width / 2 + side * width * rng.uniform(0.3, 0.9), float(height)])  # where it meets the lower edge
    tall = (height - point[1]) * rng.uniform(0.35, 1.1)
    near, far = rng.uniform(0.6, 1.6), rng.uniform(0.05, 0.5)  # 1 / distance, 1 where the foot is
    bend = rng.normal(0, 0.1) * width
    feet = _along(point, foot, bend, np.linspace(near, far, 30))
    tops = feet - np.outer(np.linspace(near, far, 30), (0, tall))
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.concatenate([feet, tops[::-1]]).round().astype(np.int32)], 1)
    seen = _along(point, foot, bend, np.linspace(min(near, 1), far, 20)).astype(int)
    seen = seen[(seen[:, 0] >= 0) & (seen[:, 0] < width) & (seen[:, 1] >= 0) & (seen[:, 1] < height)]
    if len(seen) < 5 or is_road[seen[:, 1], seen[:, 0]].mean() < 0.6 or mask.sum() < 100:
        return
    if rng.random() < 0.6:
        rows = np.flatnonzero(is_road.any(1))
        surface = image[is_road].reshape(-1, 3)
        texture = surface.mean(0) * np.exp(rng.normal(-0.15, 0.35)) + rng.normal(0, 4, 3)
        grain = image[rng.choice(rows, height), :].astype(np.float32)
        grain = cv2.GaussianBlur(grain - grain.mean((0, 1)), (0, 0), 2) * 0.3
        texture = (texture + grain + rng.normal(0, 3, (height, width, 1))).astype(np.float32)
    else:
        texture = _texture(rng, (height, width), other)
    if rng.random() < 0.5:  # streaks that the rain has left
        streaks = _field(rng, (1, width), int(rng.integers(10, 60)))
        texture *= 1 + (streaks[..., None] - 0.5) * np.float32(rng.uniform(0, 0.4))
    shade = np.linspace(rng.uniform(0.8, 1.2), rng.uniform(0.7, 1.1), height, dtype=np.float32)[:, None, None]
    texture *= shade
    thick = max(1, round(height / 200))
    if rng.random() < 0.4:  # joints between its parts, at equal distances
        pitch = rng.uniform(0.2, 1.0)
        reach = 1 / (1 / near + pitch * np.arange(1, 1 + int((1 / far - 1 / near) / pitch)))
        level = rng.uniform(0.5, 0.9)
        for (x, y), u in zip(_along(point, foot, bend, reach), reach, strict=True):
            x0, y0, y1 = int(x), max(0, int(y - tall * u)), min(height, int(y))
            if 0 <= x0 < width and y0 < y1:
                texture[y0:y1, x0:x0 + thick] *= np.float32(level)
    for edge in (tops, feet):  # a lit or dark upper edge, dirt and shadow along the foot
        if rng.random() < 0.5:
            band: np.ndarray = np.zeros((height, width), np.float32)
            cv2.polylines(band, [edge.round().astype(np.int32)], False, 1.0, thick * int(rng.integers(1, 4)))
            texture *= 1 + cv2.GaussianBlur(band, (0, 0), 1)[..., None] * np.float32(rng.uniform(-0.5, 0.5))
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))[..., None]
    image[:] = np.clip(image * (1 - alpha) + texture * alpha, 0, 255).astype(np.uint8)
    codes[mask > 0] = code


def _along(point: np.ndarray, foot: np.ndarray, bend: float, near: np.ndarray) -> np.ndarray:
    """(N, 2) pixels on the ground from `foot` (near 1) to `point` (near 0), bent sideways in between by `bend`."""
    way = np.clip(near, 0, 1)
    aside = bend * (1 - way) ** 2 * way * 4
    return point + np.outer(near, foot - point) + np.stack([aside, np.zeros_like(aside)], 1)


def add_paint(rng: Random, image: np.ndarray, codes: np.ndarray, road: list[int]) -> None:
    """Paints the road, in place: lines towards the horizon, bars across, patches and puddles. It stays road."""
    is_road = np.isin(codes, road)
    horizon = _horizon(is_road)
    if horizon is None:
        return
    height, width = codes.shape
    layer: np.ndarray = np.zeros((height, width), np.float32)
    kind = rng.random()
    if kind < 0.6:
        _line(rng, layer, horizon)
    elif kind < 0.75:
        _bars(rng, layer, horizon)
    else:
        _flat_patch(rng, layer, horizon)
    layer = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.5, 1.2)) * is_road
    if rng.random() < 0.5:  # worn
        layer *= np.clip(_field(rng, layer.shape, 40) * 2.5, 0, 1)
    if kind < 0.75:
        level = rng.uniform(150, 255)
        tone = np.array(((1, 1, 1), (1, 0.8, 0.25), (1, 0.9, 0.5))[int(rng.integers(3))]) * level
        picture = np.broadcast_to(tone.astype(np.float32), image.shape)
        layer = layer * rng.uniform(0.5, 1)
    else:
        picture = image * np.float32(rng.uniform(0.45, 1.5)) + rng.normal(0, 8, 3).astype(np.float32)
    alpha = layer[..., None]
    image[:] = np.clip(image * (1 - alpha) + picture * alpha, 0, 255).astype(np.uint8)


def add_bonnet(rng: Random, image: np.ndarray, codes: np.ndarray, code: int) -> None:
    """Lays the vehicle's own bonnet along the lower edge, in place, and gives its pixels `code`. See add_thing.

    It is of one paint, more or less shiny: what lies above is mirrored in it.
    """
    height, width = codes.shape
    tall = height * rng.uniform(0.05, 0.28)
    middle, half = width * rng.uniform(0.3, 0.7), width * rng.uniform(0.45, 1.1)
    aside = np.abs(np.arange(width) - middle) / half
    top = height - tall * (1 - np.minimum(aside, 1) ** rng.uniform(1.5, 6))
    depth = np.arange(height)[:, None] - top[None]
    mask = (depth >= 0).astype(np.float32)
    turned = cv2.resize(image[:max(2, int(height * rng.uniform(0.4, 0.9)))], (width, height))[::-1]
    turned = cv2.GaussianBlur(turned, (0, 0), rng.uniform(1, 12)).astype(np.float32)
    grey = rng.uniform(5, 220)
    paint = grey + (rng.uniform(0, 220, 3) - grey) * rng.uniform(0, 0.8)
    shine = rng.uniform(0, 0.75)
    light = np.exp(-np.clip(depth, 0, None) / height * rng.uniform(0, 6))[..., None]
    texture = (paint * light * (1 - shine) + turned * shine).astype(np.float32)
    for _ in range(int(rng.integers(0, 3))):  # creases
        line = np.abs(np.arange(width) - width * rng.uniform(0, 1))[None] - np.clip(depth, 0, None) * rng.uniform(-1, 1)
        texture *= 1 - 0.5 * np.exp(-(line / rng.uniform(1, 4)) ** 2)[..., None]
    alpha = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 2.0))[..., None]
    image[:] = np.clip(image * (1 - alpha) + texture * alpha, 0, 255).astype(np.uint8)
    codes[depth >= 0] = code


def _horizon(is_road: np.ndarray) -> int | None:
    rows = np.flatnonzero(is_road.sum(1) > is_road.shape[1] // 12)
    return int(rows[0]) if rows.size >= 12 else None


def _field(rng: Random, size: tuple[int, int], cells: int) -> np.ndarray:
    """A smooth random field (H, W) float32, about 0..1."""
    return cv2.resize(rng.random((cells, cells), np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)


def _outline(rng: Random, tall: int, wide: int) -> np.ndarray:
    """(tall, wide) uint8 0 or 1: a lump, a many-cornered thing, several parts that hang together, or a thin one."""
    mask = np.zeros((tall, wide), np.uint8)
    kind = rng.random()
    if kind < 0.2:
        _thin(rng, mask)
    elif kind < 0.45:
        y, x = np.mgrid[-1:1:tall * 1j, -1:1:wide * 1j].astype(np.float32)
        mask[np.hypot(x, y) < 0.55 + 0.7 * _field(rng, mask.shape, int(rng.integers(3, 6)))] = 1
    elif kind < 0.7:
        corners = rng.uniform(0, 1, (int(rng.integers(4, 9)), 2)) * (wide - 1, tall - 1)
        cv2.fillPoly(mask, [cv2.convexHull(corners.astype(np.int32))], 1)
    else:
        for _ in range(int(rng.integers(2, 6))):
            half = rng.uniform(0.1, 0.4, 2) * (wide, tall)
            middle = np.array([wide, tall]) * rng.uniform(0.25, 0.75, 2)
            if rng.random() < 0.5:
                cv2.ellipse(mask, (middle.tolist(), (2 * half).tolist(), float(rng.uniform(-40, 40))), 1, -1)
            else:
                a, b = (middle - half).astype(int), (middle + half).astype(int)
                cv2.rectangle(mask, a.tolist(), b.tolist(), 1, -1)
    rows = np.flatnonzero(mask.any(1))
    return mask[:rows[-1] + 1] if rows.size else mask  # it stands on its lowest row


def _thin(rng: Random, mask: np.ndarray) -> None:
    """A post, or a board on legs that lean (a trestle, a stool), drawn onto the mask."""
    tall, wide = mask.shape
    thick = max(2, round(tall * rng.uniform(0.06, 0.2)))
    if rng.random() < 0.4:
        foot = int(wide * rng.uniform(0.3, 0.7))
        cv2.line(mask, (foot + int(rng.normal(0, 0.05) * tall), 0), (foot, tall - 1), 1, thick)
        return
    board = int(tall * rng.uniform(0.1, 0.5))
    cv2.rectangle(mask, (wide // 8, 0), (wide - wide // 8, board), 1, -1)
    for _ in range(int(rng.integers(2, 5))):
        top = int(wide * rng.uniform(0.15, 0.85))
        cv2.line(mask, (top, board), (top + int(rng.normal(0, 0.1) * wide), tall - 1), 1, thick)


def _road_texture(rng: Random, size: tuple[int, int], surface: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32: the colour of these pixels of the road, (N, 3), lighter or darker."""
    away = rng.choice((-1, 1)) * rng.uniform(0.15, 0.8)
    colour = surface.mean(0) * np.exp(away) + rng.normal(0, 5, 3)
    cloud = 1 + (_field(rng, size, int(rng.integers(2, 9))) - 0.5)[..., None] * rng.uniform(0, 0.5)
    grain = rng.normal(0, rng.uniform(1, 8), (*size, 1))
    return (colour * cloud + grain).astype(np.float32)


def _texture(rng: Random, size: tuple[int, int], other: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32: a piece of another picture, the same in shuffled blocks, or random soft colours."""
    height, width = size
    kind = rng.random()
    if kind < 0.55:
        zoom = rng.uniform(0.4, 2.5)
        h, w = min(other.shape[0], int(height * zoom) + 2), min(other.shape[1], int(width * zoom) + 2)
        y, x = int(rng.integers(other.shape[0] - h + 1)), int(rng.integers(other.shape[1] - w + 1))
        texture = cv2.resize(other[y:y + h, x:x + w], (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        if kind < 0.15:
            block = max(2, height // int(rng.integers(2, 6)))
            texture = np.roll(texture, (block, int(rng.integers(width))), (0, 1))[:, ::-1]
        texture = (texture - texture.mean((0, 1))) * np.float32(rng.uniform(0.6, 1.8)) + rng.uniform(20, 235, 3)
    else:
        colours = rng.uniform(0, 255, (2, 3)).astype(np.float32)
        field = (_field(rng, size, int(rng.integers(2, 9))) - 0.5) * rng.uniform(0.2, 6) + 0.5
        weight = np.clip(field, 0, 1)[..., None]
        texture = colours[0] * (1 - weight) + colours[1] * weight
    if rng.random() < 0.5:  # muted, as most things are
        grey = texture.mean(2, keepdims=True)
        texture = grey + (texture - grey) * np.float32(rng.uniform(0, 0.35))
    light = np.linspace(rng.uniform(0.8, 1.3), rng.uniform(0.5, 1.0), height, dtype=np.float32)  # darker below
    texture = texture * light[:, None, None] + rng.normal(0, rng.uniform(1, 8), (height, width, 3))
    return texture.astype(np.float32)


def _contact_shadow(rng: Random, image: np.ndarray, is_road: np.ndarray, foot: int, x0: int, x1: int) -> None:
    shade = np.zeros(is_road.shape, np.float32)
    half = ((x1 - x0) * rng.uniform(0.4, 0.9), (x1 - x0) * rng.uniform(0.05, 0.25) + 1)
    cv2.ellipse(shade, (((x0 + x1) / 2 + rng.normal(0, half[0] / 3), foot), (2 * half[0], 2 * half[1]), 0.0), 1.0, -1)
    shade = cv2.GaussianBlur(shade, (0, 0), 1 + half[1] / 3) * is_road * np.float32(rng.uniform(0.2, 0.7))
    image[:] = (image * (1 - shade[..., None])).astype(np.uint8)


def _line(rng: Random, layer: np.ndarray, horizon: int) -> None:
    """A lane line, whole or dashed, that narrows towards a point on the horizon."""
    height, width = layer.shape
    vanishing = np.array([width * rng.uniform(0.3, 0.7), horizon - 2])
    start = width * rng.uniform(-0.5, 1.5)
    half = width * np.exp(rng.uniform(np.log(0.004), np.log(0.03)))
    dash = rng.uniform(0.05, 0.3) if rng.random() < 0.5 else None
    rows = np.arange(horizon + 1, height)
    near = (rows - vanishing[1]) / (height - vanishing[1])  # 1 / distance, 1 at the lower edge
    middle = vanishing[0] + (start - vanishing[0]) * near
    bend = rng.normal(0, 0.08) * width * (1 - near) ** 2 * near * 4
    for row, centre, share in zip(rows, middle + bend, near, strict=True):
        if dash is not None and (1 / share * dash * 3) % 1 < 0.5:
            continue
        left, right = int(centre - half * share), int(centre + half * share)
        if right >= 0 and left < width:
            layer[row, max(0, left):right + 1] = 1


def _bars(rng: Random, layer: np.ndarray, horizon: int) -> None:
    """Bars across the road: a stop line, a crossing."""
    height, width = layer.shape
    foot = int(rng.integers(horizon + (height - horizon) // 4, height))
    deep = max(1, int((foot - horizon) * rng.uniform(0.03, 0.12)))
    if rng.random() < 0.5:
        layer[foot - deep:foot, int(width * rng.uniform(0, 0.5)):int(width * rng.uniform(0.5, 1))] = 1
        return
    wide = max(3, int((foot - horizon) * rng.uniform(0.15, 0.35)))
    for left in range(int(rng.integers(wide)), width, 2 * wide):
        lean = int((left - width / 2) * deep / max(1, foot - horizon))
        right = left + wide
        quad = np.array([[left - lean, foot - deep], [right - lean, foot - deep], [right, foot], [left, foot]])
        cv2.fillPoly(layer, [quad.astype(np.int32)], 1.0)


def _flat_patch(rng: Random, layer: np.ndarray, horizon: int) -> None:
    """A patch of other asphalt, a manhole, a puddle: flat, so much wider than deep."""
    height, width = layer.shape
    foot = int(rng.integers(horizon + (height - horizon) // 6, height))
    wide = (foot - horizon) * rng.uniform(0.2, 1.5)
    deep = max(2.0, wide * (foot - horizon) / height * rng.uniform(0.2, 0.6))
    centre = (width * rng.uniform(0.1, 0.9), foot)
    if rng.random() < 0.5:
        cv2.ellipse(layer, (centre, (wide, deep), float(rng.normal(0, 4))), 1.0, -1)
    else:
        corners = rng.uniform(-0.5, 0.5, (6, 2)) * (wide, deep) + centre
        cv2.fillPoly(layer, [cv2.convexHull(corners.astype(np.int32))], 1.0)
