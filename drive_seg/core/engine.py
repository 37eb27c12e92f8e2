"""What the rest of the package asks of a runtime. The runtimes themselves are in drive_seg.runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np

from drive_seg.core.classes import ClassTable
from drive_seg.core.decode import Decoded
from drive_seg.core.frame import Frame
from drive_seg.errors import DriveSegError

if TYPE_CHECKING:
    from drive_seg.core.health.network import Typical

_Engine = TypeVar("_Engine", bound="Engine")

LogFunction = Callable[[str], object]
"""Takes one line of text at a time, as a logger does; what it returns does not count."""


class EngineError(DriveSegError, RuntimeError):
    """A runtime that can't run here, or failed on a frame; the message names the fix."""


@dataclass(frozen=True)
class Loaded:
    """What an engine really runs. file: its name, which may be another than the network's (an int8 version, a plan).
    sha256: of that file. runtime: the library and its version.
    """

    file: str
    sha256: str
    runtime: str


class NetworkInfo(Protocol):
    """What an engine knows of the network that it runs; drive_seg.network.Network has it."""

    @property
    def name(self) -> str:
        """As its author called it."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its ONNX file."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) that it was made for, in pixels; an engine may run it at another size."""

    @property
    def table(self) -> ClassTable:
        """Its classes."""

    @property
    def typical(self) -> Typical | None:
        """Statistics of the pictures that it learnt from; None where it does not say."""


@runtime_checkable
class Engine(Protocol):
    """Runs one network on one runtime, from camera frame to decoded images. One thread at a time.

    Resizing and decoding belong to it because a GPU does them beside the network; runtimes on the CPU share theirs in
    runtimes/host.py. Use as a context manager, or call `close`. How to add one: docs/new_runtime.md.
    """

    name: str
    """`openvino`, `tensorrt`, ..."""

    device: str
    """The processor it runs on, as its maker names it."""

    on_cpu: bool
    """Whether it computes on the cores of this machine: then several engines of few threads do more frames a second
    than one of many."""

    precision: str
    """What really runs: `fp32`, `bf16`, `fp16`, `int8`."""

    input_size: tuple[int, int]
    """(height, width) that the network sees, in pixels."""

    batches: tuple[int, ...] = (1,)
    """Numbers of frames that it runs at once, ascending, from 1. More than 1 only where that is faster than one after
    the other, as on a GPU, and where `readings` may be asked from any thread."""

    network: NetworkInfo
    """What it runs."""

    loaded: Loaded
    """The file and the library that it runs it with."""

    def decode(self, frame: Frame, size: tuple[int, int], stages: dict[str, float]) -> Decoded:
        """Segment one frame; the images are `size` = (height, width) in pixels.

        Puts the milliseconds of each stage into `stages`. Raises EngineError: then there is no result, and none is
        made up.
        """
        ...

    def decode_batch(self, frames: Sequence[Frame], sizes: Sequence[tuple[int, int]],
                     stages: Sequence[dict[str, float]]) -> list[Decoded | Exception]:
        """Segment as many frames as one of `batches` has, at once; for the arguments, one for each frame, see `decode`.

        What is wrong with one frame alone stands in the place of its result. Raises EngineError when the engine failed:
        then no frame has a result.
        """
        results: list[Decoded | Exception] = []
        for frame, size, one in zip(frames, sizes, stages, strict=True):
            try:
                results.append(self.decode(frame, size, one))
            except Exception as error:
                results.append(error)
        return results

    def infer(self, image: np.ndarray) -> np.ndarray:
        """The network alone, to measure and to fit: an image (h, w, 3) uint8 RGB of input_size -> logits (C, gh, gw)
        float32, valid until the next call.

        Raises EngineError, always so on a runtime that has no such way: a GPU does a whole frame as one piece of work.
        """
        raise EngineError(f"{self.name} does not run the network without the rest of a frame",
                          "take an engine on the CPU: openvino, onnxruntime")

    def warm_up(self, frames: int = 1) -> None:
        """Run on noise, so that the first frame of a camera finds all that is compiled and set up. Raises EngineError.
        """
        noise = Frame.from_array(np.random.default_rng(0).integers(0, 256, (*self.input_size, 3), np.uint8))
        for _ in range(frames):
            self.decode(noise, self.input_size, {})
            for batch in self.batches[1:]:
                self.decode_batch([noise] * batch, [self.input_size] * batch, [{} for _ in range(batch)])

    def readings(self) -> dict[str, str]:
        """How its processor does right now, for people: memory, temperature. Only what can be read; cheap enough to be
        asked every second. Raises EngineError.
        """
        ...

    def close(self) -> None:
        """Give back memory and threads. Safe to call twice."""
        ...

    def __enter__(self: _Engine) -> _Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        self.close()
