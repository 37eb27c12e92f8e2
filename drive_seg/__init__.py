"""drive_seg: camera frames in, road / pavement / obstacle labels and drivable-area masks out.

    import cv2, drive_seg

    with drive_seg.load() as model:
        result = model.segment(cv2.imread("road.jpg"))
    print(result)                              # <Segmentation 1280x720, 34 % drivable, 2 % unknown>
    cv2.imwrite("out.png", result.draw())

Every name below is imported when it is first used: `import drive_seg` alone loads neither OpenCV nor an engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from drive_seg import numba_cache

if TYPE_CHECKING:
    from drive_seg.core.camera import CameraError
    from drive_seg.core.engine import EngineError
    from drive_seg.core.frame import Frame, FrameError
    from drive_seg.core.ground import GroundError
    from drive_seg.core.overlay import draw_overlay
    from drive_seg.core.selftest import SelfTestError
    from drive_seg.errors import DriveSegError, ParameterError
    from drive_seg.front_door import RoadModel, Segmentation, load
    from drive_seg.network import Network, NetworkError
    from drive_seg.pipeline import Pipeline
    from drive_seg.settings import Settings
    from drive_seg.sources.frame_source import SourceError
    from drive_seg.sources.open import open_source
    from drive_seg.testing import ReplayError, replay_bag

__version__ = "0.1.0"

__all__ = [
    "CameraError", "DriveSegError", "EngineError", "Frame", "FrameError", "GroundError", "Network", "NetworkError",
    "ParameterError", "Pipeline", "ReplayError", "RoadModel", "Segmentation", "SelfTestError", "Settings",
    "SourceError", "draw_overlay", "load", "open_source", "replay_bag",
]

_HOME = {
    "CameraError": "core.camera", "DriveSegError": "errors", "EngineError": "core.engine", "Frame": "core.frame",
    "FrameError": "core.frame", "GroundError": "core.ground", "Network": "network", "NetworkError": "network",
    "ParameterError": "errors", "Pipeline": "pipeline", "ReplayError": "testing", "RoadModel": "front_door",
    "Segmentation": "front_door", "SelfTestError": "core.selftest", "Settings": "settings",
    "SourceError": "sources.frame_source", "draw_overlay": "core.overlay", "load": "front_door",
    "open_source": "sources.open", "replay_bag": "testing",
}
"""Where each name of __all__ is defined."""

numba_cache.provide()  # before anything imports Numba


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'drive_seg' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"drive_seg.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
