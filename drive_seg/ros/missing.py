"""How many of a camera's images never came: lost on the way, or replaced by a newer one before they were taken.

A subscription that keeps one message forgets the one before without a word: the middleware's event for lost messages
does not fire for that. But it numbers what a publisher sends, and says the number with each message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PUBLISHERS = 8  # at most that are remembered: they come and go


class Missing:
    """Counts the gaps between the numbers of the messages of each publisher."""

    def __init__(self) -> None:
        self._count = 0
        self._last: dict[bytes, int] = {}

    @property
    def count(self) -> int | None:
        """Messages that did not come, of those before the newest. None where the middleware gives no numbers."""
        return self._count if self._last else None

    def came(self, info: Mapping[str, Any]) -> None:
        """A message came. info: what rclpy says about it."""
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if not number or not publisher:  # without the publisher, the numbers of two publishers would be mixed up
            return
        key = bytes(publisher["data"])
        last = self._last.pop(key, None)
        if last is not None and number > last:
            self._count += number - last - 1
        self._last[key] = number if last is None else max(last, number)
        if len(self._last) > _PUBLISHERS:
            del self._last[next(iter(self._last))]
