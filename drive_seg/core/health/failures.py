"""What is reported of frames that fail: the same words live and in a replay."""

from __future__ import annotations

import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.core.frame import FrameError
from drive_seg.core.health.status import Level, Status, worst
from drive_seg.errors import reason_and_fix


def shorten(text: str, longest: int = 500) -> str:
    """A text, parts of which may come from outside, in one line of at most so many characters."""
    line = " ".join(text[:10 * longest].split())
    return line if len(line) <= longest else line[:longest] + " ..."


class Failures:
    """The failed frames of one check. One is a WARN; an ERROR only where none between succeeded, so that no masks come.

    A failure stands until a frame succeeds, however long that takes, and for a second at least.
    """

    _LASTS = 1.0  # seconds for which a failed frame counts among good ones
    _GRAVE = 0.5  # seconds from the first to the last of failures in a row

    def __init__(self, name: str, *, grave: bool = True) -> None:
        """name: of the check. grave: whether it may become an ERROR: masks need what fails."""
        self._name, self._may_be_grave = name, grave
        self._ever_succeeded = False
        self.restart()

    def restart(self) -> None:
        """Forget earlier failures: the clock was set back."""
        self._first: float | None = None  # of those in a row
        self._last = -np.inf
        self._reason = self._fix = ""

    def failed(self, reason: str, fix: str, now: float) -> None:
        """A frame failed."""
        if self._first is None:
            self._first = now
        self._last, self._reason, self._fix = now, shorten(reason), shorten(fix)

    def succeeded(self) -> None:
        """A frame did not."""
        self._first, self._ever_succeeded = None, True

    def added_to(self, status: Status, now: float) -> Status:
        """A status with what failed within the last second, or since the last frame that did not."""
        if self._first is None and not now - self._last < self._LASTS:
            return status
        in_a_row = self._first is not None and (not self._ever_succeeded or self._last - self._first >= self._GRAVE)
        level = Level.ERROR if in_a_row and self._may_be_grave else Level.WARN
        return worst(self._name, [Status(self._name, level, self._reason, self._fix), status], status.values)


def failure(error: Exception) -> tuple[str, str, str]:
    """The check that it concerns, the reason and the fix: what Monitor.failed takes."""
    if not isinstance(error, (FrameError, EngineError)):
        return "engine", shorten(f"a frame failed: {error!r}"), "report this with the node's log"
    text, has_fix = shorten(str(error)), bool(reason_and_fix(error)[1])
    if isinstance(error, FrameError):
        fix = "" if has_fix else "publish whole images in an encoding that is supported"
        return "camera", f"an image message is unusable: {text}", fix
    return "engine", f"the engine failed on a frame: {text}", "" if has_fix else "start the node again"
