"""Run lengths of masks, as labelling tools write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BRUSH_SIZES = (3, 4, 8, 16)
"""Bits that Label Studio's brush has for the length of a run, by the two bits before it."""


def run_lengths(flat: np.ndarray) -> list[int]:
    """Lengths of the runs of equal values of a bool array (N,), in turns of False and True; the first may be 0."""
    flat = np.asarray(flat, np.bool_)
    if not flat.size:
        return []
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths


def from_run_lengths(lengths: Sequence[int], size: int) -> np.ndarray:
    """The inverse of run_lengths, (size,) bool. Raises ValueError where the lengths do not add up to it."""
    counts = np.asarray(lengths, np.int64)
    if counts.size == 0 or (counts < 0).any() or int(counts.sum()) != size:
        raise ValueError(f"the run lengths add up to {int(counts.sum())} pixels, the mask has {size}")
    return np.repeat(np.arange(counts.size) % 2 == 1, counts)


def from_coco_text(text: str) -> list[int]:
    """The run lengths of COCO's compressed text: 5 bits a character from '0' on, the sixth says that more follow;
    from the fourth number on, each is the difference from the one before the last (pycocotools, rleFrString)."""
    lengths: list[int] = []
    at = 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            if at >= len(text):
                raise ValueError("a compressed mask ends in the middle of a number")
            bits = ord(text[at]) - 48
            if not 0 <= bits < 64:
                raise ValueError(f"a compressed mask has the character {text[at]!r}")
            value |= (bits & 31) << shift
            more, shift, at = bool(bits & 32), shift + 5, at + 1
            if not more and bits & 16:
                value |= -1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
    return lengths


def to_brush(mask: np.ndarray) -> list[int]:
    """A mask (H, W) bool as the bytes of Label Studio's brush.

    They are the RGBA bytes of a picture in runs: 32 bits for how many bytes, 5 for the bits of a value less one, four
    times 4 for the bits of a length less one; then each run with a 1, the 2-bit number of its length's size, the length
    less one, and the value (label-studio-converter, brush.py).
    """
    flat = np.asarray(mask, np.bool_).ravel()
    bits = [f"{4 * flat.size:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _BRUSH_SIZES)]
    value = 0
    for run in run_lengths(flat):
        left = 4 * run  # red, green, blue and alpha of each pixel
        while left:
            length = min(left, 1 << _BRUSH_SIZES[-1])
            kind = next(i for i, size in enumerate(_BRUSH_SIZES) if length <= 1 << size)
            bits.append(f"1{kind:02b}{length - 1:0{_BRUSH_SIZES[kind]}b}{value:08b}")
            left -= length
        value = 255 - value
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def from_brush(data: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The inverse of to_brush: (H, W) bool, True where a pixel is not transparent. Raises ValueError."""
    try:
        whole = bytes(data)
    except (TypeError, ValueError):
        raise ValueError("a brush mask is a list of bytes") from None
    text = f"{int.from_bytes(whole, 'big'):0{8 * len(whole)}b}" if whole else ""
    at = 0

    def read(count: int) -> int:
        nonlocal at
        if at + count > len(text):
            raise ValueError("a brush mask ends too early")
        at += count
        return int(text[at - count:at], 2)

    total = read(32)
    if total != 4 * size[0] * size[1]:
        raise ValueError(f"a brush mask has {total} bytes, its picture {4 * size[0] * size[1]}")
    width = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out, filled = np.zeros(total, np.uint8), 0
    while filled < total:
        run = read(1)
        length = read(sizes[read(2)]) + 1
        if filled + length > total:
            raise ValueError("a brush mask is longer than its picture")
        if run:
            out[filled:filled + length] = read(width) & 255
        else:
            out[filled:filled + length] = [read(width) & 255 for _ in range(length)]
        filled += length
    return out.reshape(*size, 4)[..., 3] > 0
