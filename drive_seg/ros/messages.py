"""Messages of rclpy."""

from __future__ import annotations

import array
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from drive_seg.outputs.messages import Messages

_Array = array.array  # RosMessages.array hides the module's name


class RosMessages(Messages):
    """Makes messages that rclpy publishes."""

    def kind(self, name: str) -> type[Any]:
        """See Messages."""
        return _class(name)

    def make(self, name: str, **fields: Any) -> Any:
        """See Messages."""
        arrays = {field: fields.pop(field) for field in list(fields) if isinstance(fields[field], array.array)}
        message = _class(name)(**fields)
        for field, values in arrays.items():
            # Not through constructor and setter: with their checks off, each of them copies the array.
            setattr(message, f"_{field}", values)
        return message

    def array(self, values: np.ndarray) -> _Array:
        """See Messages."""
        # rclpy takes an array.array of the field's type as it is; anything else is checked element by element.
        out = array.array(values.dtype.char)
        out.frombytes(np.ascontiguousarray(values).data.cast("B"))
        return out

    def memory(self, size: int) -> _Array:
        """See Messages."""
        return array.array("B", bytes(size))


@cache
def _class(name: str) -> type[Any]:
    package, _, kind = name.split("/")
    return getattr(import_module(f"{package}.msg"), kind)


ROS = RosMessages()
