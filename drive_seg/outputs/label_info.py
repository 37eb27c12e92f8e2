"""What the numbers in `labels` mean, as vision_msgs has it."""

from __future__ import annotations

from typing import Any

from drive_seg.core.classes import LABEL_NAMES
from drive_seg.outputs.messages import Messages

LABEL_INFO = "label_info"
"""Name of the latched topic."""

INFO, CLASS = "vision_msgs/msg/LabelInfo", "vision_msgs/msg/VisionClass"


def label_info(messages: Messages, header: Any) -> Any:
    """The LabelInfo. Raises ImportError where vision_msgs is not installed."""
    classes = [messages.make(CLASS, class_id=int(i), class_name=name) for i, name in LABEL_NAMES.items()]
    return messages.make(INFO, header=header, class_map=classes, threshold=0.0)
