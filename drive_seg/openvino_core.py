"""OpenVINO, opened once for the process."""

from __future__ import annotations

from drive_seg.core.engine import EngineError
from drive_seg.lean_imports import without
from drive_seg.loading import fix_for_loading, one_line

try:
    with without("openvino.tools.ovc"):  # its converter of models, which reports to its vendor when it is loaded
        import openvino as ov
except ModuleNotFoundError as error:
    raise EngineError(f"OpenVINO is not installed ({error})", "pip install openvino") from error
except (ImportError, OSError, MemoryError) as error:  # it is there, but the system can't load its libraries
    raise EngineError(f"OpenVINO can't be loaded ({error})", fix_for_loading(error, "openvino")) from error

try:
    CORE = ov.Core()
except (RuntimeError, MemoryError) as error:
    raise EngineError(f"OpenVINO can't start ({one_line(error)})", fix_for_loading(error, "openvino")) from error
"""The only ov.Core of the process. Each loads a CPU plugin of its own, which sets an alternate signal stack and, at its
end, puts back the one it found: where the first of two ends first, that one is freed memory (seen in OpenVINO 2026.4),
and the next Ctrl-C is a segmentation fault."""
