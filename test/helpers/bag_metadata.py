"""Bags' metadata, kept: rosbags reads and writes it with a YAML library in pure Python, at a tenth of a second a bag.

Most bags of the tests have the same, so what was worked out once for a text, or for a value, is not worked out again.
"""

from __future__ import annotations

import copy
import sys
from io import StringIO
from typing import Any

import pytest


def keep(patch: pytest.MonkeyPatch) -> None:
    """Where rosbags is in use. It gets the same values and texts as ever; what raises is not kept."""
    modules = [sys.modules.get(f"rosbags.rosbag2.{name}") for name in ("metadata", "reader", "writer")]
    YAML = getattr(modules[0], "YAML", None)
    if YAML is None:
        return
    loaded: dict[str, Any] = {}
    dumped: dict[tuple[str, object], str] = {}

    class Keeps(YAML):
        def load(self, stream: Any) -> Any:
            if not isinstance(stream, str):
                return super().load(stream)
            if stream not in loaded:
                loaded[stream] = super().load(stream)
            return copy.deepcopy(loaded[stream])

        def dump(self, data: Any, stream: Any = None, **options: Any) -> None:
            key = repr(data), self.default_flow_style
            if key not in dumped:
                text = StringIO()
                super().dump(data, text, **options)
                dumped[key] = text.getvalue()
            stream.write(dumped[key])

    for module in modules:
        if getattr(module, "YAML", None) is YAML:
            patch.setattr(module, "YAML", Keeps)
