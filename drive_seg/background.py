"""Overlap: run an iterator ahead in a thread, a bounded number of items at most."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_S = 0.1


@dataclass(frozen=True)
class _Made(Generic[T]):
    item: T


def background(items: Iterable[T], depth: int = 4) -> Generator[T, None, None]:
    """The same items in the same order, made in a thread that is at most `depth` items ahead.

    An error of the iterator is raised here, after the items before it. Closing this generator ends the thread.
    """
    waiting: queue.Queue[_Made[T] | BaseException | None] = queue.Queue(depth)  # None: that was all
    stop = threading.Event()

    def put(entry: _Made[T] | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put(entry, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(_Made(item)):
                    return
            put(None)
        except BaseException as error:  # handed to the consumer, which is waiting
            put(error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="background", daemon=True)
    thread.start()
    try:
        while True:
            entry = waiting.get()
            if entry is None:
                return
            if isinstance(entry, BaseException):
                raise entry
            yield entry.item
            del entry  # what the consumer is done with is not kept until the next one comes
    finally:
        stop.set()
        thread.join()
