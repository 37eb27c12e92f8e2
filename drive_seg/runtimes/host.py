"""What runtimes on the CPU share: resize, infer, decode, one after the other in host memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

import numpy as np

from drive_seg.core.decode import Decoded, Decoder
from drive_seg.core.engine import Engine, EngineError
from drive_seg.core.frame import Frame
from drive_seg.core.resize import network_input
from drive_seg.core.stopwatch import stage
from drive_seg.network import Network
from drive_seg.runtimes import sensors
from drive_seg.runtimes.form import check_shape, check_values, shown


class HostEngine(Engine, ABC):
    """Base of the CPU runtimes: a subclass loads the network and turns network images into logits.

    It sets `name`, `device`, `precision` and `loaded`, gives `infer`, which takes its logits from `result`, and calls
    `warm_up` when it is ready.
    """

    on_cpu = True

    def __init__(self, network: Network, input_size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        """input_size: (height, width) other than the network's own. threads: of inference and decoding."""
        self.network = network
        self.input_size = input_size or network.input_size
        self.threads = threads or len(os.sched_getaffinity(0))
        self.decoder = Decoder(network.table, temperature=network.temperature, trust=network.trust,
                               threads=min(self.threads, 4))

    @abstractmethod
    def infer(self, image: np.ndarray) -> np.ndarray:
        """See drive_seg.core.engine.Engine.infer."""

    def result(self, output: np.ndarray) -> np.ndarray:
        """The logits (C, gh, gw) in what the network gave, (1, C, gh, gw). Raises EngineError for another form."""
        check_shape(self.network, output.shape)
        return output[0]

    def warm_up(self, frames: int = 1) -> None:
        """See drive_seg.core.engine.Engine.warm_up. Also raises EngineError for a network that gives no logits."""
        super().warm_up(frames)
        check_values(self.network, self.infer(np.ascontiguousarray(shown(self.input_size)[:, :, ::-1])))

    def decode(self, frame: Frame, size: tuple[int, int], stages: dict[str, float]) -> Decoded:
        """See drive_seg.core.engine.Engine.decode."""
        with stage(stages, "resize"):
            image = network_input(frame, self.input_size)
        with stage(stages, "infer"):
            logits = self.infer(image)
        with stage(stages, "decode"):
            try:
                return self.decoder.decode(logits, size)
            except ValueError as error:
                raise EngineError(str(error)) from error

    def readings(self) -> dict[str, str]:
        """See drive_seg.core.engine.Engine.readings."""
        return sensors.readings(process=sensors.resident_memory(), degrees=sensors.temperature(sensors.CPU_ZONES))

    def close(self) -> None:
        """Give back the threads."""
        self.decoder.close()
