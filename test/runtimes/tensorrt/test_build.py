"""TensorRT for RTX builds plans for real on machines without a GPU: parsed, typed, serialised, cached, refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from drive_seg.cli.main import main
from drive_seg.core.engine import EngineError
from drive_seg.fp16.write import write_fp16
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes.tensorrt import builder as builds
from drive_seg.runtimes.tensorrt.builder import ANY_GPU, Target, build_apart, obtain_plan
from drive_seg.runtimes.tensorrt.library import Library, load_library
from drive_seg.runtimes.tensorrt.plan import StoredPlan, plan_path, sidecar_of
from drive_seg.runtimes.tensorrt.runner import PlanRefusedError, PlanRunner

ROOT = Path(__file__).resolve().parents[3]
SM86 = Target(ANY_GPU, (8, 6))


@pytest.fixture(scope="session")
def rtx() -> Library:
    try:
        return load_library("tensorrt_rtx")
    except EngineError as error:
        pytest.skip(f"no plan can be built here: {error} (`make test` installs it on x86-64 Linux where it can)")


def test_the_network_that_ships_is_built_in_fp16(rtx, tmp_path):
    network = Network.load(default_network())
    lines = []
    path, stored = obtain_plan(network, network.input_size, rtx, SM86, tmp_path, lines.append)
    built = stored.sidecar["built"]
    assert built["precision"] == "fp16" and built["fp32"] == []
    assert set(built["layer_types"]) == {"HALF"} and built["layer_types"]["HALF"] > 50
    assert built["shapes"]["image"] == [1, 3, *network.input_size]
    assert built["shapes"]["logits"][:2] == [1, len(network.table)]
    assert stored.sidecar["key"] | {"onnx_sha256": network.fp16_sha256, "compute_capability": "8.6",
                                    "version": rtx.version, "gpu": "any"} == stored.sidecar["key"]
    assert path.read_bytes() == stored.data and len(stored.data) > network.fp16.stat().st_size
    assert any("%" in line for line in lines), "no progress was shown"
    again = []
    assert obtain_plan(network, network.input_size, rtx, SM86, tmp_path, again.append)[1].data == stored.data
    assert again == [], "it was built again"


def test_the_network_that_ships_is_built_in_int8(rtx, tmp_path):
    network = Network.load(default_network())
    lines = []
    path, stored = obtain_plan(network, network.input_size, rtx, SM86, tmp_path, lines.append, precision="int8")
    built, key = stored.sidecar["built"], stored.sidecar["key"]
    assert built["precision"] == key["precision"] == "int8" and built["fp32"] == []
    assert key["onnx_sha256"] == network.int8_gpu_sha256 and "in int8 for" in lines[1]
    assert built["layer_types"]["INT8"] > 50 and built["shapes"]["logits"][1] == len(network.table)
    other = builds.key_for(network, network.input_size, rtx, SM86)
    assert plan_path(tmp_path, network.name, other) != path
    assert "was built for" in builds.plans.load(path, other)


def test_a_network_without_8_bits_names_the_fix(rtx, tmp_path):
    network = Network.load(default_network())
    for missing, says in (({"int8_gpu": None}, "no int8 version for TensorRT.*python3 -m drive_seg.fp16"),
                          ({"int8_gpu": None, "int8": None}, "export the network with --int8, or use precision fp16")):
        with pytest.raises(EngineError, match=says):
            obtain_plan(replace(network, **missing), network.input_size, rtx, SM86, tmp_path, precision="int8")


def test_a_file_in_another_precision_is_not_built(rtx, tmp_path):
    network = Network.load(default_network())
    wrong = replace(network, int8_gpu=network.fp16, fp16=network.int8_gpu)
    for precision, says in (("int8", "0 layers as int8 though the network is int8"),
                            ("fp16", "layers as int8 though the network is fp16")):
        with pytest.raises(EngineError, match=says):
            obtain_plan(wrong, network.input_size, rtx, SM86, tmp_path, precision=precision)


def test_what_a_processor_s_8_bit_file_has_is_not_taken_by_tensorrt(rtx, tmp_path):
    """So there is a version for TensorRT: it knows no uint8 and no offsets."""
    network = Network.load(default_network())
    with pytest.raises(EngineError, match="can't take the operator QuantizeLinear|can't read the network"):
        build_apart(rtx, builds.key_for(network, network.input_size, rtx, SM86, "int8"), network.int8,
                    tmp_path / "timing", tmp_path / "a.plan", print)


def small(path: Path, nodes: list, shape=(1, 3, 32, 32), keep: tuple[str, ...] = ()) -> Network:
    """A network of these nodes, from `image` to `logits`, with a class table of three. keep: stays fp32."""
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    classes = [{"id": i, "name": str(i), "group": "road", "colour": [0, 0, 0], "drivable": False} for i in range(3)]
    path.with_suffix(".yaml").write_text(yaml.safe_dump({
        "format": 1, "onnx_sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "classes": classes,
        "input": {"height": 32, "width": 32}}))
    write_fp16(path, keep)
    return Network.load(path)


def chain(*ops: str) -> list:
    names = ["image", *(f"t{i}" for i in range(len(ops) - 1)), "logits"]
    return [helper.make_node(op, [a], [b]) for op, a, b in zip(ops, names[:-1], names[1:], strict=True)]


def test_kept_layers_are_built_in_fp32_and_reported(rtx, tmp_path):
    network = small(tmp_path / "a.onnx", chain("Relu", "Sigmoid", "Tanh"), keep=("t1",))
    key = builds.key_for(network, (32, 32), rtx, SM86)
    build_apart(rtx, key, network.fp16, tmp_path / "timing", tmp_path / "a.plan", print)
    facts = builds.plans.load(tmp_path / "a.plan", key).sidecar["built"]
    assert facts["precision"] == "fp16" and len(facts["fp32"]) == 1
    assert facts["layer_types"]["FLOAT"] and facts["layer_types"]["HALF"]


def test_fp32_that_nobody_asked_for_is_an_error(rtx, tmp_path):
    network = small(tmp_path / "a.onnx", chain("Relu", "Sigmoid"), keep=("t0",))
    model = onnx.load(str(network.fp16))
    for node in model.graph.node:
        node.name = node.name.replace(".fp32", "")
    onnx.save(model, str(tmp_path / "unnamed.onnx"))
    for wrong in (tmp_path / "unnamed.onnx", network.path):
        with pytest.raises(EngineError, match="as fp32 though the network is fp16"):
            build_apart(rtx, builds.key_for(network, (32, 32), rtx, SM86), wrong, tmp_path / "timing",
                        tmp_path / "a.plan", print)
    assert not list(tmp_path.glob("*.plan"))


def test_a_network_without_its_fp16_version_names_the_command(rtx, tmp_path):
    network = replace(small(tmp_path / "a.onnx", chain("Relu")), fp16=None)
    with pytest.raises(EngineError, match=f"python3 -m drive_seg.fp16 {network.path}"):
        obtain_plan(network, network.input_size, rtx, SM86, tmp_path)


def test_another_input_size_is_built_from_the_same_file(rtx, tmp_path):
    network = small(tmp_path / "a.onnx", chain("Relu"))
    path, stored = obtain_plan(network, (64, 96), rtx, SM86, tmp_path)
    assert stored.sidecar["built"]["shapes"]["logits"] == [1, 3, 64, 96] and "64x96" in path.name


def test_the_network_that_ships_is_built_for_a_batch_from_the_same_file(rtx, tmp_path):
    network = Network.load(default_network())
    lines = []
    path, stored = obtain_plan(network, network.input_size, rtx, SM86, tmp_path, lines.append, batch=3)
    shapes = stored.sidecar["built"]["shapes"]
    assert shapes["image"] == [3, 3, *network.input_size] and shapes["logits"][:2] == [3, len(network.table)]
    assert "in fp16 in batches of 3 for compute capability" in lines[1]
    assert stored.sidecar["key"]["onnx_sha256"] == network.fp16_sha256
    assert path != plan_path(tmp_path, network.name, builds.key_for(network, network.input_size, rtx, SM86))


def test_a_network_that_does_not_take_batches_is_refused_for_them(rtx, tmp_path):
    nodes = [helper.make_node("Constant", [], ["to"], value_ints=[1, 3, 32, -1]),
             helper.make_node("Reshape", ["image", "to"], ["logits"])]
    network = small(tmp_path / "a.onnx", nodes)
    obtain_plan(network, (32, 32), rtx, SM86, tmp_path)
    with pytest.raises(EngineError, match=r"gives \(1, 3, 32, 96\).*expected the static shape \[3, classes"):
        obtain_plan(network, (32, 32), rtx, SM86, tmp_path, batch=3)
    assert len(list(tmp_path.glob("*.plan"))) == 1


def test_the_command_builds_ahead_what_a_node_of_several_cameras_looks_for(rtx, tmp_path, capsys):
    network, plans = small(tmp_path / "a.onnx", chain("Relu")), tmp_path / "plans"
    words = ["build", "--plans", str(plans), "--network", str(network.path), "--compute-capability", "8.6"]
    assert main([*words, "--cameras", "2"]) == 0
    said = capsys.readouterr().out
    assert [len(re.findall(f"^plan: .*{what}", said, re.MULTILINE)) for what in ("", "batch2")] == [2, 1]
    again = []
    for batch in builds.batch_sizes(2):
        obtain_plan(network, (32, 32), rtx, SM86, plans, again.append, batch=batch)
    assert again == []


def test_a_build_that_is_killed_is_an_error_and_leaves_nothing(rtx, tmp_path, monkeypatch):
    """As Linux does to the largest process when memory ends; the node lives on."""
    network = small(tmp_path / "a.onnx", chain("Relu"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "killed"))
    (tmp_path / "killed").write_text("#!/bin/sh\nkill -9 $$\n")
    (tmp_path / "killed").chmod(0o755)
    with pytest.raises(EngineError, match="ended with code -9 while it built .memory used up"):
        obtain_plan(network, network.input_size, rtx, SM86, tmp_path)
    assert not list(tmp_path.glob("*.plan")) and not list(tmp_path.glob(".*.part"))


def test_an_unsupported_operator_is_named(rtx, tmp_path):
    nodes = [helper.make_node("Relu", ["image"], ["t"]), helper.make_node("Det", ["t"], ["d"]),
             helper.make_node("Add", ["t", "d"], ["logits"])]
    network = small(tmp_path / "a.onnx", nodes, (1, 3, 3, 3))
    network = replace(network, input_size=(3, 3))
    with pytest.raises(EngineError, match=r"operator Det \(layer .*\).*export the network without it"):
        obtain_plan(network, network.input_size, rtx, SM86, tmp_path)
    assert not list(tmp_path.glob("*.plan"))


def test_a_network_that_does_not_scale_is_refused_at_another_size(rtx, tmp_path):
    nodes = [helper.make_node("Constant", [], ["to"], value_ints=[1, 3, 32, 32]),
             helper.make_node("Reshape", ["image", "to"], ["logits"])]
    network = small(tmp_path / "a.onnx", nodes)
    obtain_plan(network, (32, 32), rtx, SM86, tmp_path)
    with pytest.raises(EngineError, match="gives nothing at this input size.*use its own size or export it again"):
        obtain_plan(network, (64, 64), rtx, SM86, tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "other GPU", "other version", "no sidecar"])
def test_a_plan_that_does_not_fit_is_built_again(rtx, tmp_path, damage):
    network = small(tmp_path / "a.onnx", chain("Relu"))
    path, first = obtain_plan(network, network.input_size, rtx, SM86, tmp_path)
    side = sidecar_of(path)
    if damage == "truncated":
        path.write_bytes(first.data[:1000])
    elif damage == "no sidecar":
        side.unlink()
    else:
        facts = json.loads(side.read_text())
        facts["key"]["gpu" if damage == "other GPU" else "version"] = "another"
        side.write_text(json.dumps(facts))
    lines = []
    _, again = obtain_plan(network, network.input_size, rtx, SM86, tmp_path, lines.append)
    assert "builds" in lines[1] and len(again.data) > 1000
    assert isinstance(builds.plans.load(path, builds.key_for(network, network.input_size, rtx, SM86)), StoredPlan)


def test_gpus_that_this_tensorrt_cannot_build_for(rtx, tmp_path):
    network = Network.load(default_network())
    with pytest.raises(EngineError, match="compute capability 8.7 from another machine; it does for 7.5"):
        builds.key_for(network, network.input_size, rtx, Target(ANY_GPU, (8, 7)))
    plain = Library(SimpleNamespace(), "tensorrt", "10.3.0")  # it knows no other GPUs' compute capabilities
    with pytest.raises(EngineError, match="builds only for the GPU it runs on: build there, or use TensorRT for RTX"):
        builds.key_for(network, network.input_size, plain, SM86)


def test_without_a_driver_a_plan_is_refused_with_tensorrt_s_own_reason(rtx, tmp_path, no_driver):
    network = small(tmp_path / "a.onnx", chain("Relu"))
    _, stored = obtain_plan(network, network.input_size, rtx, SM86, tmp_path)
    with pytest.raises(PlanRefusedError, match="doesn't load the plan.*driver"):
        PlanRunner(SimpleNamespace(on_close=id), rtx, stored.data, tmp_path / "a.jit")


def start_build(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "drive_seg.cli.main", "build", "--plans", str(folder), *arguments],
                            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_plan_put_elsewhere_is_found_under_the_name_that_was_said(rtx, tmp_path):
    network = small(tmp_path / "a.onnx", chain("Relu"))
    lines = []
    elsewhere, first = obtain_plan(network, network.input_size, rtx, SM86, tmp_path / "none", lines.append,
                                   path=tmp_path / "here.plan")
    assert elsewhere == tmp_path / "here.plan"
    name = re.search(r"\S+\.plan", lines[0])[0]
    robot = tmp_path / "robot"
    robot.mkdir()
    elsewhere.rename(robot / name)
    sidecar_of(elsewhere).rename(sidecar_of(robot / name))
    again = []
    assert obtain_plan(network, network.input_size, rtx, SM86, robot, again.append)[1].data == first.data
    assert again == []


def test_two_builds_at_once_don_t_fight(rtx, tmp_path):
    both = [start_build(tmp_path, "--compute-capability", "8.6") for _ in range(2)]
    said = [process.communicate(timeout=900) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("built in" in out for out, _ in said) == 1
    assert len(list(tmp_path.glob("*.plan"))) == len(list(tmp_path.glob("*.json"))) == 1
    assert not list(tmp_path.glob(".*.part"))


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


def test_a_read_only_folder_serves_a_plan_and_says_why_it_cannot_build(rtx, tmp_path):
    network, folder = small(tmp_path / "a.onnx", chain("Relu")), tmp_path / "plans"
    folder.mkdir()
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "sh", "-c", READ_ONLY,
             "sh", str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount in a namespace of its own")
    path, _ = obtain_plan(network, network.input_size, rtx, SM86, folder)
    build = [*alone, sys.executable, "-m", "drive_seg.cli.main", "build", "--compute-capability", "8.6", "--plans",
             str(folder), "--network", str(network.path)]
    served = subprocess.run(build, capture_output=True, text=True, check=False, cwd=ROOT)
    assert served.returncode == 0 and f"plan: {path}" in served.stdout, served.stderr
    path.write_bytes(b"half")
    refused = subprocess.run(build, capture_output=True, text=True, check=False, cwd=ROOT)
    assert refused.returncode == 2
    assert "is cut short: 4 bytes" in refused.stdout
    assert re.search("can't be written .Read-only file system.*name a folder", refused.stderr)


@pytest.mark.parametrize("arguments, says", [
    ([], "no NVIDIA driver.*--compute-capability"),
    (["--compute-capability", "8.7"], "doesn't build for compute capability 8.7"),
    (["--compute-capability", "8.6", "--network", "nowhere.onnx"], "no network at nowhere.onnx"),
    (["--compute-capability", "8.6", "-o", "here.json"], "must end with .plan"),
    (["--compute-capability", "8.6", "-o", "here.plan", "--cameras", "3"], "-o names one plan.*--plans"),
    (["--cameras", "0"], "'0' is not a whole number of 1 or more"),
])
def test_the_command_fails_with_one_line(rtx, tmp_path, no_driver, arguments, says, capsys):
    try:
        code = main(["build", "--plans", str(tmp_path), *arguments])
    except SystemExit as usage:  # as argparse ends
        code = usage.code
    out, err = capsys.readouterr()
    assert code == 2 and out == ""
    assert len([line for line in err.strip().splitlines() if "usage:" not in line and line[0] != " "]) == 1
    assert re.search(says, err)
