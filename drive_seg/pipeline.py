"""From settings to segmented frames: what node, offline replay, the commands and Python all do with a frame.

`Model` is a network, open on its engine: several cameras may share it. `Pipeline` is one camera's way through it: may
this frame be believed, segment it, and what does that tell about health.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from drive_seg.core.decode import Decoded
from drive_seg.core.engine import Engine, EngineError, LogFunction
from drive_seg.core.frame import Frame
from drive_seg.core.health.failures import failure
from drive_seg.core.health.monitor import FOLLOWS, Monitor
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import SelfTestError, check_answer
from drive_seg.core.temporal import TemporalFilter
from drive_seg.errors import ParameterError
from drive_seg.image_file import EgoMaskError, read_ego_mask
from drive_seg.network import STRIDE, Network, NetworkError, fits_stride
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine
from drive_seg.settings import Settings

CANNOT_OPEN = (ParameterError, NetworkError, EngineError, SelfTestError, EgoMaskError)
"""What Model.open and Pipeline raise; each names the fix."""

_ENGINES = 4  # on a CPU, at most: each takes some hundred MB
_SPARES = (0.75, 0.5)  # shares of the input size
_READ_EVERY = 1.0  # seconds between readings of the engine's memory and temperature
_PATIENCE = 1.0  # seconds of missed budget before a spare engine is used


def _nobody(line: str) -> None:
    pass


class Model:
    """A network, open on its engine and checked with its self-test. Use as a context manager, or call `close`.

    engines: that run it, one frame at a time each; the first is `engine`. spares: the same network at smaller input
    sizes, the larger first, for a latency budget.
    """

    def __init__(self, network: Network, engines: list[Engine], spares: list[Engine]) -> None:
        self.network, self.engines, self.spares = network, engines, spares

    @classmethod
    def open(cls, settings: Settings, *, cores: int | None = None, several: bool = False, most: int = _ENGINES,
             cameras: int = 1, progress: LogFunction = _nobody, warn: LogFunction = _nobody) -> Model:
        """Open what the settings ask for; where that takes long, `progress` gets lines meanwhile.

        several: on a CPU open engines of few threads for several frames at a time, which together are faster than one
        of many; `most` at most. cores: for the engines to use, by default all that this process may. cameras: whose
        frames may wait together, for engines that run batches. warn: gets a line for each smaller input size that can't
        be had. Raises NetworkError, EngineError or SelfTestError.
        """
        network = Network.load(settings.network or default_network())
        if settings.strictness != 1:
            network = network.with_strictness(settings.strictness)
        available = cores or len(os.sched_getaffinity(0))
        count = min(available, most, _ENGINES) if several else 1
        threads = available // count if several or cores else None
        engines = [_open(settings, network, settings.input_size, threads, progress, cameras)]
        model = cls(network, engines, [])
        # What `auto` found is what the others are, too. Its precision is left to `auto` again, which finds the same: it
        # may be one that can't be asked for by name (OpenVINO's fp16 on ARM).
        found = replace(settings, engine=engines[0].name)
        try:
            _check(network, engines[0])
            while len(engines) < count and engines[0].on_cpu:
                engines.append(_open(found, network, settings.input_size, threads, progress))
            if settings.latency_budget:
                model._open_spares(replace(settings, engine=found.engine), progress, warn, cameras)
        except BaseException:
            model.close()
            raise
        return model

    def _open_spares(self, settings: Settings, progress: LogFunction, warn: LogFunction, cameras: int) -> None:
        for share in _SPARES:
            height, width = (max(STRIDE, round(side * share / STRIDE) * STRIDE) for side in self.engine.input_size)
            try:
                self.spares.append(_open(settings, self.network, (height, width), None, progress, cameras))
                _check(self.network, self.spares[-1])
            except SelfTestError as error:
                self.spares.pop().close()
                warn(f"{width}x{height} is not prepared for the latency budget: {error}")
            except EngineError as error:
                warn(f"no smaller input size is prepared for the latency budget: {error}")
                return

    @property
    def engine(self) -> Engine:
        """The engine at the full input size."""
        return self.engines[0]

    @property
    def facts(self) -> dict[str, str]:
        """For people: engine, precision, device, network and input."""
        height, width = self.engine.input_size
        return {"engine": self.engine.name, "precision": self.engine.precision, "device": self.engine.device,
                "network": self.network.name, "input": f"{width}x{height}"}

    def close(self) -> None:
        """Give back memory and threads."""
        for engine in (*self.spares, *self.engines):
            engine.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Answer:
    """What there is to publish of one frame.

    segmentation: the result; all unknown where the frame can't be believed or failed and the settings want that, else
    None. believed: the camera can be. error: what failed on the frame.
    """

    segmentation: Segmentation | None
    believed: bool = True
    error: Exception | None = None

    @property
    def sound(self) -> Segmentation | None:
        """The result where it is what the network says of a frame that can be believed, else None."""
        return self.segmentation if self.believed and self.error is None else None


class Pipeline:
    """One camera's frames: judged, segmented, and watched over. One thread at a time, but for `monitor` and `use`."""

    def __init__(self, settings: Settings, model: Model, *, ego: np.ndarray | None = None) -> None:
        """model: stays its owner's. ego: (h, w) of any size, non-zero where the camera sees the vehicle itself, where
        the settings name no file. Raises EgoMaskError for a file that can't be read.
        """
        self.settings, self.model = settings, model
        self.ego = read_ego_mask(settings.ego_mask) if settings.ego_mask else ego
        self.segmenter = Segmenter(model.engine, model.network.table, settings.rule, self.ego, model.network.surface)
        self._own: Model | None = None
        self.start()

    @classmethod
    def open(cls, settings: Settings, *, ego: np.ndarray | None = None, progress: LogFunction = _nobody,
             warn: LogFunction = _nobody) -> Pipeline:
        """A pipeline with a model of its own, which `close` gives back; or use it as a context manager.

        For the arguments see Model.open and Pipeline. Raises one of CANNOT_OPEN.
        """
        settings.check_files()
        model = Model.open(settings, progress=progress, warn=warn)
        try:
            pipeline = cls(settings, model, ego=ego)
        except BaseException:
            model.close()
            raise
        pipeline._own = model
        return pipeline

    def start(self, now: float | None = None) -> None:
        """Begin as if no frame had come before, with the full input size again.

        now: seconds of the clock from when on images are waited for; None: from the first time that is given.
        """
        self.segmenter.engine = self.model.engine
        self.segmenter.temporal = TemporalFilter() if self.settings.temporal_filter else None
        self._spares = list(self.model.spares)
        self._read_at = -np.inf
        self._stamp: float | None = None
        self.monitor = Monitor(
            limits=self.settings.limits, budget=self.settings.latency_budget / 1e3 or None,
            typical=self.model.network.typical, ego=None if self.ego is None else self.ego != 0,
            engine=self.model.facts, now=now)

    def use(self, settings: Settings) -> None:
        """Take settings whose live ones may have changed."""
        self.settings = settings
        self.segmenter.rule = settings.rule
        self.monitor.set_timeouts(camera=settings.camera_timeout, frozen=settings.frozen_timeout)

    def size_of(self, frame: Frame) -> tuple[int, int]:
        """(height, width) of a frame's results. It stays when a smaller input size is used."""
        return self.model.engine.input_size if self.settings.output_size == "network" else frame.size

    def segment(self, frame: Frame | np.ndarray, *, stamp: float | None = None, drivable: bool = True) -> Segmentation:
        """Segment a frame for its own sake, whatever health would say of it.

        frame: a Frame, or a BGR image (H, W, 3) uint8. stamp: seconds, for the temporal filter, which begins again
        where frames don't follow one another; without it each frame is on its own. Raises FrameError or EngineError.
        """
        if not isinstance(frame, Frame):
            frame = Frame.from_array(frame)
        if self.segmenter.temporal is not None:
            if stamp is None or self._stamp is None or not 0 <= stamp - self._stamp <= FOLLOWS:
                self.segmenter.temporal.reset()
            self._stamp = stamp
        return self.segmenter.segment(frame, size=self.size_of(frame), drivable=drivable)

    def look(self, frame: Frame, stamp: float, now: float) -> bool:
        """Look at a frame that was received. Returns whether the camera can be believed.

        stamp: when it was taken, now: when it is looked at; seconds. Frames in their order.
        """
        believed = self.monitor.arrived(frame, stamp, now)
        if self.segmenter.temporal is not None and not self.monitor.follows:
            self.segmenter.temporal.reset()
        return believed

    def answer(self, frame: Frame, believed: bool, *, drivable: bool = True,
               decode: Callable[[dict[str, float]], Decoded] | None = None) -> Answer:
        """What there is to publish of a frame that `look` said this of. Raises nothing but what ends a process.

        drivable: whether the drivable area is wanted. decode: gives what an engine says of the frame and puts the
        milliseconds of each stage into its argument; by default the model's engine is asked.
        """
        if not believed:
            return Answer(self._unknown(frame), believed=False)
        stages: dict[str, float] = {}
        try:
            if decode is None:
                decoded = self.segmenter.engine.decode(frame, self.size_of(frame), stages)
            else:
                decoded = decode(stages)
            return Answer(self.segmenter.complete(frame, decoded, stages, drivable=drivable))
        except Exception as error:
            return Answer(self._unknown(frame), error=error)

    def finished(self, segmentation: Segmentation, took: float, drops: int, now: float) -> None:
        """The masks of a sound answer are published. took: seconds since the frame was received. drops: frames that
        newer ones replaced so far."""
        self.monitor.finished(segmentation, took, drops, now)

    def failed(self, error: Exception, now: float) -> str:
        """A message or a frame failed. Returns the reason, for people."""
        check, reason, fix = failure(error)
        self.monitor.failed(check, reason, fix, now)
        return reason

    def keep_budget(self, now: float) -> str | None:
        """Take a smaller input size where every frame missed the latency budget for a second (see LatencyHealth).
        Returns what is to be said of that, None where nothing changes."""
        if not self._spares or self.monitor.latency.over_budget_for(now) < _PATIENCE:
            return None
        self.segmenter.engine = engine = self._spares.pop(0)
        size = f"{engine.input_size[1]}x{engine.input_size[0]}"
        self.monitor.use_engine(size)
        return (f"the latency budget was missed for {_PATIENCE:g} s: the network now sees {size}, until the node is"
                " deactivated")

    def read_engine(self, now: float) -> None:
        """Read the engine's memory and temperature, once a second. Raises EngineError.

        After a frame, because nobody waits for it, and in the thread of the frames, because an engine takes one.
        """
        if not 0 <= now - self._read_at < _READ_EVERY:
            self._read_at = now
            self.monitor.read(self.segmenter.engine.readings(), now)

    def close(self) -> None:
        """Give back the model that `open` opened."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unknown(self, frame: Frame) -> Segmentation | None:
        return Segmentation.unknown(self.size_of(frame)) if self.settings.fault_policy == "unknown" else None


def _open(settings: Settings, network: Network, size: tuple[int, int] | None, threads: int | None,
          progress: LogFunction, cameras: int = 1) -> Engine:
    folder = Path(settings.plan_folder).expanduser() if settings.plan_folder else None
    try:
        return open_engine(settings.engine, network, input_size=size, precision=settings.precision, threads=threads,
                           cameras=cameras, plan_folder=folder, progress=progress)
    except EngineError as error:
        if fits_stride(size or network.input_size):
            raise
        # Some networks take such a size (an odd one by design), so it is not an error before the engine says so.
        height, width = network.input_size
        reason, sidecar = str(error).rstrip("."), network.path.with_suffix(".yaml")
        raise EngineError(f"{reason}; the `input` of {sidecar} is {height}x{width}",
                          f"most networks need multiples of {STRIDE}, correct it or set another input size") from error


def _check(network: Network, engine: Engine) -> None:
    if network.self_test is not None:
        check_answer(Segmenter(engine, network.table), network.self_test)
