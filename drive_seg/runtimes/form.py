"""Whether a network has the form that every runtime needs: one image in, one set of logits out.

Each runtime says the same, for it is asked here: what the file says before one is opened (`check_form`), the rest of
what it really gives (`check_shape`, `check_values`). The runtimes themselves take the first of two outputs, or end
somewhere inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.core.selftest import picture
from drive_seg.onnx_header import FLOAT, KINDS, OnnxHeader, Value, read_header

if TYPE_CHECKING:
    from drive_seg.network import Network

_CHANNELS = 3
STRIDE = 32  # of the sizes that are half of a network's own

_IDS = ("ArgMax", "ArgMin", "TopK", "OneHot", "Hardmax")
_PROBABILITIES = ("Softmax", "Sigmoid", "HardSigmoid")
_WHOLE_NUMBERS = (2, 3, 4, 5, 6, 7, 9)
_TO_NCHW = (0, 3, 1, 2)
_TWO_CHANNELS = "export two channels, for instance torch.cat([torch.zeros_like(x), x], 1)"

# How much sums of probabilities differ, as a share of them, where a runtime rounds to 8 bits; how much more than that
# the probabilities themselves do, and at least.
_ROUNDED, _MANIFOLD, _LEAST = 0.02, 10, 1e-3


def check_form(network: Network, input_size: tuple[int, int] | None = None) -> None:
    """Raise EngineError, which says how to export it right, for a network that no runtime can serve.

    input_size: (height, width) that it is to run at, its own by default.
    """
    classes = len(network.table)
    if classes < 2:
        raise EngineError(f"{network.path.name} has one class: a soft-max over one channel is always 1",
                          f"{_TWO_CHANNELS}, and name both classes")
    smallest = tuple(max(STRIDE, side // 2 // STRIDE * STRIDE) for side in network.input_size)
    if input_size is not None and any(side < least for side, least in zip(input_size, smallest, strict=True)):
        raise EngineError(f"the input size {input_size[0]}x{input_size[1]} is below the smallest that"
                          f" {network.path.name} is run at, {smallest[0]}x{smallest[1]} (half of its own)",
                          "take a larger input size")
    for path in (network.path, network.int8):
        header = None if path is None else read_header(path)
        if path is None or header is None:
            continue
        try:
            _check_input(header, network)
            _check_output(header, classes)
        except _WrongForm as error:
            raise error.of(path) from None


def check_shape(network: Network, shape: Sequence[int]) -> None:
    """Raise EngineError, likewise, unless this is the shape of logits (1, C, gh, gw)."""
    try:
        _check_logits(tuple(shape), len(network.table))
    except _WrongForm as error:
        raise error.of(network.path) from None


def check_values(network: Network, logits: np.ndarray) -> None:
    """Raise EngineError, likewise, where what it says of `shown` can't be logits: a soft-max that the file does not
    name, say of exp, sum and division. logits: (C, gh, gw).

    Probabilities, also those times a constant, are nowhere negative and add up to the same at every point. Logits
    don't, as nothing makes them.
    """
    sums = logits.sum(0, dtype=np.float64)
    mean = float(sums.mean())
    apart, varied = float(np.ptp(sums)), float(np.ptp(logits, (1, 2)).max())
    if logits.min() >= 0 and apart <= _ROUNDED * mean and varied > _MANIFOLD * apart and varied > _LEAST * mean:
        raise _WrongForm("gives probabilities: at every point its outputs add up to the same",
                         "export it without the soft-max, or whatever else comes after the logits: it must give logits"
                         ).of(network.path)


def shown(input_size: tuple[int, int]) -> np.ndarray:
    """What a network is shown for `check_values`, (height, width, 3) uint8 BGR: the self-test's picture, which has
    more than one class for any that knows streets."""
    return cv2.resize(picture(), input_size[::-1], interpolation=cv2.INTER_AREA)


class _WrongForm(Exception):  # noqa: N818  caught above
    """What is wrong, and how to export it right."""

    def of(self, path: Path) -> EngineError:
        """The same, of a file."""
        return EngineError(f"{path} {self.args[0]}", self.args[1])


def _check_input(header: OnnxHeader, network: Network) -> None:
    if len(header.inputs) != 1:
        raise _WrongForm(f"has {len(header.inputs)} inputs ({_names(header.inputs)})",
                         "export it with one, the image")
    image = header.inputs[0]
    if image.kind not in (0, FLOAT):
        raise _WrongForm(f"takes the image as {_kind(image)}",
                         "export it with a float32 input: the runtime itself chooses what it computes in")
    layout = "(1, 3, height, width)"
    _check_layout(image.shape, _CHANNELS, layout, takes="takes", what="the image", many="images",
                  channels=f"export it for {_CHANNELS} channels, in the order RGB")
    if image.turned == _TO_NCHW and (image.shape is None or image.shape[1] is None):
        raise _channels_last("takes", "the image", layout)
    sides = image.shape[2:] if image.shape is not None else ()
    if any(side not in (None, own) for side, own in zip(sides, network.input_size, strict=False)):
        height, width = ("any" if side is None else side for side in sides)
        own_height, own_width = network.input_size
        raise _WrongForm(f"takes images of {height}x{width}, but the `input` of {network.path.stem}.yaml is"
                         f" {own_height}x{own_width}", "correct the `input`")


def _check_output(header: OnnxHeader, classes: int) -> None:
    if len(header.outputs) != 1:
        raise _WrongForm(f"has {len(header.outputs)} outputs ({_names(header.outputs)})",
                         "export it with one, the logits")
    logits = header.outputs[0]
    if logits.made_by in _IDS:
        raise _WrongForm(f"gives the ids of classes ({_kind(logits)}), which say nothing about confidence",
                         f"export it without the {logits.made_by} at its end: it must give logits")
    if logits.made_by in _PROBABILITIES:
        raise _WrongForm(f"gives probabilities: it ends in a {logits.made_by}",
                         "export it without that: it must give logits")
    if logits.kind in _WHOLE_NUMBERS:
        raise _WrongForm(f"gives whole numbers ({_kind(logits)}), as ids of classes are",
                         "export it with a float32 output: it must give logits")
    if logits.kind not in (0, FLOAT):
        raise _WrongForm(f"gives logits as {_kind(logits)}", "export it with a float32 output")
    _check_logits(logits.shape, classes)


def _check_logits(shape: tuple[int | None, ...] | None, classes: int) -> None:
    if shape is not None and len(shape) == 4 and shape[1] == 1 and shape[3] != classes:
        raise _WrongForm(f"gives one channel, its class table has {classes} classes",
                         _TWO_CHANNELS if classes == 2 else "export one for each class: it must give logits, not the"
                         " ids of classes")
    _check_layout(shape, classes, "(1, classes, height, width)", takes="gives", what="logits", many="results",
                  channels=f"its class table has {classes} classes: use the one that belongs to this network")


def _check_layout(shape: tuple[int | None, ...] | None, count: int, layout: str, *, takes: str, what: str, many: str,
                  channels: str) -> None:
    """Whether an input or output of `count` channels is NCHW with a batch of 1. The rest are words of the messages;
    channels: the fix for another number of them."""
    if shape is None:
        return
    if len(shape) != 4:
        raise _WrongForm(f"{takes} {len(shape)} dimensions", f"export it with {layout}")
    if shape[3] == count and (shape[1] not in (None, count) or shape[1] is None and shape[2] is None):
        raise _channels_last(takes, what, layout)
    if shape[1] not in (None, count):
        raise _WrongForm(f"{takes} {shape[1]} channels", channels)
    if shape[0] not in (None, 1):
        raise _WrongForm(f"{takes} {shape[0]} {many} at a time", "export it with a batch of 1")


def _channels_last(takes: str, what: str, layout: str) -> _WrongForm:
    return _WrongForm(f"{takes} {what} as NHWC (channels last)", f"export it as NCHW: {layout}")


def _names(values: tuple[Value, ...]) -> str:
    return ", ".join(value.name for value in values) or "none"


def _kind(value: Value) -> str:
    return KINDS.get(value.kind, "another kind of number")
