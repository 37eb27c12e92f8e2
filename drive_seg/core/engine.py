"""What the segmenter asks of a runtime. The runtimes themselves are in drive_seg.runtimes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from drive_seg.core.decode import Decoded
from drive_seg.core.frame import Frame
from drive_seg.errors import DriveSegError


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


@runtime_checkable
class Engine(Protocol):
    """Runs one network on one runtime, from camera frame to decoded images.

    Resizing and decoding belong to it because a GPU does them beside the network; runtimes on the CPU share theirs in
    runtimes/host.py. One thread at a time. An engine that can tell which file it runs has `loaded`, a Loaded, too.
    """

    name: str
    """`openvino`, `tensorrt`, ..."""

    device: str
    """The processor it runs on, as its maker names it."""

    precision: str
    """What really runs: `fp32`, `bf16`, `fp16`, `int8`."""

    input_size: tuple[int, int]
    """(height, width) that the network sees."""

    def decode(self, frame: Frame, size: tuple[int, int], stages: dict[str, float]) -> Decoded:
        """Segment one frame; the images are `size` = (height, width).

        Puts the milliseconds of each stage into `stages`. Raises EngineError: then there is no result, and none is
        made up.
        """
        ...

    def readings(self) -> dict[str, str]:
        """How its processor does right now, for people: memory, temperature. Only what can be read; cheap enough to be
        asked every second. Raises EngineError.
        """
        ...

    def close(self) -> None:
        """Give back memory and threads."""
        ...
