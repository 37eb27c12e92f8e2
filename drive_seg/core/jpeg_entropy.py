"""Walking through a baseline JPEG's Huffman codes: data that was lost in the middle shows there.

A decoder falls into step again some codes behind a gap, so that the rest of the picture is shifted, or another's, and
libjpeg warns only where more than a few bytes are left over at the end. Here every code must exist, no block may have
more than 64 coefficients, no coefficient may be larger than the discrete cosine transform of 8-bit samples can give
(ITU-T T.81, A.3.3), and the codes must end exactly where the data ends.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from numba import njit

_LARGEST = 1100  # of a coefficient, in units of the transform: 1024 and what encoders may be off
_SHORT = 10  # bits of the codes that the small table has: it stays in the processor's nearest cache
_BELOW_SHORT = (1 << _SHORT) - 1
_END_OF_BLOCK = 128
_ZEROS = 16  # bytes

WHOLE, UNKNOWN_CODE, TOO_LONG, TOO_LARGE, LEFT_OVER, RUNS_OUT, NO_RESTART = range(7)

FAULTS = {
    UNKNOWN_CODE: "an unknown code", TOO_LONG: "a block of more than 64 values",
    TOO_LARGE: "a value that no picture has", LEFT_OVER: "data is left over at its end",
    RUNS_OUT: "its data ends too early", NO_RESTART: "a restart marker is missing",
}

_OTHER_KINDS = frozenset((0xC2, *range(0xC3, 0xD0))) - {0xC4, 0xC8, 0xCC}  # progressive, lossless, arithmetic frames

# The Huffman tables that Motion JPEG leaves out (T.81, K.3): bits, then values.
_STANDARD = {
    (0, 0): (bytes.fromhex("00010501010101010100000000000000"), bytes(range(12))),
    (0, 1): (bytes.fromhex("00030101010101010101010000000000"), bytes(range(12))),
    (1, 0): (bytes.fromhex("0002010303020403050504040000017d"), bytes.fromhex(
        "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a34353637"
        "38393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3"
        "a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa")),
    (1, 1): (bytes.fromhex("00020102040403040705040400010277"), bytes.fromhex(
        "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a3536"
        "3738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999a"
        "a2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa")),
}


def fault(data: np.ndarray) -> str | None:
    """What is wrong with the compressed pixels of a JPEG, (N,) uint8; None where nothing is.

    Also None of the kinds that it does not know: progressive, arithmetic, lossless, 12 bits, several scans.
    """
    plan = _plan(data.data)
    if plan is None:
        return None
    if _zeros(data[plan[0]:], plan[4]):
        return "a stretch of zeros"
    return FAULTS.get(_walk(data, *plan))


def _zeros(pixels: np.ndarray, tables: np.ndarray) -> bool:
    """Whether part of the compressed pixels is nothing but zeros, where zeros don't mean flat blocks.

    With the usual tables they are valid codes, of a pattern that no camera sees.
    """
    if all(entry >> 16 == _END_OF_BLOCK for entry in tables[1::2, 0]):
        return False
    data = pixels.tobytes()
    at = data.find(bytes(_ZEROS))
    return at >= 0 and data.find(b"\xff\xd9", 0, at) < 0


def _plan(view: memoryview) -> tuple | None:
    """The arguments of _walk behind the data: where the pixels begin, the blocks of an MCU, their tables."""
    quantisers: dict[int, bytes] = {}
    huffman = dict(_STANDARD)
    components: dict[int, tuple[int, int, int]] = {}
    height = width = restart = 0
    at = 2
    while at + 4 <= len(view):
        marker = view[at + 1]
        if view[at] != 0xFF or marker in _OTHER_KINDS:
            return None
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        length = struct.unpack_from(">H", view, at + 2)[0]
        body = bytes(view[at + 4 : at + 2 + length])
        at += 2 + length
        try:
            if marker == 0xDB:
                _read_quantisers(body, quantisers)
            elif marker == 0xC4:
                _read_huffman(body, huffman)
            elif marker in (0xC0, 0xC1):
                bits, height, width, count = struct.unpack_from(">BHHB", body)
                if bits != 8 or len(body) < 6 + 3 * count:
                    return None
                components = {body[6 + 3 * n]: (body[7 + 3 * n] >> 4, body[7 + 3 * n] & 15, body[8 + 3 * n])
                              for n in range(count)}
            elif marker == 0xDD:
                restart = struct.unpack_from(">H", body)[0]
            elif marker == 0xDA and at < len(view):
                return _scan(body, at, height, width, components, quantisers, huffman, restart)
        except (struct.error, IndexError, KeyError, ValueError):  # libjpeg says what is wrong with it
            return None
    return None


def _scan(body: bytes, at: int, height: int, width: int, components: dict, quantisers: dict, huffman: dict,
          restart: int) -> tuple | None:
    if body[0] != len(components) or not components:
        return None  # one of several scans
    wide = max(h for h, _, _ in components.values())
    high = max(v for _, v, _ in components.values())
    blocks, tables, largest = [], [], []
    for number, (name, (h, v, quantiser)) in enumerate(components.items()):
        if body[1 + 2 * number] != name:
            return None
        chosen = body[2 + 2 * number]
        tables += [huffman[0, chosen >> 4], huffman[1, chosen & 15]]
        largest.append(quantisers[quantiser])
        blocks += [number] * (1 if len(components) == 1 else h * v)
    if len(components) == 1:
        wide = high = 1
    mcus = -(-width // (8 * wide)) * -(-height // (8 * high))
    return at, mcus, restart, np.array(blocks, np.int64), _tables(*tables), *_limits(*largest)


def _read_quantisers(body: bytes, quantisers: dict[int, bytes]) -> None:
    at = 0
    while at < len(body):
        wide, name = body[at] >> 4, body[at] & 15
        values = np.frombuffer(body, ">u2" if wide else np.uint8, 64, at + 1)
        quantisers[name] = values.astype(">u2").tobytes()
        at += 129 if wide else 65


def _read_huffman(body: bytes, huffman: dict[tuple[int, int], tuple[bytes, bytes]]) -> None:
    at = 0
    while at < len(body):
        name, bits = body[at], body[at + 1 : at + 17]
        huffman[name >> 4, name & 15] = (bits, body[at + 17 : at + 17 + sum(bits)])
        at += 17 + sum(bits)


@lru_cache(maxsize=8)  # a camera's tables are the same in every frame
def _limits(*quantisers: bytes) -> tuple[np.ndarray, np.ndarray]:
    """For each component: (n,) int64, the largest first coefficient; (n, 192) uint8, by coefficient, counted from 1,
    the most bits that it may have. 0 of those that a block has not."""
    steps = np.array([np.frombuffer(q, ">u2") for q in quantisers], np.int64)
    largest = _LARGEST // np.maximum(steps, 1) + 1
    bits = np.zeros((len(quantisers), 64 + _END_OF_BLOCK), np.uint8)
    bits[:, 1:65] = np.floor(np.log2(largest)) + 1
    return largest[:, 0].copy(), bits


@lru_cache(maxsize=8)
def _tables(*chosen: tuple[bytes, bytes]) -> np.ndarray:
    """The look-up tables of the components, (2 n, entries): for the first coefficient and for the others of each."""
    return np.stack([_lookup(*table, bool(number % 2)) for number, table in enumerate(chosen)])


def _lookup(bits: bytes, values: bytes, ac: bool) -> np.ndarray:
    """(65536 + 2 ** _SHORT,) int32: what a code means, by the next 16 bits; by the next _SHORT where it is not longer.

    Each is bits to go on by (of the code and of the number behind it) | bits of that number << 8 | coefficients to go
    on by << 16; the last are 64 at the end of a block. -1: no such code (by few bits: or a longer one).
    """
    table = np.full(1 << 16, -1, np.int32)
    code, number = 0, 0
    for length, count in enumerate(bits, 1):
        for _ in range(count):
            run, more = (values[number] >> 4, values[number] & 15) if ac else (0, values[number])
            step = run + 1 if more or not ac else {0: _END_OF_BLOCK, 15: 16}.get(run, 0)
            if step and more <= 11:
                first = code << (16 - length)
                table[first : first + (1 << (16 - length))] = length + more | more << 8 | step << 16
            code, number = code + 1, number + 1
        code <<= 1
    blocks = table.reshape(1 << _SHORT, -1)
    return np.concatenate([table, np.where((blocks == blocks[:, :1]).all(1), blocks[:, 0], -1).astype(np.int32)])


@njit(cache=True, nogil=True)
def _walk(data, at, mcus, restart, blocks, tables, limits, sizes):
    """Walk through `mcus` units of `blocks` (the component of each), whose codes begin at data[at]."""
    size = len(data)
    plain = np.zeros(size - at + 512, np.uint8)  # behind the end: zeros that a block may run into
    previous = np.zeros(len(limits), np.int64)
    done, number = 0, 0
    while True:
        # The bytes up to the next marker, without the zeros that are stuffed behind FF.
        end = 0
        while at < size:
            byte = data[at]
            if byte == 0xFF:
                if at + 1 >= size or data[at + 1] != 0:
                    break
                at += 1
            plain[end] = byte
            end += 1
            at += 1
        plain[end : end + 512] = 0
        previous[:] = 0
        bits, count, position = np.uint64(0), 0, 0
        upto = min(mcus, done + restart) if restart else mcus
        while done < upto:
            for component in blocks:
                codes, largest, k = tables[2 * component], sizes[component], 0
                while k < 64:
                    if count < 32:
                        bits = (bits << np.uint64(32) | np.uint64(plain[position]) << np.uint64(24)
                                | np.uint64(plain[position + 1]) << np.uint64(16)
                                | np.uint64(plain[position + 2]) << np.uint64(8) | np.uint64(plain[position + 3]))
                        position += 4
                        count += 32
                    entry = codes[np.uint64(65536) + (bits >> np.uint64(count - _SHORT) & np.uint64(_BELOW_SHORT))]
                    if entry < 0:
                        entry = codes[bits >> np.uint64(count - 16) & np.uint64(0xFFFF)]
                        if entry < 0:
                            return UNKNOWN_CODE
                    count -= entry & 0xFF
                    more = entry >> 8 & 0xFF
                    if k:
                        k += entry >> 16
                        if more > largest[k]:
                            return TOO_LARGE if k <= 64 else TOO_LONG
                        continue
                    codes, k = tables[2 * component + 1], 1  # the first is the difference to the block before
                    if more:
                        raw = np.int64(bits >> np.uint64(count)) & ((1 << more) - 1)
                        if raw < 1 << (more - 1):
                            raw += 1 - (1 << more)
                        previous[component] += raw
                        if abs(previous[component]) > limits[component]:
                            return TOO_LARGE
                if 64 < k < _END_OF_BLOCK:
                    return TOO_LONG
                if 8 * position - count > 8 * end:
                    return RUNS_OUT
            done += 1
        left = 8 * (end - position) + count
        if left >= 8:
            last = plain[end - 1]
            if left > 16 or last not in (0, 0xFF):  # encoders fill the last byte, some add one
                return LEFT_OVER
        if done == mcus:
            return WHOLE
        while at + 1 < size and data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if at + 1 >= size or data[at + 1] != 0xD0 + number:
            return NO_RESTART
        number = (number + 1) & 7
        at += 2
