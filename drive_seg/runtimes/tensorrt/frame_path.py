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
from drive_seg.runtimes.tensorrt.gpu import Buffer, Gpu
from drive_seg.runtimes.tensorrt.intake import Intake, places, taps
from drive_seg.runtimes.tensorrt.kernels import NOT_FINITE, DecodeArguments, PrepareArguments
from drive_seg.runtimes.tensorrt.tiling import THREADS, tiling

_BLOCK = (32, 4)
_ALIGNMENT = 256


class NetworkRunner(Protocol):
    """A network on the GPU: fp16 planes (3, H, W) in `planes`, fp16 logits (C, gh, gw) in `logits`."""

    planes: Buffer
    logits: Buffer
    input_size: tuple[int, int]
    logits_shape: tuple[int, int, int]

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


class FramePath:
    """Frames of one encoding and size through one network, to results of one size. Allocates everything when made.

    Use it inside `gpu.current()`.
    """

    def __init__(self, gpu: Gpu, runner: NetworkRunner, network: Network, intake: Intake,
                 size: tuple[int, int]) -> None:
        """size: (height, width) of the results. Raises EngineError."""
        self.intake = intake
        self.size = size
        self._gpu = gpu
        self._runner = runner
        self._ticket = 0
        self._buffers: list[Buffer] = []
        self._graph = None
        self.graph_refused: str | None = None
        """Why the work could not be captured as one graph; it is enqueued piece by piece then."""
        try:
            self._allocate(network)
        except BaseException:
            self.close()
            raise

    def _allocate(self, network: Network) -> None:
        gpu, runner, intake = self._gpu, self._runner, self.intake
        classes, grid_height, grid_width = runner.logits_shape
        (height, width), (out_height, out_width) = runner.input_size, self.size
        trust = network.trust or TrustModel(np.zeros(classes), np.ones(classes), -np.inf)

        image_bytes = intake.rows * intake.row_bytes
        self._input = self._keep(gpu.allocate(_padded(image_bytes) + _ALIGNMENT, host=True))
        self._image = self._input.host[:image_bytes].reshape(intake.rows, intake.row_bytes)
        ticket = self._input.pointer + _padded(image_bytes)
        pixels = out_height * out_width
        columns, rows = places(out_width, grid_width), places(out_height, grid_height)
        self._tiling = tiling(columns, rows, (grid_height, grid_width), classes)
        offsets = [i * _padded(pixels) for i in range(4)]
        self._output = self._keep(gpu.allocate(offsets[3] + self._tiling.tiles, host=True))
        host, pointer = self._output.host, self._output.pointer
        self._images = [host[at: at + pixels].reshape(self.size) for at in offsets[:3]]
        self._reports = host[offsets[3]: offsets[3] + self._tiling.tiles]

        def constant(values) -> int:
            return self._keep(gpu.constant(values)).pointer

        self._prepare = PrepareArguments(
            self._input.pointer, constant(taps(width, intake.halved[1])), constant(taps(height, intake.halved[0])),
            runner.planes.pointer, intake.row_bytes, intake.height, intake.halved[1], intake.halved[0], width, height,
            intake.halvings)
        self._decode = DecodeArguments(
            runner.logits.pointer, constant(network.table.group_lut[:classes]),
            constant(np.asarray(trust.mean, np.float32)), constant(np.asarray(trust.std, np.float32)),
            constant(columns), constant(rows), *(pointer + at for at in offsets[:3]), ticket, pointer + offsets[3],
            network.temperature, trust.limit, classes, grid_width, grid_height, out_width, out_height,
            self._tiling.width, self._tiling.height)

    def _keep(self, buffer: Buffer) -> Buffer:
        self._buffers.append(buffer)
        return buffer

    @property
    def steps(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        """The pieces of a frame in order, by name; each enqueues its work."""
        return (("upload", lambda: self._gpu.upload(self._input)), ("pre", self._enqueue_pre),
                ("network", self._runner.enqueue), ("post", self._enqueue_post),
                ("download", lambda: self._gpu.download(self._output)))

    def _enqueue_pre(self) -> None:
        a = self._prepare
        self._gpu.launch(self.intake.kernel, _grid(a.width, a.height, *_BLOCK), _BLOCK, a)

    def _enqueue_post(self) -> None:
        self._gpu.launch("decode_tiles", self._tiling.blocks, (THREADS, 1), self._decode, self._tiling.shared)

    def enqueue(self) -> None:
        """Enqueue a whole frame, piece by piece."""
        for _, step in self.steps:
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
        pixels = self.intake.pixels(frame)
        packed = self._image if pixels.ndim == 2 else self._image.reshape(*pixels.shape[:2], -1)
        np.copyto(packed, pixels[:, : packed.shape[1]])
        self._ticket = self._ticket % (NOT_FINITE - 1) + 1
        self._input.host[-_ALIGNMENT] = self._ticket

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
        if not (overflow | (self._reports == self._ticket)).all():
            raise EngineError("the GPU left results of an earlier frame")
        if overflow.any():
            raise NotFiniteError("the network gave logits that are no finite numbers (overflow?): export it again, the"
                                 " fp16 report says which layers must stay fp32")
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
        self._gpu.fill(self._output, byte)

    def close(self) -> None:
        """Give back graph and memory."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None
        for buffer in self._buffers:
            self._gpu.free(buffer)
        self._buffers = []


def _grid(width: int, height: int, across: int, down: int) -> tuple[int, int]:
    return -(-width // across), -(-height // down)


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
