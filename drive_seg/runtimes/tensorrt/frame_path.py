"""One frame's way through the GPU: bytes in, kernels and network, bytes out; as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from drive_seg.core.decode import Decoded, TrustModel
from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame
from drive_seg.core.stopwatch import stage
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt.gpu import Buffer, Gpu, Graph
from drive_seg.runtimes.tensorrt.intake import Intake, places, taps
from drive_seg.runtimes.tensorrt.kernels import NOT_FINITE, DecodeArguments, PrepareArguments
from drive_seg.runtimes.tensorrt.memory import ALIGNMENT, FrameMemory, Room, padded
from drive_seg.runtimes.tensorrt.tiling import THREADS, decode_tiling, prepare_tiling


class NetworkRunner(Protocol):
    """A network on the GPU: from `pixels`, fp16 (H, W, 8), to `logits`, fp16 (gh, gw, channels(classes))."""

    pixels: Buffer
    logits: Buffer
    input_size: tuple[int, int]
    logits_shape: tuple[int, int, int]
    """(classes, gh, gw)"""

    @property
    def capturable(self) -> bool:
        """Whether `enqueue` may be part of a CUDA graph: it allocates nothing and waits for nothing."""
        ...

    def enqueue(self) -> None:
        """Enqueue the network on the GPU's stream. Raises EngineError."""
        ...

    def close(self) -> None:
        """Give back memory."""
        ...


class NotFiniteError(EngineError):
    """The network gave no numbers for this frame; the next one may be fine."""


def channels(n: int) -> int:
    """Channels of a tensor with n of them in TensorRT's format HWC8: padded to a multiple of 8."""
    return -(-n // 8) * 8


class FramePath:
    """Frames of one encoding and size through one network, to results of one size.

    Use it inside `gpu.current()`.
    """

    def __init__(self, gpu: Gpu, runner: NetworkRunner, network: Network, intake: Intake, size: tuple[int, int],
                 memory: FrameMemory) -> None:
        """size: (height, width) of the results. memory: no other path may use it until this one is closed.

        Raises EngineError.
        """
        self.intake = intake
        self.size = size
        self._gpu = gpu
        self._runner = runner
        self._memory = memory
        self._graph: Graph | None = None
        self.graph_refused: str | None = None
        """Why the work could not be captured as one graph; it is enqueued piece by piece then."""
        self._lay_out(network)

    def _lay_out(self, network: Network) -> None:
        memory, runner, intake = self._memory, self._runner, self.intake
        classes, grid_height, grid_width = runner.logits_shape
        (height, width), (out_height, out_width) = runner.input_size, self.size
        trust = network.trust or TrustModel(np.zeros(classes), np.ones(classes), -np.inf)
        across, down = taps(width, intake.halved[1]), taps(height, intake.halved[0])
        across_grid, down_grid = places(out_width, grid_width), places(out_height, grid_height)
        self._before = prepare_tiling(across, down, intake)
        self._after = decode_tiling(across_grid, down_grid, (grid_height, grid_width), classes)
        packed, at = _packed([across, down, across_grid, down_grid, network.table.group_lut[:classes],
                              np.asarray(trust.mean, np.float32), np.asarray(trust.std, np.float32)])

        image_bytes, pixels = intake.rows * intake.pitch, out_height * out_width
        images_at = [padded(self._after.tiles) + i * padded(pixels) for i in range(3)]  # the reports come first
        self._used = Room(ALIGNMENT + image_bytes, images_at[2] + pixels, len(packed))
        memory.make_room(self._used, "{}x{} {}".format(*reversed(intake.size), intake.encoding))
        self._gpu.write(memory.tables, packed)
        self._gpu.fill(memory.results, 0)  # no ticket: nothing of another layout can pass for a result
        lines = memory.image.beside[ALIGNMENT: self._used.image].reshape(intake.rows, intake.pitch)
        self._image = lines[:, : intake.row_bytes]
        self._reports = memory.results.beside[: self._after.tiles]
        self._images = [memory.results.beside[start: start + pixels].reshape(self.size) for start in images_at]

        columns, rows, columns_at, rows_at, groups, mean, deviation = (memory.tables.pointer + offset for offset in at)
        self._prepare = PrepareArguments(
            memory.image.pointer + ALIGNMENT, columns, rows, runner.pixels.pointer, intake.pitch, intake.layout.step,
            *intake.layout.at, intake.layout.yuv, intake.height if intake.layout.chroma_below else 0, intake.halvings,
            intake.halved[1], intake.halved[0], width, height, self._before.width, self._before.height)
        self._decode = DecodeArguments(
            runner.logits.pointer, groups, mean, deviation, columns_at, rows_at,
            *(memory.results.pointer + start for start in images_at), memory.image.pointer, memory.results.pointer,
            network.temperature, trust.limit, classes, channels(classes), grid_width, grid_height, out_width,
            out_height, self._after.width, self._after.height)

    @property
    def steps(self) -> dict[str, Callable[[], None]]:
        """The pieces of a frame in order; each enqueues its work."""
        gpu, memory, used = self._gpu, self._memory, self._used
        return {
            "upload": lambda: gpu.upload(memory.image, used.image),
            "pre": lambda: gpu.launch("prepare", self._before.blocks, THREADS, self._prepare, self._before.shared),
            "network": self._runner.enqueue,
            "post": lambda: gpu.launch("decode", self._after.blocks, THREADS, self._decode, self._after.shared),
            "download": lambda: gpu.download(memory.results, used.results),
        }

    def enqueue(self) -> None:
        """Enqueue a whole frame, piece by piece."""
        for step in self.steps.values():
            step()

    def capture(self) -> None:
        """Make one graph of a frame. It must have been enqueued once before: TensorRT sets itself up then."""
        if not self._runner.capturable:
            self.graph_refused = "the network can't be part of a CUDA graph here"
            return
        try:
            self._graph = self._gpu.capture(self.enqueue)
        except EngineError as error:
            self.graph_refused = str(error)

    def put(self, frame: Frame) -> None:
        """Copy a frame's bytes to where the GPU takes them from."""
        np.copyto(self._image, self.intake.pixels(frame))
        self._memory.ticket = self._memory.ticket % (NOT_FINITE - 1) + 1
        self._memory.image.beside[0] = self._memory.ticket

    def compute(self) -> None:
        """Run what `put` left, and wait. Raises EngineError."""
        if self._graph is not None:
            self._graph.launch()
        else:
            self.enqueue()
        self._gpu.synchronise()

    def take(self) -> Decoded:
        """Copy out the results of `compute`. Raises NotFiniteError, and EngineError when they are not this frame's."""
        overflow = self._reports == NOT_FINITE
        if not (overflow | (self._reports == self._memory.ticket)).all():
            raise EngineError("the GPU left results of an earlier frame")
        if overflow.any():
            raise NotFiniteError("the network gave logits that are not finite numbers (overflow?)",
                                 "export it again, the fp16 report says which layers must stay fp32")
        return Decoded(*(image.copy() for image in self._images))

    def run(self, frame: Frame, stages: dict[str, float]) -> Decoded:
        """Segment one frame. Puts the milliseconds of copy_in, gpu and copy_out into `stages`. Raises EngineError."""
        with stage(stages, "copy_in"):
            self.put(frame)
        with stage(stages, "gpu"):
            self.compute()
        with stage(stages, "copy_out"):
            return self.take()

    def poison(self, byte: int) -> None:
        """Set all results to a byte, so that one that isn't written shows."""
        self._gpu.fill(self._memory.results, byte)

    def close(self) -> None:
        """Give back the graph; the memory is its owner's."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None


def _packed(tables: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """The tables' bytes one after the other, and where each begins."""
    at = [0]
    for table in tables:
        at.append(at[-1] + padded(table.nbytes))
    packed = np.zeros(at.pop(), np.uint8)
    for table, start in zip(tables, at, strict=True):
        packed[start: start + table.nbytes] = np.ascontiguousarray(table).view(np.uint8)
    return packed, at
