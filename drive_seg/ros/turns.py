"""Whose frame is next on the engines that several cameras share.

Start-time fair queueing (Goyal, Vin, Cheng: IEEE/ACM Transactions on Networking, 1997) with one frame as the unit of
work: each camera gets turns in the ratio of the weights of those that want one. A camera that wants none saves nothing
up, and one that wants many takes none from the others.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from drive_seg.core.engine import Engine

_CREDIT = 1.0
"""Turns that a camera may be behind and still catch up: its next frame may come just after another got its turn."""


class Turn:
    """One camera's place at the engines. Turns.join makes it."""

    def __init__(self, turns: Turns, weight: float, order: int) -> None:
        self.weight = weight
        self._turns, self._order = turns, order
        self._start = self._finish = 0.0  # in turns at weight 1
        self._granted: Engine | None = None

    def ask(self) -> None:
        """Queue for the next turn, without waiting. May be called twice."""
        self._turns._ask(self)

    def take(self) -> Engine:
        """Wait until it is this camera's turn. Returns the engine, which is its own until `end`."""
        return self._turns._take(self)

    def end(self, again: bool = False) -> None:
        """Hand the engine to whoever is next, and queue again at once where this camera has its next frame already:
        else of engines that end together one would go to whoever happens to ask first. May be called twice."""
        self._turns._end(self, again)

    def leave(self) -> None:
        """Give back the engine, and queue no more."""
        self._turns._leave(self)


class Turns:
    """Hands the engines of a model to cameras, a frame at a time. Any thread may call."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._free = list(engines)[::-1]
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
            self._queue(turn)
            self._grant()
            self._condition.wait_for(lambda: turn._granted is not None)
            assert turn._granted is not None
            return turn._granted

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
        assert turn._granted is not None
        self._free.append(turn._granted)
        turn._granted = None
        self._granted.discard(turn)

    def _queue(self, turn: Turn) -> None:
        if turn._granted is None and turn not in self._waiting:
            turn._start = max(self._now - _CREDIT, turn._finish)
            self._waiting.append(turn)

    def _grant(self) -> None:
        while self._free and self._waiting:
            turn = min(self._waiting, key=lambda t: (t._start, t._order))
            self._waiting.remove(turn)
            self._granted.add(turn)
            self._now = max(self._now, min(t._start for t in (*self._granted, *self._waiting)))
            turn._finish = turn._start + 1 / turn.weight
            turn._granted = self._free.pop()
            self._condition.notify_all()
