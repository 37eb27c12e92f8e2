"""Real pycuda and real cuda-bindings on a stand-in CUDA driver: threads, errors at every call, leaks, exits."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import onnx
import pytest
import yaml
from colours import paint_scene, write_colour_network
from cubins import CUDA_12, nvrtc_of
from stand_in import HELPERS, build_driver, run_script

from drive_seg.fp16.write import write_fp16


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """libcuda.so.1, the stand-in."""
    return build_driver(tmp_path_factory.mktemp("driver"))


NOTHING_LEFT = "0 device and 0 host buffers, 0 streams, 0 events, 0 modules, 0 graphs, 0 contexts left"


def must(run) -> str:
    """What a script that ended well printed; nothing was left with the driver."""
    assert run.returncode == 0, run.stderr[-3000:]
    assert NOTHING_LEFT in run.stderr, run.stderr[-3000:]
    return run.stdout


def test_open_run_and_close_on_different_threads_and_two_engines_at_once(library, package):
    must(run_script(library, """
from concurrent.futures import ThreadPoolExecutor
a, b, c = (ThreadPoolExecutor(1) for _ in range(3))
stand_in = driver()
for _ in range(2):  # the second time on threads that have seen a context end
    one, logits = a.submit(open_fixed, sys.argv[1]).result()
    two, _ = b.submit(open_fixed, sys.argv[1]).result()
    assert stand_in.stand_in_stream_flags() == 1  # the default stream waits for nobody
    assert stand_in.stand_in_event_flags() & 1  # blocking: a thread that waits takes no core
    for size in ((72, 128), (96, 160), (480, 640), (96, 160)):
        frames = [thread.submit(check_frame, engine, logits, size)
                  for thread, engine in ((b, one), (c, two), (a, one), (a, two))]
        [frame.result() for frame in frames]
    c.submit(one.close).result()
    b.submit(check_frame, two, logits).result()  # the other engine's context is still there
    a.submit(two.close).result()
    assert stand_in.stand_in_live() == 0, stand_in.stand_in_live()
    def use():
        with one._gpu.current():
            pass
    for thread in (a, b):
        error = thread.submit(use).exception()
        assert "the GPU was closed" in str(error), error
""", package))


@pytest.mark.parametrize("what", ["OUT_OF_MEMORY", "ILLEGAL_ADDRESS"])
def test_whatever_call_fails_it_is_an_engine_error_and_nothing_leaks(library, package, what):
    """The n-th call of all fails, for every n, while an engine opens and runs its first frame."""
    said = must(run_script(library, """
from drive_seg.core.engine import EngineError
stand_in, failed, messages = driver(), 0, set()
open_fixed(sys.argv[1])[0].close()
for n in range(1, 1000):
    stand_in.stand_in_fail(b"", n, globals()[sys.argv[2]])
    try:
        engine, logits = open_fixed(sys.argv[1])
        check_frame(engine, logits)
    except EngineError as error:
        failed += 1
        messages.add(str(error))
    finally:
        missed = not stand_in.stand_in_failed()
        stand_in.stand_in_fail(b"", 0, 0)
        if "engine" in globals():
            engine.close()
            del engine
    left = stand_in.stand_in_live()
    assert left == 0, f"{left} left after call {n} failed"
    if missed:  # all calls have had their turn
        break
print(failed, sorted(messages))
""", package, what))
    failed, messages = said.split(" ", 1)
    assert int(failed) > 40
    if what == "OUT_OF_MEMORY":
        assert "memory is used up" in messages


def test_memory_that_ends_at_each_allocation_names_the_fix(library, package):
    said = must(run_script(library, """
from drive_seg.core.engine import EngineError
stand_in = driver()
for function in (b"cuMemAlloc_v2", b"cuMemHostAlloc"):
    for n in range(1, 100):
        stand_in.stand_in_fail(function, n, OUT_OF_MEMORY)
        try:
            engine, _ = open_fixed(sys.argv[1])
        except EngineError as error:
            assert "memory is used up" in str(error) and "close other programs" in str(error), error
        else:
            stand_in.stand_in_fail(function, 0, 0)
            engine.close()
            break
        assert stand_in.stand_in_live() == 0
    print(n - 1)
""", package))
    # Network in and out, image, results, tables, on both sides. pycuda collects garbage and tries again, once.
    assert [int(n) for n in said.split()] == [5 if package == "cuda-bindings" else 0, 5]


def test_an_error_that_stays_ends_the_engine_and_never_the_program(library, package):
    run = run_script(library, """
from drive_seg.core.engine import EngineError
stand_in = driver()
engine, logits = open_fixed(sys.argv[1])
check_frame(engine, logits)
stand_in.stand_in_break(ILLEGAL_ADDRESS)
for expected in ("failed", "configure"):
    try:
        check_frame(engine, logits)
    except EngineError as error:
        assert expected in str(error), error
    else:
        raise AssertionError("no error")
assert engine.readings() == {}
engine.close()
print("alive")
""", package)
    assert run.returncode == 0 and run.stdout == "alive\n", run.stderr[-3000:]


def test_the_program_ends_in_mid_frame(library, package):
    must(run_script(library, """
import threading
engine, logits = open_fixed(sys.argv[1])
started = threading.Event()
def frames():
    while True:
        try:
            check_frame(engine, logits)
        except Exception:  # it was closed
            return
        started.set()
threading.Thread(target=frames, daemon=True).start()
started.wait()
""", package))


def test_a_gpu_that_is_forgotten_stays_open_until_the_end(library, package):
    said = must(run_script(library, """
import gc
from drive_seg.runtimes.tensorrt.gpu import Gpu
stand_in = driver()
gpu = Gpu(backend(sys.argv[1]))
before = stand_in.stand_in_live()
del gpu
gc.collect()
assert stand_in.stand_in_live() == before
print("ok")
""", package))
    assert said == "ok\n"


def test_a_gpu_without_a_place_in_pci_runs(library, package):
    must(run_script(library, """
stand_in = driver()
stand_in.stand_in_fail(b"cuDeviceGetPCIBusId", 1, 1)
engine, logits = open_fixed(sys.argv[1])
assert stand_in.stand_in_failed() and engine._gpu.device.bus_id is None
check_frame(engine, logits)
assert engine.readings()["gpu_memory"] == "2000 of 8000 MB used"
engine.close()
""", package))


@pytest.mark.parametrize("refused, loaded", [("", "sm_87.cubin"), ("cubin", "compute_80.ptx"), ("cubin ptx", "")])
def test_compiled_kernels_then_ptx_then_nvrtc(library, package, refused, loaded):
    if not loaded and nvrtc_of(*CUDA_12[:2]) is None:
        pytest.skip("NVRTC is not installed here")
    said = must(run_script(library, """
from drive_seg.core.engine import EngineError
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.kernels import load_kernels
gpu = Gpu(backend(sys.argv[1]))
try:
    with gpu.current():
        print(load_kernels(gpu))
except EngineError as error:
    print(error)
gpu.close()
""", package, STAND_IN_REFUSES=refused))
    if loaded:
        assert said == loaded + "\n"
    else:  # what NVRTC made is a cubin too, which this driver refuses
        assert re.search("sm_87.cubin: .*; compute_80.ptx: .*; NVRTC: ", said)


@pytest.fixture(scope="module")
def typed_network(tmp_path_factory):
    """The colour network with its fp16 version."""
    return write_fp16(write_colour_network(tmp_path_factory.mktemp("typed")))[0].with_name("colours.onnx")


def with_tensorrt(library, package, script: str, network, plans, *more: str, **environment: str):
    """Run a script under the stand-in driver with the stand-in for TensorRT; its arguments: network, plan folder, more.
    """
    return run_script(library, f"""
backend("{package}")
from pathlib import Path
from drive_seg.network import Network
from drive_seg.runtimes import open_engine
network, said = Network.load(sys.argv[1]), []
def opened(name="auto", cameras=1):
    return open_engine(name, network, cameras=cameras, plan_folder=Path(sys.argv[2]), progress=said.append)
""" + script, str(network), str(plans), *more, PYTHONPATH=str(HELPERS / "fake_tensorrt"), **environment)


def test_the_life_of_an_engine_from_open_to_close(library, package, typed_network, tmp_path):
    """Built in a process of its own, stored, opened, run, read, closed; opened again from the plan, without onnx."""
    must(with_tensorrt(library, package, """
import numpy as np
from colours import paint_scene
from drive_seg.core.frame import Frame
engine, cpu = opened(), open_engine("onnxruntime", network)
assert engine.name == "tensorrt" and engine.precision == "fp16" and engine.graph_refused is None
assert engine.loaded.file.endswith(".plan"), engine.loaded
frame = Frame.from_array(paint_scene(360, 640))
for size in ((360, 640), (96, 160)):
    assert (engine.decode(frame, size, {}).labels == cpu.decode(frame, size, {}).labels).mean() > 0.995
assert engine.readings()["gpu_memory"] == "2000 of 8000 MB used"
engine.close()
assert driver().stand_in_live() == 0
assert any("builds colours" in line for line in said) and any("50 %" in line for line in said), said
said.clear()
opened("tensorrt").close()
assert not any("builds" in line for line in said), said
""", typed_network, tmp_path))
    must(with_tensorrt(library, package, """
from drive_seg.runtimes.tensorrt import builder, engine, runner
assert "onnx" not in sys.modules, "a start imports onnx"
""", typed_network, tmp_path))


def test_a_soft_max_that_only_its_values_tell_is_refused_as_on_the_processor(library, package, tmp_path):
    path = write_colour_network(tmp_path)
    model, facts = onnx.load(str(path)), yaml.safe_load(path.with_suffix(".yaml").read_text())
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.extend(onnx.helper.make_node(*node, **more) for *node, more in (
        ("ReduceMax", ["scores"], ["most"], {"axes": [1]}), ("Sub", ["scores", "most"], ["less"], {}),
        ("Exp", ["less"], ["e"], {}), ("ReduceSum", ["e", "channels"], ["s"], {}), ("Div", ["e", "s"], ["logits"], {})))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "channels"))
    onnx.save(model, str(path))
    facts["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".yaml").write_text(yaml.safe_dump(facts))
    write_fp16(path)
    must(with_tensorrt(library, package, """
from drive_seg.core.engine import EngineError
words = []
for name in ("tensorrt", "openvino"):
    try:
        opened(name)
    except EngineError as error:
        words.append(str(error))
assert len(words) == 2 and words[0] == words[1] and "at every point its outputs add up to the same" in words[0], words
assert driver().stand_in_live() == 0
""", path, tmp_path))


def test_the_frames_of_three_cameras_go_through_at_once(library, package, typed_network, tmp_path):
    """A plan for each batch: built, stored, opened again, rebuilt, each by itself; all given back."""
    must(with_tensorrt(library, package, """
import numpy as np
from colours import paint_scene
from drive_seg.core.frame import Frame
single = opened()
frames = [Frame.from_array(np.roll(paint_scene(180, 320), 50 * i, 1)) for i in range(3)]
wanted = [single.decode(frame, frame.size, {}) for frame in frames]
single.close()
plans = Path(sys.argv[2])
(first,) = plans.glob("*.plan")

def builds(cameras):
    said.clear()
    engine = opened(cameras=cameras)
    assert engine.batches == {2: (1, 2), 3: (1, 2, 3)}[cameras], (engine.batches, said)
    for batch in (2, 1, cameras):
        results = engine.decode_batch(frames[:batch], [frame.size for frame in frames[:batch]],
                                      [{} for _ in range(batch)])
        for result, alone in zip(results, wanted[:batch], strict=True):
            for name in ("labels", "classes", "confidence"):
                np.testing.assert_array_equal(getattr(result, name), getattr(alone, name))
    assert engine.graph_refused is None and engine.loaded.file == first.name
    engine.close()
    assert driver().stand_in_live() == 0
    return [line.split(" for ")[0].split("in fp16")[1] for line in said if " builds " in line]

assert builds(3) == [" in batches of 2", " in batches of 3"], said  # the plan of one frame is what it was
assert sorted(path.name.split("-sm")[0] for path in plans.glob("*.plan")) == [
    "colours-96x160", "colours-96x160-batch2", "colours-96x160-batch3"]
assert builds(3) == builds(2) == []
(second,) = plans.glob("*-batch2-*.plan")
second.write_bytes(b"half")
assert builds(3) == [" in batches of 2"] and any("is cut short: 4 bytes" in line for line in said), said
""", typed_network, tmp_path))


def test_threads_of_three_cameras_share_batches_by_turns(library, package, typed_network, tmp_path):
    """Whichever thread runs a batch, and while others read the GPU's memory."""
    must(with_tensorrt(library, package, """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from colours import paint_scene
from drive_seg.core.frame import Frame
from drive_seg.ros.turns import Turns
engine, size = opened(cameras=3), (180, 320)
frames = [Frame.from_array(np.roll(paint_scene(*size), 50 * i, 1)) for i in range(3)]
wanted = [engine.decode(frame, size, {}).labels for frame in frames]
turns, sizes, run = Turns([engine]), [], engine.decode_batch
def noted(frames, *arguments):
    sizes.append(len(frames))
    return run(frames, *arguments)
engine.decode_batch = noted
places = [turns.join() for _ in frames]

def camera(i):
    for _ in range(40):
        taken = places[i].take()
        try:
            assert (places[i].decode(taken, frames[i], size, {}).labels == wanted[i]).all()
            assert engine.readings()["gpu_memory"] == "2000 of 8000 MB used"
        finally:
            places[i].end(again=True)
    places[i].leave()

with ThreadPoolExecutor(3) as threads:
    for done in [threads.submit(camera, i) for i in range(3)]:
        done.result(120)
assert sum(sizes) == 120 and max(sizes) > 1, sizes
engine.close()
assert driver().stand_in_live() == 0
""", typed_network, tmp_path))


def test_the_gpu_check_compares_batches(library, package, typed_network, tmp_path):
    must(with_tensorrt(library, package, """
from types import SimpleNamespace
from colours import paint_scene
from drive_seg.gpu_check import __main__ as gpu_check, checks
from drive_seg.gpu_check.findings import Findings
checks._REPEATS, findings = 1, Findings()
gpu_check._batches(network, Path(sys.argv[2]), SimpleNamespace(runtime="tensorrt"), findings, [paint_scene(90, 160)])
assert findings.failed == 0, findings.lines
assert [line["what"].partition(",")[0] for line in findings.lines] == [
    "a plan for each batch", "labels in batches of 2 equal those of single frames", "time of a batch of 2",
    "labels in batches of 3 equal those of single frames", "time of a batch of 3", "a batch is one CUDA graph"]
""", typed_network, tmp_path))


@pytest.mark.parametrize("fails, reason", [("batch", "can't build the network"),
                                           ("batch context", "can't set the network up")])
def test_without_batches_cameras_go_one_by_one(library, package, typed_network, tmp_path, fails, reason):
    said = must(with_tensorrt(library, package, """
import numpy as np
from drive_seg.core.frame import Frame
engine = opened("tensorrt", 3)
assert engine.batches == (1,) and engine.decode(Frame.from_array(np.zeros((96, 160, 3), np.uint8)), (96, 160), {})
engine.close()
print(*said, sep="\\n")
""", typed_network, tmp_path, FAKE_TENSORRT_FAILS=fails))
    assert re.search(f"frames of several cameras go through the GPU one by one: .*{reason}", said), said


FAILURES = {
    "runtime": "TensorRT 10.3.0 doesn't start", "deserialise": "doesn't load the plan: the plan is of another GPU",
    "context": "can't set the network up", "address": "doesn't take the address of image",
    "enqueue": "TensorRT failed on a frame: enqueue failed",
    "raise": "TensorRT 10.3.0 failed .RuntimeError: what a binding may raise",
}


@pytest.fixture(scope="module")
def failures(library, package, typed_network, tmp_path_factory) -> dict[str, list[str]]:
    """What is said where TensorRT fails at each of these: the engine's name, then the lines."""
    return json.loads(must(with_tensorrt(library, package, """
import json, tensorrt
found = {}
for fails in sys.argv[3:]:
    os.environ["FAKE_TENSORRT_FAILS"] = tensorrt.FAILS = fails  # for the process that builds, and here
    said.clear()
    engine = open_engine("auto", network, plan_folder=Path(sys.argv[2], fails), progress=said.append)
    found[fails] = [engine.name, *said]
    assert driver().stand_in_live() == 0, fails
    engine.close()
print(json.dumps(found))
""", typed_network, tmp_path_factory.mktemp("plans"), *FAILURES)))


@pytest.mark.parametrize("fails", FAILURES)
def test_wherever_tensorrt_fails_auto_takes_the_processor(failures, fails):
    name, *said = failures[fails]
    assert name == "openvino"
    assert re.search(f"engine auto takes openvino: .*{FAILURES[fails]}", "\n".join(said)), said


def test_the_gpu_check_runs_to_its_end(library, package, colour_network_path, tmp_path):
    """All of it but TensorRT, which isn't there."""
    import cv2

    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(2):
        cv2.imwrite(str(frames / f"{i}.png"), np.roll(paint_scene(90, 160), 7 * i, 1))
    run = run_script(library, """
package = sys.argv[1]
backend(package)
from drive_seg.gpu_check import __main__ as gpu_check, checks
from drive_seg.runtimes.tensorrt import gpu
checks._SIZES = ((36, 64), (121, 163), (242, 322), (60, 80))
checks.ENCODINGS = ("bgr8", "mono8", "rgba8", "yuv422", "nv12", "bayer_rggb8")
gpu.open_backend = lambda: backend(package)
sys.argv[1:] = sys.argv[2:]
sys.exit(gpu_check.main())
""", package, "--network", str(colour_network_path), "--frames", str(frames), "--out", str(tmp_path / "out"))
    assert run.returncode == 1, run.stdout + run.stderr  # neither TensorRT nor PyTorch for the network
    # One pixel of all may be a tie within the last bit of a float.
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")
              and not re.search(r"classes and labels: 1 of \d+ pixels differ", line)]
    assert len(failed) == 1 and failed[0].startswith("FAILED a network between the kernels"), run.stdout + run.stderr
    assert f"sm_87.cubin, by {package}" in run.stdout
    assert len(re.findall("^ok .*as one CUDA graph", run.stdout, re.MULTILINE)) >= 2
    assert NOTHING_LEFT in run.stderr
