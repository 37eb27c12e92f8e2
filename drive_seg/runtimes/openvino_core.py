"""OpenVINO, opened once for the process."""

from __future__ import annotations

from drive_seg.core.engine import EngineError

try:
    import openvino as ov
except ImportError as error:
    raise EngineError(f"OpenVINO is not installed ({error})", "pip install openvino") from error

CORE = ov.Core()
"""The only ov.Core of the process. Each loads a CPU plugin of its own, which sets an alternate signal stack and, at its
end, puts back the one it found: where the first of two ends first, that one is freed memory (seen in OpenVINO 2026.4),
and the next Ctrl-C is a segmentation fault."""
