"""Which engine is taken, and what is said where the GPU's can't run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from drive_seg.core.engine import EngineError
from drive_seg.runtimes import cuda_driver, open_engine
from drive_seg.runtimes.cuda_driver import open_backend
from drive_seg.runtimes.tensorrt import builder, library
from drive_seg.runtimes.tensorrt.library import Library, check_driver, load_library
from drive_seg.runtimes.tensorrt.plan import PlanKey
from drive_seg.runtimes.tensorrt.runner import PlanRunner


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


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes it look as if pip had installed a package."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package):
        folder = tmp_path / f"{package.replace('-', '_')}-11.4.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 11.4\n")

    return install


def no_start(log):
    raise TypeError("pybind11::init(): factory function returned nullptr")


class Logger:
    ERROR = 1

    def __init__(self, severity):
        pass


NO_START = SimpleNamespace(Builder=no_start, Runtime=no_start, Logger=Logger, IErrorRecorder=type("Errors", (), {}))
"""A TensorRT whose library gives null pointers, as it does on a driver that is too old for it."""


@pytest.mark.parametrize("flavour, fix", [
    ("tensorrt", "pip uninstall -y tensorrt tensorrt-cu13 tensorrt-cu13-libs tensorrt-cu13-bindings && pip install"
     " 'drive-seg[tensorrt-cu12]'"),
    ("tensorrt_rtx", "tensorrt-rtx-cu13-bindings && pip install --no-deps tensorrt-rtx-cu12-libs"
     " tensorrt-rtx-cu12-bindings"),
])
def test_a_tensorrt_for_cuda_13_on_an_older_driver_names_the_fix(installed, monkeypatch, flavour, fix):
    installed(f"{flavour.replace('_', '-')}-cu13-bindings")
    found = Library(NO_START, flavour, "11.4.0")
    key = PlanKey("", "fp16", flavour, "11.4", "any", "8.6", (1, 3, 32, 32), {})
    starts = [lambda: builder.build(found, key, Path("a.onnx"), Path("timing")),
              lambda: PlanRunner(SimpleNamespace(on_close=id), found, b"", Path("jit"))]
    monkeypatch.setattr(library, "newest_cuda", lambda: (12, 4))
    for start in (*starts, lambda: check_driver(found)):
        with pytest.raises(EngineError, match=r"11.4.0 is made for CUDA 13, the NVIDIA driver runs CUDA 12.4") as error:
            start()
        assert "driver to 580" in error.value.fix and fix in error.value.fix
    for other in ((13, 0), None):  # None: a machine without a GPU, where TensorRT for RTX builds all the same
        monkeypatch.setattr(library, "newest_cuda", lambda cuda=other: cuda)
        check_driver(found)
        for start in starts:
            with pytest.raises(EngineError, match="can't start a builder|doesn't start"):
                start()


def test_the_driver_tells_the_newest_cuda_that_it_runs(monkeypatch):
    def tell(out):
        out._obj.value = 12080
        return 0

    monkeypatch.setattr(cuda_driver.ctypes, "CDLL", lambda name: SimpleNamespace(cuDriverGetVersion=tell))
    assert cuda_driver.newest_cuda() == (12, 8)


def test_tensorrts_of_other_makes_run_on_an_older_driver(installed, monkeypatch):
    monkeypatch.setattr(library, "newest_cuda", lambda: (12, 6))
    found = Library(NO_START, "tensorrt", "10.3.0")
    if importlib.util.find_spec("tensorrt") is None:
        check_driver(found)  # JetPack's: no package of pip
    installed("tensorrt-cu12-bindings")
    check_driver(found)


def test_auto_takes_openvino_where_the_driver_is_too_old_for_tensorrt(installed, monkeypatch, colour_network):
    installed("tensorrt-cu13-bindings")
    monkeypatch.setattr(library, "newest_cuda", lambda: (12, 4))
    monkeypatch.setattr(library, "load_library", lambda: Library(NO_START, "tensorrt", "11.4.0"))
    monkeypatch.setattr(cuda_driver, "first_gpu", lambda: cuda_driver.Device("RTX 3060", (8, 6), 1, 1, False, None))
    monkeypatch.setattr(cuda_driver, "open_backend", lambda: None)
    lines = []
    with open_engine("auto", colour_network, progress=lines.append) as engine:
        assert engine.name == "openvino"
    assert lines == [lines[0]] and "made for CUDA 13, the NVIDIA driver runs CUDA 12.4: update" in lines[0]


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
