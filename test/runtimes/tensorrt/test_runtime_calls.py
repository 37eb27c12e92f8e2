"""What only a GPU runs, as far as it can be seen without one: that the calls exist, and what is made of answers."""

from __future__ import annotations

import json

import pytest

from drive_seg.core.engine import EngineError
from drive_seg.gpu_check.inspector import formats
from drive_seg.runtimes.tensorrt.library import load_library
from drive_seg.runtimes.tensorrt.runner import JitCache

CALLS = {
    "Runtime": ["deserialize_cuda_engine"],
    "ICudaEngine": ["num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype", "get_tensor_shape",
                    "create_execution_context", "create_engine_inspector", "create_runtime_config"],
    "IExecutionContext": ["set_tensor_address", "execute_async_v3", "is_stream_capturable"],
    "IRuntimeConfig": ["create_runtime_cache", "set_runtime_cache"],
    "IRuntimeCache": ["serialize", "deserialize"],
    "EngineInspector": ["get_engine_information"],
}


def test_tensorrt_for_rtx_has_the_calls_that_only_a_gpu_runs():
    try:
        module = load_library("tensorrt_rtx").module
    except EngineError as error:
        pytest.skip(f"{error}")
    missing = [f"{kind}.{name}" for kind, names in CALLS.items() for name in names
               if not hasattr(getattr(module, kind), name)]
    assert not missing


@pytest.mark.parametrize("outputs, counted", [
    ([{"Format/Datatype": "Half"}, {"Format/Datatype": "Half"}, {"Format/Datatype": "Float"}], {"Half": 2, "Float": 1}),
    ([{"DataType": "Half", "Format": "kLINEAR"}], {"Half, kLINEAR": 1}),  # TensorRT 11
    ([{"Name": "x"}], {"?": 1}),
], ids=["10", "11", "unknown"])
def test_counts_what_the_inspector_tells(outputs, counted):
    assert formats(json.dumps({"Layers": [{"Outputs": [output]} for output in outputs]})) == counted


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"Bindings": []}'])
def test_an_inspector_that_tells_nothing_stops_nobody(text):
    assert formats(text) is None


def test_layers_known_by_name_alone_are_not_counted():
    assert formats('{"Layers": ["conv1", "conv2"]}') == {}


class Engine:
    """Answers as TensorRT for RTX does to a cache: takes what its own version wrote, ignores all else."""

    def __init__(self, compiles: bytes) -> None:
        self.compiles = compiles
        self.content = b""
        self.attached = None

    def create_runtime_config(self):
        return self

    create_runtime_cache = create_runtime_config

    def deserialize(self, blob: bytes) -> bool:
        self.content = blob if blob.startswith(b"1.7") else b""
        return bool(self.content)

    def set_runtime_cache(self, cache) -> bool:
        self.attached = cache
        return True

    def serialize(self) -> bytes:
        return self.content or self.compiles


def test_what_was_compiled_is_there_at_the_next_start(tmp_path):
    path = tmp_path / "plan.jit"
    first = Engine(b"1.7 kernels")
    JitCache(first, path).keep()
    assert first.attached is first and path.read_bytes() == b"1.7 kernels"
    path.chmod(0o444)
    written = path.stat().st_mtime_ns
    second = Engine(b"1.7 other kernels")
    JitCache(second, path).keep()
    assert second.content == b"1.7 kernels" and path.stat().st_mtime_ns == written, "nothing new was written again"


def test_what_does_not_fit_is_compiled_and_written_again(tmp_path):
    path = tmp_path / "plan.jit"
    path.write_bytes(b"1.6 kernels")
    JitCache(Engine(b"1.7 kernels"), path).keep()
    assert path.read_bytes() == b"1.7 kernels"


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("")
    JitCache(Engine(b"1.7 kernels"), tmp_path / "file" / "plan.jit").keep()
