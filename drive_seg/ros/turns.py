"""Whose frame is next on the engines that several cameras share, and which frames go through one together.

Start-time fair queueing (Goyal, Vin, Cheng: IEEE/ACM Transactions on Networking, 1997) with one frame as the unit of
work: each camera gets turns in the ratio of the weights of those that want one. A camera that wants none saves nothing
up, and one that wants many takes none from the others.

An engine that runs several frames at once, on a GPU, is given to as many of the cameras that have a frame just then,
and each is charged its turn as if it were alone. Nobody waits for a frame that is not there yet.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drive_seg.core.decode import Decoded
from drive_seg.core.engine import Engine, EngineError
from drive_seg.core.frame import Frame

_CREDIT = 1.0
"""Turns that a camera may be behind and still catch up: its next frame may come just after another got its turn."""

_LEAD = 1.0 + 1e-9
"""Turns that a camera may be ahead of the one most behind and still go with it: beyond, weights would not hold."""

_PATIENCE = 0.02
"""Seconds for which those in a batch wait for a camera that has a frame and is still publishing the one before."""

_REMEMBERED = 10.0
"""Seconds after which a batch's time counts no more: one that took too long is tried again."""


class Turn:
    """One camera's place at the engines. Turns.join makes it."""

    def __init__(self, turns: Turns, weight: float, order: int) -> None:
        self.weight = weight
        self._turns, self._order = turns, order
        self._start = self._finish = 0.0  # in turns at weight 1
        self._granted: _Batch | None = None
        self._here = False  # it is in its turn, or waits for it

    def ask(self) -> None:
        """Queue for the next turn, without waiting. May be called twice."""
        self._turns._ask(self)

    def take(self) -> Engine:
        """Wait until it is this camera's turn. Returns the engine, which is its own until `end`, but for the cameras
        whose turn it is too: so frames go through it by `decode`."""
        return self._turns._take(self)

    def decode(self, engine: Engine, frame: Frame, size: tuple[int, int], stages: dict[str, float]) -> Decoded:
        """In this camera's turn: what an engine says of a frame, for which see Engine.decode. The frames of all whose
        turn it is go through at once, when each has brought its own or ended its turn.

        engine: the one that `take` gave, or another that is free for it.
        """
        return self._turns._decode(self, engine, frame, size, stages)

    def end(self, again: bool = False) -> None:
        """Hand the engine to whoever is next, and queue again at once where this camera has its next frame already:
        else of engines that end together one would go to whoever happens to ask first. May be called twice."""
        self._turns._end(self, again)

    def leave(self) -> None:
        """Give back the engine, and queue no more."""
        self._turns._leave(self)


@dataclass(eq=False)
class _Work:
    """A frame, and what came of it."""

    engine: Engine
    frame: Frame
    size: tuple[int, int]
    stages: dict[str, float]
    result: Decoded | BaseException | None = None


class _Batch:
    """Turns that have an engine together. absent: those that may still bring a frame. since: seconds of the clock."""

    def __init__(self, engine: Engine, turns: Sequence[Turn], since: float) -> None:
        self.engine, self.turns, self.absent, self.since = engine, set(turns), set(turns), since
        self.work: list[_Work] = []


class Turns:
    """Hands the engines of a model to cameras, a frame at a time or a batch of them. Any thread may call."""

    def __init__(self, engines: Sequence[Engine], budget: float | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """budget: seconds from receiving a frame to its result; None for no limit. A frame may have to wait for the
        batch before its own, so each may take half of it. clock: gives seconds."""
        self._free = list(engines)[::-1]
        self._limit, self._clock = budget and budget / 2, clock
        self._took: defaultdict[int, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=15))
        """Seconds that the last batches took, and when, by their size."""
        self._condition = threading.Condition()
        self._waiting: list[Turn] = []
        self._granted: set[Turn] = set()
        self._now = 0.0  # virtual time: start of the turn that is most behind
        self._joined = 0

    def join(self, weight: float = 1.0) -> Turn:
        """A place for a camera. Of two that are equally due the one that joined first is next."""
        with self._condition:
            self._joined += 1
            return Turn(self, weight, self._joined)

    def _ask(self, turn: Turn) -> None:
        with self._condition:
            self._queue(turn)
            self._grant()

    def _take(self, turn: Turn) -> Engine:
        with self._condition:
            turn._here = True
            self._queue(turn)
            self._grant()
            self._wait_for(lambda: turn._granted is not None)
            assert turn._granted is not None
            return turn._granted.engine

    def _wait_for(self, done: Callable[[], bool]) -> None:
        """Wait, but not long for cameras that do not come to a batch that they are in: their turn comes later."""
        while not self._condition.wait_for(done, _PATIENCE):
            for turn in [turn for turn in self._granted if not turn._here]:
                batch = turn._granted
                if batch and batch.engine.batches != (1,) and self._clock() - batch.since >= _PATIENCE:
                    turn._finish = turn._start
                    self._release(turn)
            self._grant()

    def _decode(self, turn: Turn, engine: Engine, frame: Frame, size: tuple[int, int],
                stages: dict[str, float]) -> Decoded:
        batch, work = turn._granted, _Work(engine, frame, size, stages)
        assert batch is not None
        if batch.engine.batches == (1,):
            return engine.decode(frame, size, stages)
        with self._condition:
            batch.work.append(work)
            batch.absent.discard(turn)
            self._condition.notify_all()
            leads = batch.work[0] is work
            self._wait_for(lambda: not batch.absent if leads else work.result is not None)
        if leads:
            self._run(batch.work)
        if isinstance(work.result, Decoded):
            return work.result
        assert work.result is not None
        raise work.result

    def _run(self, waiting: Sequence[_Work]) -> None:
        """Run the frames that came, in the largest batches that there are for so many."""
        while waiting:
            engine = waiting[0].engine
            same = [work for work in waiting if work.engine is engine]
            works = same[:max(size for size in engine.batches if size <= len(same))]
            start = self._clock()
            results: Sequence[Decoded | BaseException]
            try:
                results = engine.decode_batch([work.frame for work in works], [work.size for work in works],
                                              [work.stages for work in works])
                if len(results) != len(works):
                    raise EngineError(f"{engine.name} gave {len(results)} results for {len(works)} frames")
            except BaseException as error:  # each camera says so; none may wait for ever
                results = [error] * len(works)
            with self._condition:
                self._took[len(works)].append((self._clock() - start, start))
                for work, result in zip(works, results, strict=True):
                    work.result = result
                self._condition.notify_all()
            waiting = [work for work in waiting if work not in works]

    def _end(self, turn: Turn, again: bool) -> None:
        with self._condition:
            if turn._granted is not None:
                self._release(turn)
                if again:
                    self._queue(turn)
                self._grant()

    def _leave(self, turn: Turn) -> None:
        with self._condition:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if turn._granted is not None:
                self._release(turn)
                self._grant()

    def _release(self, turn: Turn) -> None:
        batch = turn._granted
        assert batch is not None
        turn._granted, turn._here = None, False
        self._granted.discard(turn)
        batch.turns.discard(turn)
        batch.absent.discard(turn)
        if not batch.turns:
            self._free.append(batch.engine)
        self._condition.notify_all()

    def _queue(self, turn: Turn) -> None:
        if turn._granted is None and turn not in self._waiting:
            turn._start = max(self._now - _CREDIT, turn._finish)
            self._waiting.append(turn)

    def _grant(self) -> None:
        while self._free and self._waiting:
            engine = self._free.pop()
            due = sorted(self._waiting, key=lambda t: (t._start, t._order))
            due = [turn for turn in due if turn._start <= due[0]._start + _LEAD]
            due = due[:max(size for size in engine.batches if size <= len(due) and self._in_time(size))]
            batch = _Batch(engine, due, self._clock())
            for turn in due:
                self._waiting.remove(turn)
                self._granted.add(turn)
                self._now = max(self._now, min(t._start for t in (*self._granted, *self._waiting)))
                turn._finish = turn._start + 1 / turn.weight
                turn._granted = batch
            self._condition.notify_all()

    def _in_time(self, size: int) -> bool:
        """Whether a batch is expected to keep the limit; one frame always may try."""
        if size == 1 or self._limit is None:
            return True
        took = [seconds for seconds, at in self._took[size] if self._clock() - at <= _REMEMBERED]
        return not took or statistics.median(took) <= self._limit
