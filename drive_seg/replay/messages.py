"""Messages of rosbags."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from drive_seg.outputs.messages import Messages


class BagMessages(Messages):
    """Makes messages that rosbags writes."""

    @cached_property
    def types(self) -> Any:
        """The definitions of all messages, and what writes them."""
        return get_typestore(Stores.ROS2_HUMBLE)

    def kind(self, name: str) -> type:
        """See Messages."""
        return self.types.types[name]

    def array(self, values: np.ndarray) -> np.ndarray:
        """See Messages."""
        return np.ascontiguousarray(values).reshape(-1)

    def memory(self, size: int) -> np.ndarray:
        """See Messages."""
        return np.zeros(size, np.uint8)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """A Header."""
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        stamp = self.kind("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)
        return self.kind("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)


BAG = BagMessages()
