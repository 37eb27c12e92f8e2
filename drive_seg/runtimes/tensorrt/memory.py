"""The memory that frames need on the GPU: taken once, for the greatest frame that is expected."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from drive_seg.core.engine import LogFunction
from drive_seg.runtimes.tensorrt.gpu import Buffer, Gpu
from drive_seg.runtimes.tensorrt.intake import PLACE, WORD

_GREATEST_FRAME = (1080, 1920)  # (height, width); memory for it is taken at configuring
_GREATEST_PIXEL = 4  # bytes
_LONGEST_SIDE = 4096  # pixels, of frames that have no more of them than the greatest, but another shape

ALIGNMENT = 256
"""Bytes. Each image and table begins at a multiple of it: the kernels read and write whole words there."""


@dataclass(frozen=True)
class Room:
    """Bytes. image: ticket and camera bytes. results: what comes back. tables: what the kernels look up."""

    image: int
    results: int
    tables: int


class FrameMemory:
    """Memory for one frame layout at a time; grows where one needs more, and never shrinks.

    image and results have two sides (see Buffer). Use it inside `gpu.current()`.
    """

    image: Buffer
    results: Buffer
    tables: Buffer

    def __init__(self, gpu: Gpu, say: LogFunction = lambda line: None) -> None:
        """Takes no memory yet. say: takes a line when memory that was taken does not suffice."""
        self._gpu = gpu
        self._say = say
        self._room = Room(0, 0, 0)
        self.ticket = 0
        """Bytes of the last frame, whatever its layout."""

    def reserve(self, input_size: tuple[int, int], classes: int) -> None:
        """Take enough for every frame that has no more pixels than 1920x1080, into a network of that (height, width)
        and so many classes. Raises EngineError, inside `gpu.current()`, when the GPU has no more.
        """
        height, width = _GREATEST_FRAME
        pixels = padded(height * width)
        entries = [*input_size, _LONGEST_SIDE, _LONGEST_SIDE, *[classes] * 3]
        image = ALIGNMENT + _GREATEST_PIXEL * pixels + WORD * _LONGEST_SIDE  # each row may be padded to whole words
        tables = sum(padded(PLACE.itemsize * n) for n in entries)
        self.make_room(Room(image, 4 * pixels, tables), f"{width}x{height}")  # tiles are never more than pixels

    def make_room(self, room: Room, what: str) -> None:
        """See that there is so much at least. what: needs it, for the line. Whoever uses what was there must be closed.

        Raises EngineError, inside `gpu.current()`, when the GPU has no more; what was there stays.
        """
        had, wanted = astuple(self._room), astuple(room)
        if all(have >= want for have, want in zip(had, wanted, strict=True)):
            return
        if any(had):
            self._say(f"{what} needs {sum(wanted) / 1e6:.1f} MB on the GPU, more than was taken before: taking it now,"
                      " once")
        for name, nbytes in vars(room).items():
            if getattr(self._room, name) < nbytes:
                buffer = self._gpu.allocate(nbytes, host=name != "tables")
                if getattr(self._room, name):
                    self._gpu.free(getattr(self, name))
                setattr(self, name, buffer)
                self._room = Room(**{**vars(self._room), name: nbytes})

    def close(self) -> None:
        """Give all of it back."""
        for name, nbytes in vars(self._room).items():
            if nbytes:
                self._gpu.free(getattr(self, name))
        self._room = Room(0, 0, 0)


def padded(nbytes: int) -> int:
    """Up to where the next image or table may begin."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
