"""The base of every error that drive_seg raises on purpose."""

from __future__ import annotations


class DriveSegError(Exception):
    """What went wrong, and what to do about it.

    reason: what happened, without a full stop. fix: what the reader can do, "" where the reason already says it.
    `str(error)` is "reason: fix". Every public error of the package derives from it, so `except DriveSegError` catches
    what the user can mend; anything else is a bug.
    """

    def __init__(self, reason: str = "", fix: str = "") -> None:
        super().__init__(reason, fix)  # all of it in `args`, or the error would not survive a trip between processes
        self.reason = reason
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.reason}: {self.fix}" if self.fix else self.reason


class ParameterError(DriveSegError, ValueError):
    """A parameter whose value can't be used: of the wrong type, out of range, or not with the others."""


class CommandError(DriveSegError, RuntimeError):
    """What the user asked of a command can't be done."""


def reason_and_fix(error: BaseException) -> tuple[str, str]:
    """The two fields of an error; of one that is not a DriveSegError its whole text, and no fix."""
    return (error.reason, error.fix) if isinstance(error, DriveSegError) else (str(error), "")
