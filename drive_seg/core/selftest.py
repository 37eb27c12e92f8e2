"""Does this engine compute what the network should? A built-in picture with a recorded answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from drive_seg.core.engine import Engine
from drive_seg.core.frame import Frame
from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import DriveSegError

_PICTURE = (352, 480)
_PICTURE_NUMBER = 2  # an answer to another picture says nothing: raise it with every change of `picture`
_ANSWER = (22, 30)

# The share of the 660 points that may have another class, and by how much the mean confidence may differ.
_ROUNDED = 0.03, 0.03
_IN_8_BITS = 0.09, 0.09  # coarse, and nothing in the picture is what it was quantised for
# It sees another picture: from half to double size, 0.06 to 0.33 of the network that ships. All road would be 0.6.
_AT_OTHER_SIZE = 0.4, 0.15


class SelfTestError(DriveSegError, RuntimeError):
    """The engine gives another answer than the network's; the message names the fix."""


@dataclass(frozen=True)
class SelfTest:
    """The recorded answer. classes: (22, 30) uint8 network class ids. confidence: mean over the picture, 0..1."""

    classes: np.ndarray
    confidence: float

    @classmethod
    def from_dict(cls, facts: dict) -> SelfTest:
        """Read `self_test` of a network's YAML: rows of hexadecimal class ids, two digits each. Raises ValueError."""
        if facts.get("picture") != _PICTURE_NUMBER:
            raise ValueError("it is the answer to another version's picture")
        classes = np.array([list(bytes.fromhex(str(row))) for row in facts["classes"]], np.uint8)
        if classes.shape != _ANSWER:
            raise ValueError(f"`self_test: classes` must be {_ANSWER[0]} rows of {_ANSWER[1]} class ids")
        return cls(classes, float(facts["confidence"]))

    def to_dict(self) -> dict:
        """The inverse of from_dict."""
        return {"picture": _PICTURE_NUMBER, "confidence": round(self.confidence, 4),
                "classes": [row.tobytes().hex() for row in self.classes]}


def picture() -> np.ndarray:
    """The built-in picture: a street drawn of plain shapes, (352, 480, 3) uint8 BGR, the same everywhere.

    Without grain: at another input size, grain is smoothed or not, and the network that ships answers by it.
    """
    return _picture().copy()


@cache  # each engine that is opened sees it two times and more
def _picture() -> np.ndarray:
    height, width = _PICTURE
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.linspace(0, 1, height)[:, None, None] * (-5, 0, 10) + (235, 228, 220)
    cv2.rectangle(image, (0, 168), (479, 351), (125, 130, 132), -1)
    _fill(image, (92, 90, 88), (215, 172), (265, 172), (470, 352), (10, 352))
    for near, far in (((10, 352), (215, 172)), ((470, 352), (265, 172))):
        cv2.line(image, near, far, (175, 178, 180), 3)
    for top, bottom, thickness in ((185, 191, 1), (200, 210, 2), (222, 240, 3), (258, 288, 5), (312, 352, 8)):
        cv2.line(image, (240, top), (240, bottom), (215, 215, 215), thickness)
    _house(image, (0, 20), (95, 222), (80, 95, 140), 18)
    _house(image, (95, 60), (150, 198), (120, 135, 150), 13)
    _house(image, (150, 95), (185, 184), (95, 100, 120), 8)
    _house(image, (395, 10), (479, 230), (130, 140, 150), 18)
    _trees(image, ((330, 130, 34), (362, 118, 40), (305, 150, 22), (196, 150, 16)), trunks=(330, 362, 305))
    for left, bottom, size, colour in ((288, 232, 64, (60, 50, 150)), (222, 188, 22, (200, 200, 200)),
                                       (140, 232, 44, (110, 90, 60))):
        _car(image, left, bottom, size, colour)
    cv2.line(image, (418, 60), (418, 255), (60, 60, 60), 4)
    return image


def _fill(image: np.ndarray, colour: tuple[int, int, int], *corners: tuple[int, int]) -> None:
    cv2.fillPoly(image, [np.array(corners)], colour)


def _house(image: np.ndarray, top_left: tuple[int, int], bottom_right: tuple[int, int], colour: tuple[int, int, int],
           window: int) -> None:
    cv2.rectangle(image, top_left, bottom_right, colour, -1)
    for y in range(top_left[1] + 10, bottom_right[1] - window, 2 * window):
        for x in range(top_left[0] + 6, bottom_right[0] - window // 2, window + window // 2):
            cv2.rectangle(image, (x, y), (x + window // 2, y + window), (60, 50, 45), -1)


def _trees(image: np.ndarray, crowns: tuple[tuple[int, int, int], ...], trunks: tuple[int, ...]) -> None:
    covered = np.zeros(image.shape[:2], np.uint8)
    for x, y, radius in crowns:
        cv2.circle(covered, (x, y), radius, 1, -1)
    # Leaves from a linear congruence, 4 pixels wide: the same numbers on every platform and with every library version.
    rows, columns = (-(-side // 4) for side in image.shape[:2])
    number = (np.arange(rows * columns, dtype=np.uint64) * np.uint64(6364136223846793005)
              + np.uint64(1442695040888963407))
    shade = ((number ^ (number >> np.uint64(29))) >> np.uint64(33)) % np.uint64(85)
    leaves = shade.astype(np.uint8).reshape(rows, columns).repeat(4, 0).repeat(4, 1)[:image.shape[0], :image.shape[1]]
    image[covered > 0] = leaves[covered > 0][:, None] + np.array((3, 33, 13), np.uint8)
    for x in trunks:
        cv2.line(image, (x, 150), (x, 192), (40, 55, 70), 4)


def _car(image: np.ndarray, left: int, bottom: int, size: int, colour: tuple[int, int, int]) -> None:
    """From behind. size: its width; pixels."""
    right, height = left + size, size * 78 // 100
    sixth, middle = size // 6, bottom - height // 2
    cv2.rectangle(image, (left - size // 20, bottom - height // 12), (right + size // 20, bottom + height // 25),
                  (40, 40, 40), -1)
    cv2.rectangle(image, (left, middle), (right, bottom - height // 10), colour, -1)
    for inset, slope, roof, shade in ((size // 12, size // 5, 0, colour),
                                      (sixth, size // 4, height // 12, (60, 55, 50))):
        _fill(image, shade, (left + inset, middle), (left + slope, bottom - height + roof),
              (right - slope, bottom - height + roof), (right - inset, middle))
    for x in (left + size // 10, right - size // 10 - sixth):
        cv2.rectangle(image, (x, bottom - height // 5), (x + sixth, bottom + height // 12), (20, 20, 20), -1)
    for x in (left + 2, right - size // 7 - 2):
        cv2.rectangle(image, (x, bottom - height * 45 // 100), (x + size // 7, bottom - height * 32 // 100),
                      (40, 40, 200), -1)


def record_answer(segmenter: Segmenter) -> SelfTest:
    """What this engine says about the picture."""
    result = segmenter.segment(picture(), drivable=False)
    return _answer(result.classes, result.confidence)


def _answer(classes: np.ndarray, confidence: np.ndarray) -> SelfTest:
    step_y, step_x = _PICTURE[0] // _ANSWER[0], _PICTURE[1] // _ANSWER[1]
    few = np.ascontiguousarray(classes[step_y // 2::step_y, step_x // 2::step_x])
    return SelfTest(few, float(confidence.mean()) / 255)


def check_answer(segmenter: Segmenter, expected: SelfTest) -> None:
    """Raise SelfTestError unless the engine agrees with the recorded answer, as far as its kind can: alone, and at each
    place of its batches."""
    _compare(segmenter.engine, record_answer(segmenter), expected)
    for batch in segmenter.engine.batches[1:]:
        for answer in _in_batch(segmenter.engine, batch):
            _compare(segmenter.engine, answer, expected, f" in batches of {batch}")


def _in_batch(engine: Engine, batch: int) -> Iterator[SelfTest]:
    """What it says about the picture at each place, with other pictures at the others."""
    this, other = Frame.from_array(picture()), Frame.from_array(picture()[::-1])
    for place in range(batch):
        frames = [this if i == place else other for i in range(batch)]
        result = engine.decode_batch(frames, [_PICTURE] * batch, [{} for _ in frames])[place]
        if isinstance(result, Exception):
            raise result
        yield _answer(result.classes, result.confidence)


def _compare(engine: Engine, got: SelfTest, expected: SelfTest, where: str = "") -> None:
    size, own = engine.input_size, engine.network.input_size
    if size != own:
        differ, confidence = _AT_OTHER_SIZE
    else:
        differ, confidence = _IN_8_BITS if engine.precision == "int8" else _ROUNDED
    share = float((got.classes != expected.classes).mean())
    off = abs(got.confidence - expected.confidence)
    if share > differ or off > confidence:
        name = f"{engine.name} ({engine.precision}){where}"
        fix = "this engine computes wrongly, try another with the parameter engine, or rebuild its plan"
        if size != own:
            fix = (f"the input size {size[0]}x{size[1]} is too far from the network's own, {own[0]}x{own[1]}: take a"
                   " nearer one; where that fails too, this engine computes wrongly: take another with the parameter"
                   " engine")
        raise SelfTestError(f"self-test failed: on {name} {share:.1%} of the points have another class than recorded"
                            f" (at most {differ:.1%}), confidence is off by {off:.3f} (at most {confidence:.3f})", fix)
