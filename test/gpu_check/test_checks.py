"""The GPU check's own code: it finds what is right and what is wrong, and ends with one line without a GPU."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from colours import paint_scene
from host_gpu import HostGpu, HostRunner, build_kernels

from drive_seg.core.engine import EngineError
from drive_seg.gpu_check import __main__ as gpu_check
from drive_seg.gpu_check import checks, timing
from drive_seg.gpu_check.__main__ import _int8, main
from drive_seg.gpu_check.checks import check_batches, check_frames, check_kernels
from drive_seg.gpu_check.findings import Findings
from drive_seg.gpu_check.runners import run_nodes
from drive_seg.gpu_check.timing import time_start
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes.onnxruntime import OnnxRuntimeEngine
from drive_seg.runtimes.tensorrt.engine import TensorRtEngine
from drive_seg.runtimes.tensorrt.frame_path import Slot

FLAVOURS = [("tensorrt", "TensorRT"), ("tensorrt_rtx", "TensorRT for RTX")]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def few_encodings(monkeypatch):
    """For what shows in every frame, whatever its encoding and size."""
    monkeypatch.setattr(checks, "ENCODINGS", ("bgr8", "nv12", "mono8"))
    monkeypatch.setattr(checks, "_SIZES", ((242, 322),) * 6)


def test_right_kernels_pass(library, colour_network):
    gpu, findings = HostGpu(library), Findings()
    check_kernels(gpu, colour_network, [], findings, quick=True)
    assert len(findings.lines) == 6 and findings.failed == 0, findings.lines
    gpu.close()


@pytest.mark.parametrize("spoiled, finding", [("decode", "classes and labels"),
                                              ("prepare", "every element written")])
def test_wrong_kernels_fail(library, colour_network, few_encodings, spoiled, finding):
    class Spoiled(HostGpu):
        def launch(self, kernel, blocks, threads, arguments, shared=0) -> None:
            if kernel == "decode" == spoiled:
                arguments = type(arguments).from_buffer_copy(arguments)
                arguments.classes -= 1  # the last class is never found
            if kernel == "prepare" == spoiled:
                blocks = (blocks[0], blocks[1] - 1)  # the last rows are not written
            super().launch(kernel, blocks, threads, arguments, shared)

    findings = Findings()
    check_kernels(Spoiled(library), colour_network, [], findings, quick=True)
    assert any(line["holds"] is False and finding in line["what"] for line in findings.lines), findings.lines


def test_a_graph_that_is_refused_fails(library, colour_network, few_encodings):
    class Refusing(HostGpu):
        def capture(self, work):
            raise EngineError("cuStreamBeginCapture_v2 failed")

    findings = Findings()
    check_kernels(Refusing(library), colour_network, [], findings, quick=True)
    assert [line["what"].split(", ")[-1] for line in findings.lines if not line["holds"]] == ["as one CUDA graph"]


def test_times_every_piece_at_every_size(library, colour_network, monkeypatch):
    monkeypatch.setattr(timing, "SIZES", ((36, 64), (72, 128)))
    monkeypatch.setattr(timing, "_REPEATS", 1)
    gpu, findings = HostGpu(library), Findings()
    runner = HostRunner(gpu, colour_network)
    timing.time_frames(gpu, runner, colour_network, findings, "this test")
    assert [row["size"] for row in findings.table] == ["64x36", "128x72"]
    for row in findings.table:
        assert all(row[name] > 0 for name in ("pre", "pre_floor", "network", "post", "post_floor", "whole", "host_gpu"))
        assert row["copies"] > 0
        assert row["whole"] > row["network"] and row["graph"] == "yes"
    # The kernels miss every limit of a GPU here. That is reported, and no failure.
    assert findings.failed == 0
    kernels = [line["result"] for line in findings.lines if "within 2x of its memory floor" in line["what"]]
    assert len(kernels) == 4 and all(result.endswith("NO") for result in kernels)
    gpu.close()


def test_another_input_size_than_the_file_s_own_is_timed_as_it_runs(library, colour_network, monkeypatch):
    monkeypatch.setattr(timing, "SIZES", ((360, 640),))
    monkeypatch.setattr(timing, "_REPEATS", 1)
    monkeypatch.setattr(timing, "bandwidth", lambda gpu: 1e9)
    gpu, intakes = HostGpu(library), []
    monkeypatch.setattr(timing, "Slot", lambda *args: intakes.append(args[3]) or Slot(*args))
    runner = HostRunner(gpu, colour_network)
    height, width = colour_network.input_size
    floors = []
    for size in ((height, width), (4 * height, 4 * width)):
        findings = Findings()
        timing.time_frames(gpu, runner, replace(colour_network, input_size=size), findings, "this test")
        floors.append(findings.table[0]["pre_floor"])
    assert floors[0] == floors[1] == (3 * 360 * 640 + 16 * height * width) / 1e9
    assert {intake.halvings for intake in intakes} == {intakes[0].halvings} != {0}
    gpu.close()


def test_whole_frames_are_compared_with_the_cpu_s(library, colour_network, colour_engine):
    gpu, findings = HostGpu(library), Findings()
    engine = TensorRtEngine(gpu, [HostRunner(gpu, colour_network)], colour_network, "fp16", "ONNX Runtime")
    images = [paint_scene(360, 640), paint_scene(720, 1280)]
    check_frames(engine, colour_engine, images, False, findings)
    assert [line["holds"] for line in findings.lines] == [True, True], findings.lines
    engine._slots[0]._decode.classes = 1  # nothing else is ever found
    check_frames(engine, colour_engine, images[1:], False, findings)
    assert findings.failed, findings.lines
    engine.close()


def test_batches_are_compared_with_single_frames(library, colour_network, monkeypatch):
    monkeypatch.setattr(checks, "_REPEATS", 1)
    gpu, findings = HostGpu(library), Findings()
    two = HostRunner(gpu, colour_network, 2)
    engine = TensorRtEngine(gpu, [two, HostRunner(gpu, colour_network, 1, two)], colour_network, "fp16", "ONNX Runtime")
    images = [paint_scene(180, 320), paint_scene(360, 640)]
    check_batches(engine, images, findings)
    assert [line["holds"] for line in findings.lines] == [True, None], findings.lines
    assert "100.000 % in the worst image" in findings.lines[0]["result"]
    engine._slots[1]._decode.logits = engine._slots[0]._decode.logits  # the second gets what the first should
    engine._paths.clear()
    check_batches(engine, images, findings)
    assert findings.lines[2]["holds"] is False, findings.lines
    engine._runners[2].spoil = 0
    check_batches(engine, images, findings)
    assert findings.lines[4]["holds"] is False and "not finite" in findings.lines[4]["result"]
    engine.close()


def test_findings_of_another_process_are_taken_over(tmp_path):
    theirs, ours = Findings(), Findings()
    theirs.must("a start", False, "3 s")
    theirs.row(size="64x36", pre=0.1)
    theirs.write(tmp_path / "out" / "part.json")
    assert ours.add(tmp_path / "out" / "part.json") == 1
    assert ours.failed == 1 and ours.table == theirs.table


@pytest.mark.parametrize("flavour, title", FLAVOURS)
def test_a_tensorrt_that_does_not_run_is_a_finding_and_no_failure(tmp_path, no_driver, flavour, title):
    run = subprocess.run([sys.executable, "-m", "drive_seg.gpu_check", "--runtime", flavour, "--out", str(tmp_path)],
                         capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    written = Findings()
    assert written.add(tmp_path / f"gpu_check-{flavour}.json") == 0
    assert [(line["what"], line["holds"]) for line in written.lines] == [(title, None)]
    assert "does not run here: " in written.lines[0]["result"]


def test_without_a_gpu_it_ends_with_one_line(no_driver):
    run = subprocess.run([sys.executable, "-m", "drive_seg.gpu_check"], capture_output=True, text=True, check=False,
                         cwd=ROOT)
    assert run.returncode == 2
    assert run.stderr.startswith("gpu-check: no NVIDIA driver") and len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("script, holds, says", [
    ("echo ERROR SUMMARY: 0 errors", True, "ERROR SUMMARY: 0 errors"),
    ("echo ERROR SUMMARY: 2 errors; exit 9", False, "ERROR SUMMARY: 2 errors"),
])
def test_what_the_sanitizer_finds_is_reported(tmp_path, monkeypatch, script, holds, says):
    findings = sanitized(tmp_path, monkeypatch, script)
    assert [(line["holds"], line["result"]) for line in findings.lines] == [(holds, says)] * 2


def test_a_sanitizer_that_takes_too_long_ends_with_what_it_started_and_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "_SANITIZER_LIMIT", 1)
    findings = sanitized(tmp_path, monkeypatch, f"sleep 600 & echo $! >> {tmp_path}/started; wait")
    assert [line["holds"] for line in findings.lines] == [None, None]
    assert all("has not ended after 1 s" in line["result"] for line in findings.lines)
    for number in map(int, (tmp_path / "started").read_text().split()):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            psutil.Process(number).wait(60)
        assert not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def sanitized(folder: Path, monkeypatch, script: str) -> Findings:
    """What is found with this shell script for compute-sanitizer."""
    tool = folder / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    findings = Findings()
    gpu_check._sanitizer(SimpleNamespace(out=folder, network=None), findings)
    return findings


@pytest.mark.parametrize("arguments, says", [
    (["--frames", "README.md"], "Not a directory"),
    (["--frames", "docs"], "has no images|no NVIDIA driver"),
    (["--network", "nowhere.onnx"], "no network at nowhere.onnx"),
])
def test_what_it_cannot_start_with_is_one_line(arguments, says, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["gpu-check", *arguments])
    assert main() == 2
    said = capsys.readouterr().err
    assert re.search(f"^gpu-check: .*({says})", said) and len(said.splitlines()) == 1


def test_a_python_without_the_packages_is_one_line(tmp_path):
    run = subprocess.run([sys.executable, "-S", "-m", "drive_seg.gpu_check"], capture_output=True, text=True,
                         check=False, cwd=ROOT)  # -S: none that was installed
    assert run.returncode == 2
    assert re.search("^gpu-check: No module named .*pip install", run.stderr) and len(run.stderr.splitlines()) == 1


def test_a_start_that_fails_is_a_finding(tmp_path):
    findings = Findings()
    time_start(default_network(), tmp_path, "tensorrt_rtx", findings)
    if findings.lines[0]["holds"]:
        pytest.skip("this machine has a GPU and TensorRT")
    assert "EngineError" in findings.lines[0]["result"]


@pytest.mark.train
def test_the_stand_in_computes_the_same_network():
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test-train")
    import onnx
    from onnx import numpy_helper

    network = Network.load(default_network())
    engine = OnnxRuntimeEngine(network)
    image = np.random.default_rng(0).integers(0, 256, (*network.input_size, 3), np.uint8)
    typed = onnx.load(str(network.fp16))
    weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).astype(np.float32))
               for w in typed.graph.initializer}
    with torch.inference_mode():
        found = run_nodes(torch, typed.graph.node, weights, ("image", "logits"),
                          torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32)))[0].numpy()
    wanted = engine.infer(image)
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    engine.close()


def test_int8_is_a_row_of_its_own(colour_network, tmp_path, no_driver):
    """Without a driver its start is what fails; a network without that version is not a failure."""
    findings = Findings()
    args = SimpleNamespace(runtime="tensorrt")
    _int8(colour_network, "TensorRT", tmp_path, args, findings, None, [], False)
    assert findings.failed == 0 and "no 8-bit version" in str(findings.lines[-1])
    _int8(Network.load(default_network()), "TensorRT", tmp_path, args, findings, None, [], False)
    assert findings.failed == 1 and "TensorRT in int8" in str(findings.lines[-1])
