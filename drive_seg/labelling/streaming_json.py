"""JSON files that are larger than the memory: the elements of their arrays, one at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from drive_seg.errors import DriveSegError

_CHUNK = 1 << 16
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_MORE_OF_A_NUMBER = re.compile(r"[0-9.eE+-]*")


class JsonError(DriveSegError, ValueError):
    """A file that is not JSON; the message names it and the place."""


def elements(path: Path) -> Iterator[tuple[str, Any]]:
    """What the outermost object or array of a file holds: (key, value) of each value of an object, and, for a value
    that is an array, (key, element) of each of its elements. The outermost array has the key "".

    Holds one element at a time. Raises JsonError.
    """
    with path.open(encoding="utf-8-sig") as file:
        reader = _Reader(file, path)
        opening = reader.take("{[")
        if opening == "[":
            yield from (("", element) for element in reader.array())
            return
        if reader.peek() == "}":
            return
        while True:
            key = reader.value()
            reader.take(":")
            if reader.peek() == "[":
                reader.take("[")
                yield from ((key, element) for element in reader.array())
            else:
                yield key, reader.value()
            if reader.take(",}") == "}":
                return


class _Reader:
    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            found = _NOT_SPACE.search(self._text, self._at)
            self._at = found.start() if found else len(self._text)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at:self._at + 1]

    def take(self, wanted: str) -> str:
        found = self.peek()
        if not found or found not in wanted:
            what = repr(found) if found else "the end"
            raise JsonError(f"{self._path} is not JSON: {what} where {' or '.join(wanted)} should be",
                            "export it again")
        self._at += 1
        return found

    def array(self) -> Iterator[Any]:
        """The elements of an array whose [ has been taken."""
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def value(self) -> Any:
        """The next whole value."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                raise JsonError(f"{self._path} is not JSON ({error.msg})", "export it again") from error
            if _MORE_OF_A_NUMBER.fullmatch(self._text, end) and self._more():
                continue  # "1." of "1.5" is a 1 to the decoder
            self._at = end
            return value

    def _more(self) -> bool:
        """Read on; twice as much each time that a value does not fit, so that long ones take little time."""
        if self._ended:
            return False
        self._text, self._at = self._text[self._at:], 0
        try:
            chunk = self._file.read(max(_CHUNK, len(self._text)))
        except UnicodeDecodeError as error:
            raise JsonError(f"{self._path} is not UTF-8 text", "export it again") from error
        self._ended = not chunk
        self._text += chunk
        return bool(chunk)
