"""The way of frames through the GPU, one or several at once: bytes in, kernels and network, bytes out; as one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import prod
from typing import Any, Protocol

import numpy as np

from drive_seg.core.decode import Decoded, TrustModel
from drive_seg.core.engine import EngineError, LogFunction
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.stopwatch import stage
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt.gpu import Buffer, Gpu
from drive_seg.runtimes.tensorrt.intake import PLACE, THREADS, WORD, Intake, decode_tiling, places, prepare_tiling, taps
from drive_seg.runtimes.tensorrt.kernels import NOT_FINITE, DecodeArguments, PrepareArguments

_ALIGNMENT = 256  # bytes; each image and table begins at a multiple of it: kernels read and write whole words there


class NetworkRunner(Protocol):
    """A network on the GPU: from `pixels`, fp16 (batch, H, W, 8), to `logits`, fp16 (batch, gh, gw, channels(classes)).

    batch: frames that it takes at once; the buffers may have room for more. logits_shape: (classes, gh, gw) of one.
    capturable: whether `enqueue` may be part of a CUDA graph, as it allocates nothing and waits for nothing.
    """

    batch: int
    pixels: Buffer
    logits: Buffer
    input_size: tuple[int, int]
    logits_shape: tuple[int, int, int]

    @property
    def capturable(self) -> bool: ...

    def enqueue(self) -> None:
        """Enqueue the network on the GPU's stream. Raises EngineError."""


class NotFiniteError(EngineError):
    """The network gave no numbers for this frame; the next one may be fine."""


def channels(n: int) -> int:
    """Channels of a tensor with n of them in TensorRT's format HWC8: padded to a multiple of 8."""
    return -(-n // 8) * 8


class FrameMemory:
    """Memory for one frame layout at a time; grows where one needs more. Use it inside `gpu.current()`.

    image: ticket and camera bytes. results: what comes back. tables: what the kernels look up.
    """

    def __init__(self, gpu: Gpu, say: LogFunction = lambda line: None) -> None:
        """Takes no memory yet. say: takes a line when memory that was taken does not suffice."""
        self._gpu = gpu
        self._say = say
        self.image, self.results, self.tables = Buffer(), Buffer(), Buffer()
        self.ticket = 0
        """The last frame's, whatever its layout."""

    def reserve(self, input_size: tuple[int, int], classes: int) -> None:
        """Take enough for every frame of at most 1920x1080 pixels, with sides up to 4096, into a network of that
        (height, width) and so many classes. See make_room."""
        longest, pixels = 4096, _padded(1080 * 1920)
        tables = sum(_padded(PLACE.itemsize * n) for n in (*input_size, longest, longest, classes, classes, classes))
        # A pixel takes up to 4 bytes, and each row may be padded to whole words. Tiles are never more than pixels.
        self.make_room("1920x1080", image=_ALIGNMENT + 4 * pixels + WORD * longest, results=4 * pixels, tables=tables)

    def make_room(self, what: str, **needs: int) -> None:
        """See that there are so many bytes at least. what: needs them, for the line. Whoever uses what was there must
        be closed. Raises EngineError, inside `gpu.current()`, when the GPU has no more."""
        short = [name for name, nbytes in needs.items() if getattr(self, name).nbytes < nbytes]
        if short and self.image.nbytes:
            self._say(f"{what} needs {sum(needs.values()) / 1e6:.1f} MB on the GPU, more than was taken before: taking"
                      " it now, once")
        for name in short:
            self._gpu.free(getattr(self, name))
            setattr(self, name, self._gpu.allocate(needs[name], host=True))

    def close(self) -> None:
        """Give all of it back."""
        for buffer in (self.image, self.results, self.tables):
            self._gpu.free(buffer)


def _padded(nbytes: int) -> int:
    """Up to where the next image or table may begin."""
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


class Slot:
    """A place for frames of one encoding and size, with results of one size. Use it inside `gpu.current()`."""

    def __init__(self, gpu: Gpu, runner: NetworkRunner, network: Network, intake: Intake, size: tuple[int, int],
                 memory: FrameMemory, place: int = 0) -> None:
        """runner: with the buffers, which others may share. size: (height, width) of the results. memory: no other slot
        may use it while this one is in use. place: in the batch, from 0."""
        self.intake = intake
        self.size = size
        self._gpu = gpu
        self._memory = memory
        classes, grid_height, grid_width = runner.logits_shape
        (height, width), (out_height, out_width) = runner.input_size, size
        trust = network.trust or TrustModel(np.zeros(classes), np.ones(classes), -np.inf)
        across, down = taps(width, intake.halved[1]), taps(height, intake.halved[0])
        across_grid, down_grid = places(out_width, grid_width), places(out_height, grid_height)
        self._before = prepare_tiling(across, down, intake)
        self._after = decode_tiling(across_grid, down_grid, (grid_height, grid_width), classes)
        tables = [np.ascontiguousarray(table).view(np.uint8) for table in (
            across, down, across_grid, down_grid, network.table.group_lut[:classes],
            np.asarray(trust.mean, np.float32), np.asarray(trust.std, np.float32))]
        tables_at = np.cumsum([0, *(_padded(len(table)) for table in tables)]).tolist()
        tiles, pixels = prod(self._after.blocks), out_height * out_width
        images_at = [_padded(tiles) + i * _padded(pixels) for i in range(3)]  # the tiles' reports come first
        self._in, self._out = _ALIGNMENT + intake.rows * intake.pitch, images_at[2] + pixels
        memory.make_room("{}x{} {}".format(*reversed(intake.size), intake.encoding), image=self._in, results=self._out,
                         tables=tables_at[-1])
        for table, start in zip(tables, tables_at, strict=False):
            memory.tables.host[start: start + len(table)] = table
        gpu.upload(memory.tables, tables_at[-1])
        self.poison(0)  # no ticket: nothing of another layout can pass for a result
        lines = memory.image.host[_ALIGNMENT: self._in].reshape(intake.rows, intake.pitch)
        self._image = lines[:, : intake.row_bytes]
        self._reports = memory.results.host[:tiles]
        self._images = [memory.results.host[start: start + pixels].reshape(size) for start in images_at]

        columns, rows, columns_at, rows_at, groups, mean, deviation = (memory.tables.pointer + at
                                                                       for at in tables_at[:-1])
        self._prepare = PrepareArguments(
            memory.image.pointer + _ALIGNMENT, columns, rows,
            runner.pixels.pointer + place * 2 * channels(3) * height * width, intake.pitch,
            intake.layout.channels, *intake.layout.at, intake.layout.yuv, intake.chroma_row, intake.halvings,
            *reversed(intake.halved), width, height, self._before.width, self._before.height)
        self._decode = DecodeArguments(
            runner.logits.pointer + place * 2 * channels(classes) * grid_height * grid_width, groups, mean, deviation,
            columns_at, rows_at, *(memory.results.pointer + start for start in images_at), memory.image.pointer,
            memory.results.pointer, network.temperature, trust.limit, classes, channels(classes), grid_width,
            grid_height, out_width, out_height, self._after.width, self._after.height)

    @property
    def steps(self) -> dict[str, Callable[[], None]]:
        """What is done for this frame alone, before the network and after it; each enqueues its work."""
        gpu, memory = self._gpu, self._memory
        return {
            "upload": lambda: gpu.upload(memory.image, self._in),
            "pre": lambda: gpu.launch("prepare", self._before.blocks, THREADS, self._prepare, self._before.shared),
            "post": lambda: gpu.launch("decode", self._after.blocks, THREADS, self._decode, self._after.shared),
            "download": lambda: gpu.download(memory.results, self._out),
        }

    def put(self, frame: Frame) -> None:
        """Copy a frame's bytes to where the GPU takes them from. Raises FrameError."""
        np.copyto(self._image, self.intake.pixels(frame))
        self._memory.ticket = self._memory.ticket % (NOT_FINITE - 1) + 1
        self._memory.image.host[0] = self._memory.ticket

    def take(self) -> Decoded:
        """The results of the frame that was put, once the GPU is done. Raises NotFiniteError, and EngineError when they
        are not this frame's."""
        overflow = self._reports == NOT_FINITE
        if not (overflow | (self._reports == self._memory.ticket)).all():
            raise EngineError("the GPU left results of an earlier frame")
        if overflow.any():
            raise NotFiniteError("the network gave logits that are not finite numbers (overflow?)",
                                 "export it again, the fp16 report says which layers must stay fp32")
        return Decoded(*(image.copy() for image in self._images))

    def poison(self, byte: int) -> None:
        """Set all results to a byte, so that one that isn't written shows."""
        self._memory.results.host[:] = byte
        self._gpu.upload(self._memory.results, self._out)


class FramePath:
    """Frames of these slots through the network, at once. Use it inside `gpu.current()`."""

    def __init__(self, gpu: Gpu, runner: NetworkRunner, slots: Sequence[Slot]) -> None:
        """slots: as many as the runner's batch, the first places of its buffers; they stay their owner's."""
        self._gpu = gpu
        self._runner = runner
        self._slots = slots
        self._graph: Any = None
        self.graph_refused: str | None = None
        """Why the work could not be captured as one graph; it is enqueued piece by piece then."""

    def enqueue(self) -> None:
        """Enqueue the work on all frames, piece by piece."""
        for step in ("upload", "pre"):
            for slot in self._slots:
                slot.steps[step]()
        self._runner.enqueue()
        for step in ("post", "download"):
            for slot in self._slots:
                slot.steps[step]()

    def capture(self) -> None:
        """Make one graph of it. It must have been enqueued once before: TensorRT sets itself up then."""
        if not self._runner.capturable:
            self.graph_refused = "the network can't be part of a CUDA graph here"
            return
        try:
            self._graph = self._gpu.capture(self.enqueue)
        except EngineError as error:
            self.graph_refused = str(error)

    def run(self, frames: Sequence[Frame], stages: Sequence[dict[str, float]]) -> list[Decoded | Exception]:
        """Segment a frame in each slot; what is wrong with one alone (FrameError, NotFiniteError) stands in its place.

        Puts milliseconds into `stages` of each; `gpu` is the time of all together. Raises EngineError when the GPU
        fails.
        """
        results: list[Decoded | Exception | None] = [None] * len(frames)
        for i, slot in enumerate(self._slots):
            with stage(stages[i], "copy_in"):
                try:
                    slot.put(frames[i])
                except FrameError as error:  # whatever the slot still holds runs, and is not looked at
                    results[i] = error
        with ExitStack() as timed:
            for one in stages:
                timed.enter_context(stage(one, "gpu"))
            if self._graph is not None:
                self._gpu.replay(self._graph)
            else:
                self.enqueue()
            self._gpu.synchronise()
        for i, slot in enumerate(self._slots):
            with stage(stages[i], "copy_out"):
                try:
                    results[i] = results[i] or slot.take()
                except NotFiniteError as error:
                    results[i] = error
        return [result for result in results if result is not None]

    def close(self) -> None:
        """Give back the graph; the memory is its owner's."""
        if self._graph is not None:
            self._gpu.give_back(self._graph)
            self._graph = None
