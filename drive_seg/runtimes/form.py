"""Whether a network has the form that every runtime needs: one image in, one set of logits out.

Asked once, before a runtime is opened, so that each says the same: the runtimes themselves take the first of two
outputs, or end somewhere inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drive_seg.core.engine import EngineError
from drive_seg.onnx_header import FLOAT, KINDS, OnnxHeader, Value, read_header

if TYPE_CHECKING:
    from drive_seg.network import Network

_CHANNELS = 3
STRIDE = 32  # of the sizes that are half of a network's own


def check_form(network: Network, input_size: tuple[int, int] | None = None) -> None:
    """Raise EngineError, which says how to export it right, for a network that no runtime can serve.

    input_size: (height, width) that it is to run at, its own by default.
    """
    classes = len(network.table)
    if classes < 2:
        raise EngineError(f"{network.path.name} has one class: a soft-max over one channel is always 1",
                          "export two channels, for instance torch.cat([torch.zeros_like(x), x], 1), and name both"
                          " classes")
    smallest = tuple(max(STRIDE, side // 2 // STRIDE * STRIDE) for side in network.input_size)
    if input_size is not None and any(side < least for side, least in zip(input_size, smallest, strict=True)):
        raise EngineError(f"the input size {input_size[0]}x{input_size[1]} is below the smallest that"
                          f" {network.path.name} is run at, {smallest[0]}x{smallest[1]} (half of its own)",
                          "take a larger input size")
    header = read_header(network.path)
    if header is None:
        return
    try:
        _check_input(header, network)
        _check_output(header, classes)
    except _WrongForm as error:
        raise EngineError(f"{network.path} {error.args[0]}", error.args[1]) from None


class _WrongForm(Exception):  # noqa: N818  caught above
    """What is wrong, and how to export it right."""


def _check_input(header: OnnxHeader, network: Network) -> None:
    if len(header.inputs) != 1:
        raise _WrongForm(f"has {len(header.inputs)} inputs ({_names(header.inputs)})",
                         "export it with one, the image")
    image = header.inputs[0]
    if image.kind not in (0, FLOAT):
        raise _WrongForm(f"takes the image as {_kind(image)}",
                         "export it with a float32 input: the runtime itself chooses what it computes in")
    _check_layout(image.shape, _CHANNELS, "(1, 3, height, width)", takes="takes", what="the image", many="images",
                  channels=f"export it for {_CHANNELS} channels, in the order RGB")
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
    if logits.made_by == "ArgMax" or logits.kind in (2, 3, 4, 5, 6, 7, 9):
        raise _WrongForm(f"gives the ids of classes ({_kind(logits)}), which say nothing about confidence",
                         "export it without the ArgMax at its end: it must give logits")
    if logits.made_by in ("Softmax", "Sigmoid", "HardSigmoid"):
        raise _WrongForm(f"gives probabilities: it ends in a {logits.made_by}",
                         "export it without that: it must give logits")
    if logits.kind not in (0, FLOAT):
        raise _WrongForm(f"gives logits as {_kind(logits)}", "export it with a float32 output")
    _check_layout(logits.shape, classes, "(1, classes, height, width)", takes="gives", what="logits", many="results",
                  channels=f"its class table has {classes} classes: use the one that belongs to this network")


def _check_layout(shape: tuple[int | None, ...] | None, count: int, layout: str, *, takes: str, what: str, many: str,
                  channels: str) -> None:
    """Whether an input or output of `count` channels is NCHW with a batch of 1. The rest are words of the messages;
    channels: the fix for another number of them."""
    if shape is None:
        return
    if len(shape) != 4:
        raise _WrongForm(f"{takes} {len(shape)} dimensions", f"export it with {layout}")
    if shape[1] not in (None, count):
        if shape[3] == count:
            raise _WrongForm(f"{takes} {what} as NHWC (channels last)", f"export it as NCHW: {layout}")
        raise _WrongForm(f"{takes} {shape[1]} channels", channels)
    if shape[0] not in (None, 1):
        raise _WrongForm(f"{takes} {shape[0]} {many} at a time", "export it with a batch of 1")


def _names(values: tuple[Value, ...]) -> str:
    return ", ".join(value.name for value in values) or "none"


def _kind(value: Value) -> str:
    return KINDS.get(value.kind, "another kind of number")
