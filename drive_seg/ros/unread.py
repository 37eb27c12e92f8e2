"""What the middleware says of a message that it can't read, and nobody else does.

Such a message is gone and rclpy goes on without a word. Its error stays behind in rcutils, in the thread that took the
message, and the next one prints twelve lines about that on stderr: at a camera's rate if it is a camera's fault.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_LONGEST = 1024  # bytes, RCUTILS_ERROR_MESSAGE_MAX_LENGTH


class _Text(ctypes.Structure):
    _fields_ = [("str", ctypes.c_char * _LONGEST)]


class LeftOver:
    """The error that a call of rclpy left behind in this thread. Finds none where rcutils can't be reached."""

    def __init__(self) -> None:
        self._is_set: Callable[[], bool] | None = None
        try:
            library = ctypes.CDLL("librcutils.so")
            is_set, text, reset = (library.rcutils_error_is_set, library.rcutils_get_error_string,
                                   library.rcutils_reset_error)
        except (OSError, AttributeError):
            return
        is_set.restype, text.restype, reset.restype = ctypes.c_bool, _Text, None
        self._is_set, self._text, self._reset = is_set, text, reset

    def take(self) -> str | None:
        """Its text, once; None where there is none."""
        if self._is_set is None or not self._is_set():
            return None
        text = self._text().str.decode(errors="replace")
        self._reset()
        return text.partition(", at /")[0]
