"""Messages of rosbags."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from drive_seg.outputs.label_info import CLASS, INFO
from drive_seg.outputs.messages import Messages

_VISION_MSGS = {CLASS: "uint16 class_id\nstring class_name\n",
                INFO: "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"}
"""Definitions that rosbags does not bring."""


class BagMessages(Messages):
    """Makes messages that rosbags writes."""

    @cached_property
    def types(self) -> Any:
        """The definitions of all messages, and what writes them."""
        types = get_typestore(Stores.ROS2_HUMBLE)
        for name, text in _VISION_MSGS.items():
            types.register(get_types_from_msg(text, name))
        return types

    def kind(self, name: str) -> type[Any]:
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
