"""All checks of one camera's results together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from drive_seg.core.frame import Frame
from drive_seg.core.health import coverage, lens, sparse
from drive_seg.core.health.camera import CameraHealth, CameraLimits
from drive_seg.core.health.failures import Failures
from drive_seg.core.health.latency import LatencyHealth
from drive_seg.core.health.network import NetworkHealth, Typical
from drive_seg.core.health.output import OutputHealth
from drive_seg.core.health.status import Health, Level, Status, summarise
from drive_seg.core.segmentation import Segmentation

FOLLOWS = 0.5
"""Seconds between frames of which one still says something about the other."""


class Monitor:
    """Collects what happens to frames and says what it means. Any thread may call.

    Times are seconds of one clock. Where that is set back by more than a second, as with use_sim_time and a bag
    in a loop, what remembers times or frames starts again.
    """

    _CLOCK_JUMP = 1.0  # seconds back; less is a thread that read the clock and then had to wait
    _READINGS_LAST = 5.0  # seconds for which what was read of the engine's processor is shown
    _IDLE_LOOK = 0.2  # seconds between looks at images that nobody uses

    def __init__(self, *, limits: CameraLimits | None = None, budget: float | None = None,
                 typical: Typical | None = None, ego: np.ndarray | None = None, engine: dict[str, str] | None = None,
                 now: float | None = 0.0) -> None:
        """engine: what the engine's status shows, by name. For the others see the checks."""
        self.camera = CameraHealth(limits, start=now, ego=ego)
        self.latency = LatencyHealth(budget)
        self.network = NetworkHealth(typical)
        self.output = OutputHealth()
        self._engine = dict(engine or {})
        self._readings: dict[str, str] = {}
        self._read_at = -np.inf
        self._reduced = ""
        self._failures = {"camera": Failures("camera"), "engine": Failures("engine"),
                          "geometry": Failures("geometry", grave=False)}
        self._frame_done = self._no_ground = False  # of the frame that arrived last: has a result, lacks its ground
        self.follows = False
        """Whether the frame that arrived last follows on the one segmented before it. Else what remembers frames must
        start again: time jumped, it was long ago, or frames between were not believed."""
        self._used_at = -np.inf  # a result was made
        self._looked_at = -np.inf
        self._segmented_at = -np.inf  # when the frame of the newest result was looked at
        self._newest = -np.inf  # of all times given
        self._lock = threading.Lock()
        lens.warm_up()
        coverage.warm_up()
        sparse.warm_up()

    def received(self, now: float) -> None:
        """An image came, whatever becomes of it. Quick: for the thread that receives every one."""
        with self._at(now):
            self.camera.received(now)

    def set_timeouts(self, *, camera: float, frozen: float) -> None:
        """For how many seconds no image may come from now on, and for how many the same one; 0 allows still images."""
        with self._lock:
            self.camera.limits = replace(self.camera.limits, timeout=camera, frozen=frozen)

    def silence(self, now: float) -> float:
        """Seconds without an image."""
        with self._at(now):
            return self.camera.silence(now)

    def arrived(self, frame: Frame, stamp: float, now: float) -> bool:
        """A received frame is to be segmented, or only looked at. Returns whether the camera can be believed."""
        with self._at(now):
            self._failures["camera"].succeeded()
            if self._frame_done and not self._no_ground:
                self._failures["geometry"].succeeded()
            self._frame_done = self._no_ground = False
            self.camera.observe(frame, stamp, now)
            if self.camera.jumped:
                self.output.reset()
            self.follows = not self.camera.jumped and 0 <= now - self._segmented_at <= FOLLOWS
            self._looked_at = now
            believed = self.camera.level(now) < Level.ERROR
            if not believed:
                self._segmented_at = -np.inf
            return believed

    def idle(self, now: float) -> bool:
        """Nobody needs a received frame. Returns whether it should be looked at (by `arrived`) all the same."""
        with self._at(now):
            return not 0 <= now - self._looked_at < self._IDLE_LOOK

    def finished(self, result: Segmentation, took: float, drops: int, now: float) -> None:
        """A frame was segmented and its masks published. took: seconds since it was received."""
        with self._at(now):
            self._failures["engine"].succeeded()
            self._frame_done = True
            self.latency.observe(took, drops, now)
            self.network.observe(result.labels, result.confidence, now)
            self.output.observe(result.labels, result.drivable, now)
            self._used_at, self._segmented_at = now, self._looked_at

    def read(self, readings: dict[str, str], now: float) -> None:
        """What could be read of the engine's processor; shown for a few seconds."""
        with self._at(now):
            self._readings, self._read_at = dict(readings), now

    def use_engine(self, input_size: str) -> None:
        """Another input size of the network is used from now on, to keep the latency budget."""
        with self._lock:
            self._engine["input"] = input_size
            self._reduced = input_size
            self.latency.restart()

    def failed(self, check: str, reason: str, fix: str, now: float) -> None:
        """A frame failed. check: `camera`, `engine` or `geometry`."""
        with self._at(now):
            self._failures[check].failed(reason, fix, now)
            self._no_ground |= check == "geometry"

    def statuses(self, now: float) -> list[Status]:
        """One status a check, at this time."""
        with self._at(now):
            fresh = 0 <= now - self._read_at < self._READINGS_LAST
            engine = Status("engine", values=self._engine | (self._readings if fresh else {}))
            if self._reduced:
                engine = Status("engine", Level.WARN, f"the network sees only {self._reduced} to keep the latency"
                                " budget", "free the machine, then deactivate and activate the node", engine.values)
            out = [self._failures[status.name].added_to(status, now)
                   for status in (self.camera.status(now), engine, Status("geometry"))]
            if now - self._used_at < 2.0:  # else nothing is computed, and there is nothing to say
                out += [self.latency.status(now), self.network.status(now), self.output.status(now)]
            else:
                out += [Status(name) for name in ("latency", "network", "output")]
            return out

    def state(self, now: float) -> tuple[Health, tuple[str, ...]]:
        """READY, DEGRADED or FAULT, and the reasons."""
        return summarise(self.statuses(now))

    @contextmanager
    def _at(self, now: float) -> Iterator[None]:
        with self._lock:
            if now < self._newest - self._CLOCK_JUMP:
                self._restart(self._newest - now, now)
            self._newest = max(self._newest, now)
            yield

    def _restart(self, back: float, now: float) -> None:
        self.camera.restart(back, now)
        self.latency.restart()
        self.output.reset()
        for failures in self._failures.values():
            failures.restart()
        self._read_at = self._used_at = self._looked_at = self._segmented_at = self._newest = -np.inf
