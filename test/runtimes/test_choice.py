"""Which engine is taken, and what is said where the GPU's can't run."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from drive_seg.core.engine import EngineError
from drive_seg.runtimes import open_engine
from drive_seg.runtimes.cuda_driver import open_backend
from drive_seg.runtimes.tensorrt.library import load_library


def test_auto_takes_openvino_without_a_gpu_and_says_why(no_driver, colour_network):
    lines = []
    engine = open_engine("auto", colour_network, progress=lines.append)
    assert engine.name == "openvino"
    assert lines[-1].startswith("engine auto takes openvino: no NVIDIA driver")
    engine.close()


def test_tensorrt_by_name_never_falls_back(no_driver, colour_network):
    with pytest.raises(EngineError, match="no NVIDIA driver.*install it, or use engine openvino"):
        open_engine("tensorrt", colour_network)


def test_unknown_names_list_the_known(colour_network):
    with pytest.raises(EngineError, match="use auto, tensorrt, openvino, onnxruntime"):
        open_engine("tensorflow", colour_network)


@pytest.mark.parametrize("text, says", [
    ("__version__ = '8.6.1'", "TensorRT 8.6.1 is too old: this needs 10.3 or newer .JetPack 6"),
    ("__version__ = '10.2.0'", "TensorRT 10.2.0 is too old"),
    ("raise RuntimeError('libnvinfer.so.10 is missing')", "can't be loaded .libnvinfer.so.10 is missing"),
    ("import a_library_that_nobody_has", "tensorrt lacks a_library_that_nobody_has"),
])
def test_a_tensorrt_that_cannot_serve_is_refused(tmp_path, monkeypatch, text, says):
    (tmp_path / "tensorrt.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineError, match=says):
        load_library("tensorrt")
    sys.modules.pop("tensorrt", None)


def test_no_tensorrt_says_how_to_install_it():
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(EngineError, match="TensorRT is not installed: .*JetPack"):
        load_library("tensorrt")


def test_no_package_for_cuda_says_how_to_install_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(EngineError, match=r"pycuda: .*cuda-bindings: .*pip install 'drive-seg\[gpu\]'"):
        open_backend()
