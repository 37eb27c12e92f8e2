"""Walking through a JPEG's Huffman codes: data that was lost in the middle shows there.

A decoder falls into step again some codes behind a gap, so that the rest of the picture is shifted, or another's, and
libjpeg warns only where more than a few bytes are left over at the end. Here every code must exist, no block may have
more coefficients than its scan, no coefficient may be larger than the discrete cosine transform of 8-bit samples can
give (ITU-T T.81, A.3.3), the codes must end exactly where the data ends, and the scans must give all bits of all
coefficients, each once and in their order.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np

from drive_seg.core import jpeg_baseline, jpeg_progressive
from drive_seg.core.jpeg_scan import FAULTS, LEFT_OVER, NO_SCAN, SLACK, WHOLE, WRONG_SCAN, ZEROS

_LARGEST = 1100  # of a coefficient, in units of the transform: 1024 and what encoders may be off
_ZEROS = 16  # bytes
_UNSEEN = -1

_PROGRESSIVE, _END, _SCAN = 0xC2, 0xD9, 0xDA
_FRAMES = frozenset((0xC0, 0xC1, _PROGRESSIVE))
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}  # lossless, hierarchical, arithmetic
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length

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

    Also None of the kinds that it does not know (arithmetic, lossless, 12 bits), and of a header that makes no sense,
    which libjpeg says.
    """
    data = data.view()
    data.flags.writeable = False  # of the two kinds of arrays one: Numba compiles for each
    picture = _Picture(data)
    view, at = data.data, 2
    try:
        while at + 2 <= len(view):
            marker = view[at + 1]
            if view[at] != 0xFF:
                return FAULTS[LEFT_OVER] if picture.begun else None
            if marker == 0xFF:
                at += 1
                continue
            if marker in _BARE:
                at += 2
                continue
            if marker == _END:
                return FAULTS[NO_SCAN] if picture.begun and not picture.whole else None
            length = struct.unpack_from(">H", view, at + 2)[0]
            body = bytes(view[at + 4 : at + 2 + length])
            at += 2 + length
            if marker in _OTHER_FRAMES or (marker in _FRAMES and body[0] != 8):
                return None
            if marker != _SCAN:
                picture.read(marker, body)
                continue
            found, at = picture.scan(body, at)
            if found is not None or (picture.whole and not picture.progressive):
                return found
    except (struct.error, IndexError, KeyError, ValueError, ZeroDivisionError):
        pass
    return None


class _Picture:
    """What the segments of a JPEG said so far, and what its scans brought.

    begun: a scan was there. whole: the scans brought everything.
    """

    def __init__(self, data: np.ndarray) -> None:
        self.progressive = self.begun = False
        self._data = data
        self._plain = np.empty(data.size + SLACK, np.uint8)
        self._quantisers: dict[int, bytes] = {}
        self._huffman = dict(_STANDARD)
        self._components: dict[int, _Component] = {}
        self._size = (0, 0)
        self._restart = 0

    @property
    def whole(self) -> bool:
        return not any(any(component.missing) for component in self._components.values())

    def read(self, marker: int, body: bytes) -> None:
        """Take what a segment says that is none of a scan."""
        if marker == 0xDB:
            _read_quantisers(body, self._quantisers)
        elif marker == 0xC4:
            _read_huffman(body, self._huffman)
        elif marker in _FRAMES:
            _, height, width, count = struct.unpack_from(">BHHB", body)
            self._size = height, width
            self.progressive = marker == _PROGRESSIVE
            self._components = {body[at]: _Component(body[at + 1] >> 4, body[at + 1] & 15, body[at + 2])
                                for at in range(6, 6 + 3 * count, 3)}
        elif marker == 0xDD:
            self._restart = struct.unpack_from(">H", body)[0]

    def scan(self, body: bytes, at: int) -> tuple[str | None, int]:
        """Walk through the scan whose header has this body. Returns (what is wrong, where it ends)."""
        self.begun = True
        count = body[0]
        chosen = [self._components[name] for name in body[1 : 1 + 2 * count : 2]]
        tables = [(number >> 4, number & 15) for number in body[2 : 2 + 2 * count : 2]]
        start, stop, bits = body[1 + 2 * count : 4 + 2 * count]
        if not self.progressive:
            start, stop, bits = 0, 63, 0
        above, below = bits >> 4, bits & 15
        if not self._follows(chosen, start, stop, above, below):
            return FAULTS[WRONG_SCAN], at
        for component in chosen:
            component.missing[start : stop + 1] = [below] * (stop + 1 - start)
        if self.progressive:
            return self._progressive_scan(chosen, tables, at, (start, stop, above, below))
        return self._baseline_scan(chosen, tables, at)

    def _follows(self, chosen: list[_Component], start: int, stop: int, above: int, below: int) -> bool:
        """Whether a scan of these coefficients, whose bits from `below` to `above` it brings, may come now."""
        if not chosen or not start <= stop <= 63 or (self.progressive and (start > 0) != (stop > 0)):
            return False
        if (start and (len(chosen) > 1 or chosen[0].missing[0] == _UNSEEN)) or (above and below != above - 1):
            return False
        before = [above or _UNSEEN] * (stop + 1 - start)
        return all(component.missing[start : stop + 1] == before for component in chosen)

    def _units(self, chosen: list[_Component]) -> tuple[int, np.ndarray]:
        """How many units a scan has, and the component of each block of one (T.81, A.2)."""
        wide = max(component.h for component in self._components.values())
        high = max(component.v for component in self._components.values())
        height, width = self._size
        if len(chosen) > 1:
            blocks = [number for number, component in enumerate(chosen) for _ in range(component.h * component.v)]
            return -(-width // (8 * wide)) * -(-height // (8 * high)), np.array(blocks, np.int64)
        only = chosen[0]
        return -(-width * only.h // (8 * wide)) * -(-height * only.v // (8 * high)), np.zeros(1, np.int64)

    def _limits(self, chosen: list[_Component]) -> tuple[np.ndarray, np.ndarray]:
        return _limits(*(self._quantisers[component.quantiser] for component in chosen))

    def _baseline_scan(self, chosen: list[_Component], tables: list[tuple[int, int]],
                       at: int) -> tuple[str | None, int]:
        codes = jpeg_baseline.tables(*(self._huffman[kind, name] for pair in tables for kind, name in enumerate(pair)))
        units, blocks = self._units(chosen)
        found, end = jpeg_baseline.walk(self._data, at, self._plain, units, self._restart, blocks, codes,
                                        *self._limits(chosen))
        if found == WHOLE and _zeros(self._data[at:end], codes):
            return FAULTS[ZEROS], end
        return FAULTS.get(found), end

    def _progressive_scan(self, chosen: list[_Component], tables: list[tuple[int, int]], at: int,
                          band: tuple[int, int, int, int]) -> tuple[str | None, int]:
        start, stop, above, below = band
        units, blocks = self._units(chosen)
        known = np.empty(0, np.uint64)
        if start:
            if chosen[0].known is None:
                chosen[0].known = np.zeros(units, np.uint64)
            known = chosen[0].known
        kind = (jpeg_progressive.AC_FIRST if start else jpeg_progressive.DC_FIRST) + (above > 0)
        codes = np.zeros((len(chosen), 272), np.uint8)
        if kind != jpeg_progressive.DC_REFINE:
            for number, (dc, ac) in enumerate(tables):
                table = b"".join(self._huffman[(1, ac) if start else (0, dc)])
                codes[number, : len(table)] = np.frombuffer(table, np.uint8)
        found, end = jpeg_progressive.walk(self._data, at, self._plain, units, self._restart, kind, blocks, codes,
                                           (start, stop, below), *self._limits(chosen), known)
        return FAULTS.get(found), end


class _Component:
    """One colour of a picture.

    h, v: how often it is sampled. missing: by coefficient, the lowest bits that have not come yet. known: see
    jpeg_progressive.walk.
    """

    def __init__(self, h: int, v: int, quantiser: int) -> None:
        self.h, self.v, self.quantiser = h, v, quantiser
        self.missing = [_UNSEEN] * 64
        self.known: np.ndarray | None = None


def _zeros(scan: np.ndarray, tables: np.ndarray) -> bool:
    """Whether part of a scan's bytes is nothing but zeros, where zeros don't mean flat blocks.

    With the usual tables they are valid codes, of a pattern that no camera sees.
    """
    flat = all(entry >> 16 == jpeg_baseline.END_OF_BLOCK for entry in tables[1::2, 0])
    return not flat and bytes(_ZEROS) in scan.tobytes()


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


@lru_cache(maxsize=16)  # a camera's tables are the same in every frame
def _limits(*quantisers: bytes) -> tuple[np.ndarray, np.ndarray]:
    """For each component: (n,) int64, the largest first coefficient; (n, 192) uint8, by coefficient, counted from 1,
    the most bits that it may have. 0 of those that a block has not."""
    steps = np.array([np.frombuffer(q, ">u2") for q in quantisers], np.int64)
    largest = _LARGEST // np.maximum(steps, 1) + 1
    bits = np.zeros((len(quantisers), 64 + jpeg_baseline.END_OF_BLOCK), np.uint8)
    bits[:, 1:65] = np.floor(np.log2(largest)) + 1
    return largest[:, 0].copy(), bits
