"""Does this engine compute what the network should? A built-in picture with a recorded answer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import DriveSegError

_PICTURE = (352, 480)
_ANSWER = (22, 30)

# The share of the 660 points that may have another class, and by how much the mean confidence may differ.
_ROUNDED = 0.03, 0.03
_IN_8_BITS = 0.09, 0.09  # coarse, and nothing in the picture is what it was quantised for
_AT_OTHER_SIZE = 0.4, 0.15  # it sees another picture: half and double size of the network that ships differ by 0.36


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
        classes = np.array([list(bytes.fromhex(str(row))) for row in facts["classes"]], np.uint8)
        if classes.shape != _ANSWER:
            raise ValueError(f"`self_test: classes` must be {_ANSWER[0]} rows of {_ANSWER[1]} class ids")
        return cls(classes, float(facts["confidence"]))

    def to_dict(self) -> dict:
        """The inverse of from_dict."""
        return {"confidence": round(self.confidence, 4), "classes": [row.tobytes().hex() for row in self.classes]}


def picture() -> np.ndarray:
    """The built-in picture: a road scene of plain shapes with grain, (352, 480, 3) uint8 BGR, the same everywhere."""
    height, width = _PICTURE
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.linspace(0, 1, height)[:, None, None] * (-40, -20, 0) + (230, 200, 170)
    cv2.rectangle(image, (0, 70), (140, 200), (90, 100, 125), -1)
    cv2.rectangle(image, (350, 90), (479, 200), (70, 95, 85), -1)
    cv2.fillPoly(image, [np.array([(0, 190), (480, 190), (480, 352), (0, 352)])], (150, 155, 160))
    cv2.fillPoly(image, [np.array([(225, 185), (262, 185), (470, 352), (40, 352)])], (88, 86, 84))
    cv2.rectangle(image, (285, 180), (330, 215), (40, 40, 150), -1)
    cv2.line(image, (244, 215), (250, 352), (225, 225, 225), 3)
    # Grain from a linear congruence: the same numbers on every platform and with every library version.
    state = (np.arange(height * width, dtype=np.uint64) * np.uint64(6364136223846793005)
             + np.uint64(1442695040888963407))
    grain = ((state ^ (state >> np.uint64(29))) >> np.uint64(33)) % np.uint64(17)
    return np.clip(image.astype(np.int16) + (grain.reshape(height, width, 1).astype(np.int16) - 8), 0, 255
                   ).astype(np.uint8)


def record_answer(segmenter: Segmenter) -> SelfTest:
    """What this engine says about the picture."""
    result = segmenter.segment(picture(), drivable=False)
    step_y, step_x = _PICTURE[0] // _ANSWER[0], _PICTURE[1] // _ANSWER[1]
    few = np.ascontiguousarray(result.classes[step_y // 2::step_y, step_x // 2::step_x])
    return SelfTest(few, float(result.confidence.mean()) / 255)


def check_answer(segmenter: Segmenter, expected: SelfTest) -> None:
    """Raise SelfTestError unless the engine agrees with the recorded answer, as far as its kind can."""
    got = record_answer(segmenter)
    if segmenter.engine.network.input_size != segmenter.engine.input_size:
        differ, confidence = _AT_OTHER_SIZE
    else:
        differ, confidence = _IN_8_BITS if segmenter.engine.precision == "int8" else _ROUNDED
    share = float((got.classes != expected.classes).mean())
    off = abs(got.confidence - expected.confidence)
    if share > differ or off > confidence:
        name = f"{segmenter.engine.name} ({segmenter.engine.precision})"
        raise SelfTestError(f"self-test failed: on {name} {share:.1%} of the points have another class than recorded"
                            f" (at most {differ:.1%}), confidence is off by {off:.3f} (at most {confidence:.3f})",
                            "this engine computes wrongly, try another with the parameter engine, or rebuild its plan")
