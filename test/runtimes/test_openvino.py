"""Which arithmetic OpenVINO runs a network in, that it keeps the labels, and that it leaves signals alone."""

import hashlib
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colours import read_facts, write_colour_network, write_facts

from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import check_answer, picture
from drive_seg.network import Network, NetworkError
from drive_seg.openvino_core import CORE
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine, openvino


@pytest.fixture(scope="module")
def shipped() -> Network:
    return Network.load(default_network())


def _flags() -> set[str]:
    """The processor's features as Linux names them; empty where it does not."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())


@pytest.fixture
def fast_int8() -> None:
    if not _flags() & {"avx512_vnni", "avx_vnni", "amx_int8"}:
        pytest.skip("this processor has no 8-bit dot products: sums saturate, so auto never takes int8 here")


@pytest.mark.skipif(platform.machine() != "x86_64" or not _flags(), reason="needs /proc/cpuinfo of an x86-64 processor")
def test_auto_is_the_fastest_arithmetic_of_the_processor(shipped):
    flags = _flags()
    if flags & {"avx512_bf16", "amx_bf16"}:
        expected = "bf16"
    else:
        expected = "int8" if flags & {"avx512_vnni", "avx_vnni"} else "fp32"
    engine = open_engine("openvino", shipped)
    assert engine.precision == expected
    engine.close()
    plain = open_engine("openvino", replace(shipped, int8=None))
    assert plain.precision == ("bf16" if expected == "bf16" else "fp32")
    plain.close()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_shipped_network_passes_its_self_test_in_every_arithmetic(shipped, precision, request):
    if precision == "int8":
        request.getfixturevalue("fast_int8")
    engine = open_engine("openvino", shipped, precision=precision)
    assert engine.precision == precision
    check_answer(Segmenter(engine, shipped.table), shipped.self_test)
    engine.close()


def test_int8_and_fp32_label_a_picture_alike(shipped, fast_int8):
    frame = Frame.from_array(picture())
    labels, confidence = [], []
    for precision in ("fp32", "int8"):
        engine = open_engine("openvino", shipped, precision=precision)
        result = Segmenter(engine, shipped.table).segment(frame)
        labels.append(result.labels)
        confidence.append(result.confidence.astype(int))
        engine.close()
    assert np.mean(labels[0] == labels[1]) > 0.85  # a drawn street is nothing that it was quantised for
    assert np.median(np.abs(confidence[0] - confidence[1])) < 20
    assert not np.array_equal(confidence[0], confidence[1])  # else int8 did not run


@pytest.mark.parametrize(("engine", "precision", "message"), [
    ("openvino", "int8", "export one with --int8"),
    ("openvino", "fp16", "openvino runs fp32, bf16, int8, not fp16"),
    ("onnxruntime", "int8", "onnxruntime runs fp32, not int8"),
    ("tensorrt", "bf16", "tensorrt runs fp16, int8, not bf16"),
])
def test_a_precision_that_cannot_run_is_refused(tmp_path, engine, precision, message):
    network = Network.load(write_colour_network(tmp_path))
    with pytest.raises(EngineError, match=message):
        open_engine(engine, network, precision=precision)


class WithoutBf16:
    """OpenVINO as on a processor without bf16: what is asked for is overruled, without a word."""

    def __getattr__(self, name):
        return getattr(CORE, name)

    def compile_model(self, model, device, settings):
        return CORE.compile_model(model, device, {**settings, "INFERENCE_PRECISION_HINT": "f32"})


def test_bf16_where_the_processor_has_none_is_refused(colour_network, monkeypatch):
    monkeypatch.setattr(openvino, "CORE", WithoutBf16())
    with pytest.raises(EngineError, match="doesn't run bf16 on this processor, it takes fp32: set precision to auto"):
        open_engine("openvino", colour_network, precision="bf16")
    for precision in ("auto", "fp32"):
        with open_engine("openvino", colour_network, precision=precision) as engine:
            assert engine.precision == "fp32"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_engine_tells_which_file_it_runs(shipped, precision):
    engine = open_engine("openvino", shipped, precision=precision)
    engine.close()
    path = shipped.path.with_suffix(".int8.onnx" if precision == "int8" else ".onnx")
    assert engine.loaded.file == path.name
    assert engine.loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert engine.loaded.runtime.startswith("OpenVINO 20")


@pytest.mark.parametrize(("content", "message"), [(None, "not beside it"), (b"something else", "is damaged")])
def test_an_int8_file_that_is_missing_or_damaged_is_refused(tmp_path, content, message):
    digest = hashlib.sha256(b"the real one").hexdigest()
    path = write_colour_network(tmp_path, int8={"file": "colours.int8.onnx", "sha256": digest})
    if content is not None:
        (tmp_path / "colours.int8.onnx").write_bytes(content)
    with pytest.raises(NetworkError, match=message):
        Network.load(path)
    facts = read_facts(path)
    del facts["int8"]
    write_facts(path, facts)
    assert Network.load(path).int8 is None


ENGINES_END = """
import gc, os, signal, sys
from pathlib import Path
from drive_seg.network import Network
from drive_seg.runtimes import open_engine

network = Network.load(Path(sys.argv[1]))
first, second = (open_engine("openvino", network) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("asked to end"))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_signal_after_engines_have_ended_is_handled(colour_network_path):
    """OpenVINO's CPU plugin replaces the stack on which Python's signal handlers run: see openvino_core."""
    done = subprocess.run([sys.executable, "-c", ENGINES_END, colour_network_path], capture_output=True, text=True,
                          check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "asked to end\n"), done.stderr
