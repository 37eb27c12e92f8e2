"""Being asked to stop, so that it can't get lost."""

from __future__ import annotations

import signal
import sys
from types import FrameType


class Interrupt:
    """Takes SIGINT and SIGTERM for this process, in its main thread: both unwind, so that children are ended.

    Python drops an exception that a signal happens to raise amid a destructor; `check`, asked now and then, raises it
    again.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal that came."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def check(self) -> None:
        """Raise KeyboardInterrupt or SystemExit once either signal has come."""
        if self.asked == signal.SIGINT:
            raise KeyboardInterrupt
        if self.asked is not None:
            sys.exit(128 + self.asked)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        self.check()
