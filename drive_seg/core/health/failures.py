"""What is told of a frame that failed: the same words live and in a replay."""

from __future__ import annotations

from drive_seg.core.engine import EngineError
from drive_seg.core.frame import FrameError


def failure(error: FrameError | EngineError) -> tuple[str, str, str]:
    """The check that it concerns, the reason and the fix: what Monitor.failed takes."""
    text = " ".join(str(error).split())
    if isinstance(error, FrameError):
        return "camera", f"an image message is unusable: {text}", "publish an encoding that is supported"
    return "engine", f"the engine failed on a frame: {text}", "start the node again"
