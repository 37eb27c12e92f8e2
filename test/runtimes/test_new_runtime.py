"""That docs/new_runtime.md is true: its code is added to the package as the page says, and runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from drive_seg import runtimes
from drive_seg.core.engine import Engine, EngineError
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import check_answer, record_answer

PAGE = Path(__file__).parents[2] / "docs" / "new_runtime.md"


@pytest.fixture
def added(monkeypatch):
    """The package with the page's runtime in it."""
    pytest.importorskip("onnx", reason="the page's runtime is onnx's own: pip install 'drive-seg[bench]'")
    blocks = dict(re.findall(r'```python title="([^"]+)"\n(.*?)```', PAGE.read_text(), re.S))
    assert list(blocks) == ["drive_seg/runtimes/reference.py", "drive_seg/runtimes/__init__.py"]
    new, table = blocks.values()
    assert len([line for line in table.splitlines() if line]) <= 10
    module = ModuleType("drive_seg.runtimes.reference")
    exec(compile(new, "reference.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(runtimes, "RUNTIMES", dict(runtimes.RUNTIMES))
    monkeypatch.setattr(runtimes, "_reference", None, raising=False)
    exec(compile(table, "__init__.py", "exec"), runtimes.__dict__)


def test_the_page_adds_a_runtime(added, colour_network, scene):
    with (runtimes.open_engine("reference", colour_network) as engine,
          runtimes.open_engine("openvino", colour_network, precision="fp32") as exact):
        assert isinstance(engine, Engine)
        assert engine.loaded.file == colour_network.path.name and engine.on_cpu
        segmenter = Segmenter(engine, colour_network.table)
        expected = Segmenter(exact, colour_network.table)  # bf16, where the processor has it, is not
        assert np.array_equal(segmenter.segment(scene).labels, expected.segment(scene).labels)
        check_answer(segmenter, record_answer(expected))
        assert set(engine.readings()) <= {"memory", "temperature"}


def test_what_it_can_not_run_names_the_fix(added, colour_network):
    with pytest.raises(EngineError, match="reference runs fp32, not int8: set precision to fp32 or auto"):
        runtimes.open_engine("reference", colour_network, precision="int8")
    with pytest.raises(EngineError, match="use auto, tensorrt, openvino, onnxruntime, reference"):
        runtimes.open_engine("nonsense", colour_network)
