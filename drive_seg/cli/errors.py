"""The error that ends a command with one line."""

from __future__ import annotations

from drive_seg.errors import DriveSegError


class CommandError(DriveSegError, RuntimeError):
    """What the user asked for can't be done; the message names the fix."""
