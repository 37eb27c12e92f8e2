"""The real Python bindings of TensorRT 10.3, 11 and RTX have every name that is used here, with these parameters.

Those of 10.3 and 11 are loaded over libraries that only have the entry points they ask for, each of which gives a null
pointer; and, for the life of an engine from open to close, over a stand-in for libnvinfer (stand_in_nvinfer.cpp).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from colours import COLOURS, write_colour_network
from stand_in import HELPERS, ROOT, build_driver, run_script

from drive_seg.fp16.write import write_fp16

BINDINGS = Path(sys.prefix, "tensorrt")

ENTRY_POINTS = ("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
                "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
                "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins")

USED = {  # what runner.py, builder.py and gpu_check/inspector.py call, and the parameters they give
    "Logger": {"ERROR": None},
    "Runtime": {"deserialize_cuda_engine": "serialized_engine", "error_recorder": None},
    "ICudaEngine": {"num_io_tensors": None, "get_tensor_name": "index: int", "get_tensor_mode": "name: str",
                    "get_tensor_dtype": "name: str", "get_tensor_shape": "name: str", "get_tensor_format": "name: str",
                    "create_execution_context": "", "create_engine_inspector": "", "error_recorder": None},
    "IExecutionContext": {"set_tensor_address": "name: str, memory: int", "execute_async_v3": "stream_handle: int",
                          "error_recorder": None},
    "EngineInspector": {"get_engine_information": "format"},
    "IErrorRecorder": dict.fromkeys(("report_error", "num_errors", "get_error_code", "get_error_desc", "has_overflowed",
                                     "clear"), ""),
    "IProgressMonitor": dict.fromkeys(("phase_start", "phase_finish", "step_complete"), ""),
    "Builder": {"create_network": "flags: int", "create_builder_config": "", "build_serialized_network":
                "network"},
    "INetworkDefinition": {"num_inputs": None, "num_outputs": None, "num_layers": None, "get_input": "index: int",
                           "get_output": "index: int", "get_layer": "index: int"},
    "ILayer": {"num_outputs": None, "get_output": "index: int", "name": None, "type": None},
    "ITensor": {"name": None, "shape": None, "dtype": None, "allowed_formats": None},
    "OnnxParser": {"parse": "model", "num_errors": None, "get_error": "index: int"},
    "ParserError": {"desc": "", "node_operator": "", "node_name": ""},
    "IBuilderConfig": {"builder_optimization_level": None, "profiling_verbosity": None, "progress_monitor": None,
                       "set_memory_pool_limit": "pool", "create_timing_cache": "serialized_timing_cache",
                       "set_timing_cache": "ignore_mismatch: bool", "get_timing_cache": "", "set_flag": "flag"},
    "ITimingCache": {"serialize": ""},
    "MemoryPoolType": {"WORKSPACE": None},
    "ProfilingVerbosity": {"DETAILED": None},
    "LayerType": {"CONSTANT": None, "CAST": None, "SHUFFLE": None},
    "TensorFormat": {"HWC8": None},
    "TensorIOMode": {"INPUT": None},
    "LayerInformationFormat": {"JSON": None},
}

RTX_ONLY = {
    "BuilderFlag": {"REQUIRE_USER_ALLOCATION": None},
    "ComputeCapability": {"SM86": None},
    "ICudaEngine": {"create_runtime_config": ""},
    "IBuilderConfig": {"num_compute_capabilities": None, "set_compute_capability": "compute_capability"},
    "IRuntimeConfig": {"create_runtime_cache": "", "set_runtime_cache": "cache"},
    "IRuntimeCache": {"serialize": "", "deserialize": ""},
    "IExecutionContext": {"is_stream_capturable": ""},
}

SCRIPT = """
import importlib, json, sys
trt = importlib.import_module(sys.argv[1])
missing = []
for kind, members in json.loads(sys.argv[2]).items():
    for name, parameters in members.items():
        found = getattr(getattr(trt, kind, None), name, None)
        if found is None:
            missing.append(f"{kind}.{name}")
        elif parameters and parameters not in (found.__doc__ or "").replace("typing.SupportsInt", "int"):
            missing.append(f"{kind}.{name}({parameters}): {(found.__doc__ or '').strip()[:200]}")
missing += [name for name in ("float16", "float32") if not hasattr(trt, name)]
print(json.dumps([trt.__version__, missing]))
"""

NULL = """
import json, sys
import tensorrt_bindings
sys.modules["tensorrt"] = tensorrt_bindings
from drive_seg.core.engine import EngineError
from pathlib import Path
from types import SimpleNamespace
from drive_seg.runtimes.tensorrt.builder import build
from drive_seg.runtimes.tensorrt.library import load_library
from drive_seg.runtimes.tensorrt.plan import PlanKey
from drive_seg.runtimes.tensorrt.runner import PlanRunner, recorder
library = load_library("tensorrt")
errors = recorder(library.module)
errors.report_error(0, "first"), errors.report_error(0, "second")
assert errors.reason() == "first" and errors.num_errors() == 0
said = []
key = PlanKey("", "fp16", "tensorrt", "10.3", "Orin", "8.7", (1, 3, 1, 1))
for work in (lambda: build(library, key, Path("a.onnx"), Path("timing")),
             lambda: PlanRunner(SimpleNamespace(on_close=id), library, b"", Path("jit"))):
    try:
        work()
    except EngineError as error:
        said.append(str(error))
print(json.dumps(said))
"""


LIFE = """
backend(sys.argv[4])
import gc
import numpy as np
from colours import COLOURS, paint_scene
from drive_seg.core.decode import Decoder
from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame
from drive_seg.core.resize import network_input
from drive_seg.network import Network
from drive_seg.runtimes import open_engine

network, said = Network.load(Path(sys.argv[1])), []
objects = ctypes.CDLL(sys.argv[3]).stand_in_objects


def life() -> int:
    "Open, run, read, close; how many objects are left at TensorRT."
    engine = open_engine("tensorrt", network, plan_folder=Path(sys.argv[2]), progress=said.append)
    assert engine.graph_refused is None, engine.graph_refused
    for size in ((360, 640), (96, 160), (360, 640)):
        frame = Frame.from_array(paint_scene(*size))
        cells = network_input(frame, (96, 160)).astype(int).reshape(24, 4, 40, 4, 3).sum((1, 3)) // 16
        apart = [np.abs(cells - colour).sum(-1) // 3 for _, colour, _ in COLOURS.values()]
        wanted = Decoder(network.table, threads=1).decode(255 - np.stack(apart).astype(np.float32), size)
        np.testing.assert_array_equal(engine.decode(frame, size, {}).labels, wanted.labels)
        assert len(np.unique(wanted.labels)) == 4
    assert engine.readings()["gpu_memory"] == "2000 of 8000 MB used"
    engine.close()
    del engine
    gc.collect()
    assert driver().stand_in_live() == 0
    return objects()


left = life()
assert any("builds colours" in line for line in said) and "Building: 50 %" in said, said
said.clear()
assert life() == left and not any("builds" in line for line in said), said
os.environ["STAND_IN_REFUSES_PLANS"] = "1"
try:
    life()
except EngineError as error:
    assert "doesn't load the plan: the plan is of another GPU" in str(error), error
    assert sum("builds" in line for line in said) == 1, said  # it was built again, once
else:
    raise AssertionError("no error")
gc.collect()
assert driver().stand_in_live() == 0 and objects() == left, objects()
print(left)
"""


def libraries(version: str, folder: Path, *sources: str) -> dict[str, str]:
    """Environment variables to import `tensorrt_bindings` of a version with, over a libnvinfer that is made of this."""
    place = BINDINGS / version
    if not (place / "tensorrt_bindings").is_dir():
        pytest.skip(f"the bindings of TensorRT {version} are not installed here (`make test` installs them on"
                    " x86-64 Linux)")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: the libraries that the bindings ask for can't be built")
    major = version.partition(".")[0]
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        subprocess.run([compiler, "-std=c++17", "-shared", "-fPIC", "-x", "c++",
                        *(sources if name == "nvinfer" else "-"), f"-DMAJOR={major}",
                        f"-Wl,-soname,lib{name}.so.{major}", "-ldl", "-o", str(folder / f"lib{name}.so.{major}")],
                       input="", text=True, check=True)
    return {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": os.pathsep.join([str(folder), str(place), str(ROOT)])}


@pytest.fixture(scope="module", params=["10.3.0", "11.4.0.106"])
def bindings(request, tmp_path_factory) -> dict[str, str]:
    """Environment variables with which `tensorrt_bindings` of this version can be imported."""
    folder = tmp_path_factory.mktemp("libraries")
    (folder / "nulls.cpp").write_text("\n".join(f'extern "C" void* {name}() {{ return 0; }}' for name in ENTRY_POINTS))
    return {**libraries(request.param, folder, str(folder / "nulls.cpp")), "version": request.param}


def run(script: str, *arguments: str, **environment: str) -> list:
    done = subprocess.run([sys.executable, "-c", script, *arguments], env={**os.environ, **environment}, text=True,
                          capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_tensorrt_has_every_name_in_use(bindings):
    version, missing = run(SCRIPT, "tensorrt_bindings", json.dumps(USED), **bindings)
    assert not missing and bindings["version"].startswith(version.rpartition(".")[0])


def test_null_pointers_are_engine_errors(bindings):
    said = run(NULL, **bindings)
    assert [text.partition(" ")[2].partition(" ")[2] for text in said] == [
        "can't start a builder", "doesn't start; it said why on stderr"]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_the_life_of_an_engine_from_open_to_close(version, package, tmp_path):
    """Built in a process of its own, stored, opened, run, read, closed; opened again from the plan; and refused."""
    colours = ",".join("{" + ",".join(map(str, colour)) + "}" for _, colour, _ in COLOURS.values())
    places = libraries(version, tmp_path, f"-DCOLOURS={{{colours}}}", str(HELPERS / "stand_in_nvinfer.cpp"))
    (tmp_path / "tensorrt.py").write_text("import sys, tensorrt_bindings\nsys.modules[__name__] = tensorrt_bindings\n")
    network = write_colour_network(tmp_path)
    write_fp16(network)
    done = run_script(build_driver(tmp_path), LIFE, str(network), str(tmp_path / "plans"),
                      f"libnvinfer.so.{version.partition('.')[0]}", package, **places)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "0 contexts left" in done.stderr


def test_tensorrt_for_rtx_has_every_name_in_use():
    if importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("TensorRT for RTX is not installed here (`make test` installs it on x86-64 Linux)")
    both = {kind: USED.get(kind, {}) | RTX_ONLY.get(kind, {}) for kind in USED | RTX_ONLY}
    assert run(SCRIPT, "tensorrt_rtx_bindings", json.dumps(both))[1] == []


def test_the_stand_in_has_nothing_that_the_real_ones_do_not(bindings):
    """What its classes have is in the list above, which the real bindings have."""
    import ast

    names = {"_Network": "INetworkDefinition", "_Config": "IBuilderConfig", "_Engine": "ICudaEngine", "_Tensor":
             "ITensor", "_Context": "IExecutionContext", "Builder": "Builder", "Runtime": "Runtime", "OnnxParser":
             "OnnxParser"}
    tree = ast.parse((HELPERS / "fake_tensorrt/tensorrt.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in names:
            public = {part.name for part in node.body if isinstance(part, ast.FunctionDef) and part.name[0] != "_"}
            assert public <= set(USED[names[node.name]]), (node.name, public - set(USED[names[node.name]]))
