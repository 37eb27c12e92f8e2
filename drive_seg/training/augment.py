"""Augmentation: one training picture and its labels, as other cameras, weathers and hours would have seen it.

Every function draws from the numpy Generator it is given, so that a sample depends on its seed alone.
"""

from __future__ import annotations

import cv2
import numpy as np

Random = np.random.Generator


def chance(rng: Random, probability: float) -> bool:
    return rng.random() < probability


# ------------------------------------------------------------------------------------------------------ geometry


def filling(rng: Random, image_size: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    """Factors (x, y) that make a whole picture as large as a crop of this size: stretched to its aspect, as the network
    sees it, or half of the time less so."""
    x, y = size[1] / image_size[1], size[0] / image_size[0]
    mean = float(np.sqrt(x * y))
    stretched = rng.random() if chance(rng, 0.5) else 1.0
    return mean * (x / mean) ** stretched, mean * (y / mean) ** stretched


def random_view(rng: Random, size: tuple[int, int], image_size: tuple[int, int], scales: tuple[float, float],
                focus: tuple[float, float] | None, fill: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """A random homography (3, 3) from image pixels to a `size` crop: scale, aspect, roll, pitch, flip, position.

    focus: (x, y) in the image that should lie inside the crop, or None for any position. fill: factors (x, y) by which
    the image is enlarged besides.
    """
    height, width = size
    scale = float(np.exp(rng.uniform(np.log(scales[0]), np.log(scales[1]))))
    aspect = float(np.exp(rng.normal(0, 0.15)))
    sx, sy = fill[0] * scale * np.sqrt(aspect), fill[1] * scale / np.sqrt(aspect)
    if chance(rng, 0.5):
        sx = -sx
    roll = np.deg2rad(np.clip(rng.normal(0, 3), -9, 9)) if chance(rng, 0.4) else 0.0
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    linear = turn @ np.diag([sx, sy])

    # The crop stays within the picture, or the picture within the crop where it is the smaller.
    extent = np.array([image_size[1] * abs(sx), image_size[0] * sy])
    slack = np.abs(extent - (width, height)) / 2
    centre = np.array([image_size[1], image_size[0]]) / 2
    shift = rng.uniform(-1, 1, 2) * slack
    if focus is not None:
        wanted = np.array([width, height]) * rng.uniform(-0.3, 0.3, 2)
        shift = np.clip(wanted - linear @ (np.asarray(focus, float) - centre), -slack, slack)
    target = np.array([width, height]) / 2 + shift
    view = np.eye(3)
    view[:2, :2] = linear
    view[:2, 2] = target - linear @ centre
    if chance(rng, 0.3):  # a pitched or yawed camera: lines that were parallel converge
        tilt = np.eye(3)
        tilt[2, :2] = rng.normal(0, 0.12, 2) / (width, height)
        middle = np.eye(3)
        middle[:2, 2] = (-width / 2, -height / 2)
        view = np.linalg.inv(middle) @ tilt @ middle @ view
    return view


def apply_view(image: np.ndarray, labels: np.ndarray, view: np.ndarray, size: tuple[int, int],
               ignore: int) -> tuple[np.ndarray, np.ndarray]:
    """The crop (H, W, 3) and its labels at half size (H/2, W/2), sampled at the centres of their 2x2 pixels."""
    height, width = size
    scale = np.sqrt(abs(np.linalg.det(view[:2, :2])))
    if scale < 0.75:  # keep fine texture from aliasing
        image = cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
    crop = cv2.warpPerspective(image, view, (width, height), flags=cv2.INTER_LINEAR, borderValue=(127, 127, 127))
    # Half-size pixel i lies at 2 i + 0.5 of the full-size grid.
    halve = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    small = cv2.warpPerspective(labels, halve @ view, (width // 2, height // 2), flags=cv2.INTER_NEAREST,
                                borderValue=ignore)
    return crop, small


# ------------------------------------------------------------------------------------------------- light and lens


def _tone(rng: Random, strength: float) -> np.ndarray:
    """A look-up table (256, 3): gain, offset and gamma, mostly common to the channels, a little of each one's own."""
    x = np.arange(256, dtype=np.float32)[:, None] / 255
    gamma = np.exp(rng.normal(0, 0.25 * strength) + rng.normal(0, 0.05 * strength, 3))
    gain = np.exp(rng.normal(0, 0.2 * strength) + rng.normal(0, 0.06 * strength, 3))
    offset = rng.normal(0, 0.06 * strength) + rng.normal(0, 0.025 * strength, 3)
    contrast = np.exp(rng.normal(0, 0.2 * strength))
    return (x ** gamma * gain - 0.45) * contrast + 0.45 + offset


def _borrow_look(image: np.ndarray, mean: np.ndarray, deviation: np.ndarray, amount: float) -> np.ndarray:
    """A look-up table (256, 3) that gives the image another picture's mean and deviation of each channel."""
    own_mean, own_deviation = cv2.meanStdDev(image)
    x = np.arange(256, dtype=np.float32)[:, None]
    y = (x - own_mean.T) / (own_deviation.T + 1) * (deviation + 1) + mean
    return (x + amount * (y - x)) / 255


def _as_table(table: np.ndarray) -> np.ndarray:
    return np.clip(table * 255, 0, 255).astype(np.uint8).reshape(1, 256, 3)


def _saturate(rng: Random, image: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    levels = np.arange(256, dtype=np.float32)
    hue = ((levels + rng.normal(0, 7)) % 180).astype(np.uint8)
    saturation = np.clip(levels * np.exp(rng.normal(0, 0.4)), 0, 255).astype(np.uint8)
    table = np.stack([hue, saturation, np.arange(256, dtype=np.uint8)], 1).reshape(1, 256, 3)
    return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB)


def _smooth_field(rng: Random, size: tuple[int, int], cells: int) -> np.ndarray:
    """A smooth random field (H, W) float32 in 0..1."""
    field = rng.random((cells, cells), np.float32)
    return cv2.resize(field, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _shadow(rng: Random, image: np.ndarray) -> np.ndarray:
    """A cast shadow: a soft-edged polygon, as of a house, or a dappled field, as of a tree."""
    height, width = image.shape[:2]
    if chance(rng, 0.6):
        mask: np.ndarray = np.zeros((height, width), np.float32)
        corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 6)), 2)) * (width, height)
        cv2.fillPoly(mask, [cv2.convexHull(corners.astype(np.int32))], 1.0)
        mask = cv2.blur(mask, (2 * int(rng.integers(1, 8)) + 1,) * 2)
    else:
        cells = int(rng.integers(6, 24))
        mask = np.clip((_smooth_field(rng, (height, width), cells) - 0.5) * 6 + 0.5, 0, 1)
    return _multiply(image, 1 - mask[..., None] * rng.uniform(0.25, 0.7))


def _multiply(image: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return np.clip(image * factor, 0, 255).astype(np.uint8)


def _haze(rng: Random, image: np.ndarray) -> np.ndarray:
    """Fog or dust: thicker towards the horizon."""
    height = image.shape[0]
    horizon = rng.uniform(0.3, 0.6) * height
    distance = np.exp(-np.abs(np.arange(height, dtype=np.float32) - horizon) / (rng.uniform(0.15, 0.6) * height))
    amount = (rng.uniform(0.15, 0.75) * distance)[:, None, None]
    air = rng.uniform(150, 240) + rng.normal(0, 12, 3)
    return (image * (1 - amount) + air.astype(np.float32) * amount).clip(0, 255).astype(np.uint8)


def _glare(rng: Random, image: np.ndarray) -> np.ndarray:
    """A low sun, a lamp, or its reflection on wet road or windscreen."""
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0, height * 0.9)
    rows, columns = np.ogrid[:height, :width]
    reach = rng.uniform(0.05, 0.4) * width
    glow = np.exp(-np.hypot((columns - x), (rows - y) * rng.uniform(0.5, 1.5)).astype(np.float32) / reach)
    colour = np.array([255, rng.uniform(200, 255), rng.uniform(150, 255)], np.float32)
    return np.clip(image + glow[..., None] * colour * rng.uniform(0.3, 1.0), 0, 255).astype(np.uint8)


def _night(rng: Random, image: np.ndarray) -> np.ndarray:
    """Dark, lit from the vehicle, with a lamp's colour."""
    height, width = image.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    aside, off = columns / width - 0.5, rows / height - rng.uniform(0.6, 0.9)
    beam = np.exp(-(5 * aside ** 2 + 6 * off ** 2)).astype(np.float32)
    light = rng.uniform(0.12, 0.35) + beam * rng.uniform(0.1, 0.5)
    tint = np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.5, 1.1)], np.float32)
    return _multiply(image, light[..., None] * tint)


def _rain(rng: Random, image: np.ndarray) -> np.ndarray:
    """Streaks and drops."""
    height, width = image.shape[:2]
    layer: np.ndarray = np.zeros((height, width), np.uint8)
    slant, length = rng.normal(0, 0.25), rng.uniform(8, 25)
    for x, y in rng.uniform(0, 1, (int(rng.integers(40, 250)), 2)) * (width, height):
        cv2.line(layer, (int(x), int(y)), (int(x + slant * length), int(y + length)), int(rng.integers(40, 110)), 1)
    layer = cv2.blur(layer, (2, 3))
    return cv2.add(image, cv2.merge([layer] * 3))


def _blur(rng: Random, image: np.ndarray) -> np.ndarray:
    if chance(rng, 0.5):
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8))
    length = int(rng.integers(3, 9))  # motion
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    start, end = ((length - 1) / 2 - reach).round().astype(int), ((length - 1) / 2 + reach).round().astype(int)
    cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _coarsen(rng: Random, image: np.ndarray) -> np.ndarray:
    """Less detail along each side, as of a picture that was smaller once."""
    height, width = image.shape[:2]
    kept = np.exp(rng.uniform(np.log(0.4), 0, 2))
    small = cv2.resize(image, (max(1, int(width * kept[0])), max(1, int(height * kept[1]))),
                       interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _sharpen(rng: Random, image: np.ndarray) -> np.ndarray:
    soft = cv2.GaussianBlur(image, (0, 0), 1.2)
    amount = rng.uniform(0.4, 1.5)
    return cv2.addWeighted(image, 1 + amount, soft, -amount, 0)


def _noise(rng: Random, image: np.ndarray) -> np.ndarray:
    noise = np.empty(image.shape, np.int8)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(noise, np.zeros(3), np.full(3, rng.uniform(2, 14)))  # a single number would be the first channel's
    return np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def _jpeg(rng: Random, image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded


def _resurface(rng: Random, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Another material for one of the regions: darker asphalt, red paving, a grey sky."""
    present = np.unique(labels)
    region = (labels == rng.choice(present)).astype(np.float32)
    region = cv2.resize(region, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)[..., None]
    factor = np.exp(rng.normal(0, 0.3) + rng.normal(0, 0.08, 3)).astype(np.float32)
    return _multiply(image, 1 + region * (factor - 1))


def change_look(rng: Random, image: np.ndarray, labels: np.ndarray, strength: float,
                other: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Light, weather, camera. image: (H, W, 3) uint8 RGB. strength: how far they stray, 0 not at all, see
    Recipe.look_strength. other: mean and deviation (1, 3) of another picture."""
    if not strength:
        return image
    if chance(rng, 0.25 * strength):
        image = _resurface(rng, image, labels)
    if chance(rng, 0.25 * strength):
        image = _shadow(rng, image)
    if chance(rng, 0.15 * strength):
        image = cv2.LUT(image, _as_table(_borrow_look(image, *other, rng.uniform(0.3, 0.9))))
    if chance(rng, 0.5 * strength):
        image = _saturate(rng, image)
    weather = rng.random() / strength
    if weather < 0.08:
        image = _night(rng, image)
    elif weather < 0.16:
        image = _haze(rng, image)
    elif weather < 0.23:
        image = _glare(rng, image)
    elif weather < 0.27:
        image = _rain(rng, image)
    if chance(rng, 0.85):
        image = cv2.LUT(image, _as_table(_tone(rng, strength)))
    if chance(rng, 0.04 * strength):
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    lens = rng.random() / strength
    if lens < 0.2:
        image = _blur(rng, image)
    elif lens < 0.3:
        image = _sharpen(rng, image)
    elif lens < 0.42:
        image = _coarsen(rng, image)
    if chance(rng, 0.2 * strength):
        image = _noise(rng, image)
    if chance(rng, 0.2 * strength):
        image = _jpeg(rng, image)
    return image
