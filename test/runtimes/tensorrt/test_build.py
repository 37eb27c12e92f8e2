"""TensorRT for RTX builds plans for real on machines without a GPU: parsed, typed, serialised, cached, refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from drive_seg.core.engine import EngineError
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes.tensorrt import builder as builds
from drive_seg.runtimes.tensorrt import typed_onnx
from drive_seg.runtimes.tensorrt.builder import ANY_GPU, Target, build, obtain_plan
from drive_seg.runtimes.tensorrt.library import Library, load_library
from drive_seg.runtimes.tensorrt.plan import StoredPlan, sidecar_of
from drive_seg.runtimes.tensorrt.runner import PlanRefusedError, PlanRunner

ROOT = Path(__file__).resolve().parents[3]
SM86 = Target(ANY_GPU, (8, 6), here=False)


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
    assert stored.sidecar["key"] | {"onnx_sha256": network.sha256, "compute_capability": "8.6",
                                    "version": rtx.version, "gpu": "any"} == stored.sidecar["key"]
    assert path.read_bytes() == stored.data and len(stored.data) > default_network().stat().st_size / 2
    assert any("%" in line for line in lines), "no progress was shown"
    again = []
    assert obtain_plan(network, network.input_size, rtx, SM86, tmp_path, again.append)[1].data == stored.data
    assert again == [], "it was built again"


def small(path: Path, nodes: list, shape=(1, 3, 32, 32)) -> Network:
    """A network of these nodes, from `image` to `logits`, with a class table of three."""
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    classes = [{"id": i, "name": str(i), "group": "road", "colour": [0, 0, 0], "drivable": False} for i in range(3)]
    path.with_suffix(".yaml").write_text(yaml.safe_dump({
        "format": 1, "onnx_sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "classes": classes,
        "input": {"height": 32, "width": 32}}))
    return Network.load(path)


def chain(*ops: str) -> list:
    names = ["image", *(f"t{i}" for i in range(len(ops) - 1)), "logits"]
    return [helper.make_node(op, [a], [b]) for op, a, b in zip(ops, names[:-1], names[1:], strict=True)]


def test_kept_layers_are_built_in_fp32_and_reported(rtx, tmp_path):
    network = small(tmp_path / "a.onnx", chain("Relu", "Sigmoid", "Tanh"))
    typed = typed_onnx.typed_fp16(typed_onnx.load_onnx(network.path), ["t1"])
    facts = build(rtx, typed, ("t1",), SM86, None, print).facts
    assert facts["precision"] == "fp16, 1 layer fp32" and len(facts["fp32"]) == 1
    assert facts["layer_types"]["FLOAT"] and facts["layer_types"]["HALF"]


def test_fp32_that_nobody_asked_for_is_an_error(rtx, tmp_path):
    network = small(tmp_path / "a.onnx", chain("Relu", "Sigmoid"))
    typed = typed_onnx.typed_fp16(typed_onnx.load_onnx(network.path), ["t0"])
    with pytest.raises(EngineError, match="as fp32 though the network is fp16"):
        build(rtx, typed, (), SM86, None, print)
    with pytest.raises(EngineError, match="as fp32 though|types"):
        build(rtx, typed_onnx.load_onnx(network.path), (), SM86, None, print)


def test_an_unsupported_operator_is_named(rtx, tmp_path):
    nodes = [helper.make_node("Relu", ["image"], ["t"]), helper.make_node("Det", ["t"], ["d"]),
             helper.make_node("Add", ["t", "d"], ["logits"])]
    network = small(tmp_path / "a.onnx", nodes, (1, 3, 3, 3))
    network = Network(network.path, network.name, network.sha256, (3, 3), network.table)
    with pytest.raises(EngineError, match=r"operator Det \(layer d\).*export the network without it"):
        obtain_plan(network, network.input_size, rtx, SM86, tmp_path)
    assert not list(tmp_path.glob("*.plan"))


def test_a_dynamic_network_is_refused(rtx, tmp_path):
    network = small(tmp_path / "a.onnx", chain("Relu"), (1, 3, "h", "w"))
    with pytest.raises(EngineError, match="static shape"):
        obtain_plan(network, network.input_size, rtx, SM86, tmp_path)


def test_another_size_than_the_yaml_file_says_is_refused(rtx, tmp_path):
    network = small(tmp_path / "a.onnx", chain("Relu"), (1, 3, 64, 64))
    with pytest.raises(EngineError, match="its YAML file says"):
        obtain_plan(network, network.input_size, rtx, SM86, tmp_path)


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
    assert "builds" in lines[0] and len(again.data) > 1000
    assert isinstance(builds.plans.load(path, builds.key_for(network, network.input_size, rtx, SM86, ())), StoredPlan)


def test_gpus_that_this_tensorrt_cannot_build_for(rtx, tmp_path):
    with pytest.raises(EngineError, match="compute capability 8.7 from another machine; it does for 7.5"):
        builds.check_target(rtx, Target(ANY_GPU, (8, 7), here=False))
    plain = Library(SimpleNamespace(), "tensorrt", "10.3.0")  # it knows no other GPUs' compute capabilities
    with pytest.raises(EngineError, match="builds only for the GPU it runs on: build there, or use TensorRT for RTX"):
        builds.check_target(plain, SM86)


def test_a_tensorrt_that_does_not_start_says_why(rtx, tmp_path):
    def no_builder(log):  # as pybind11 does for a null pointer
        log.log(rtx.module.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    broken = Library(SimpleNamespace(ILogger=rtx.module.ILogger, Builder=no_builder), "tensorrt", "10.3.0")
    with pytest.raises(EngineError, match="10.3.0 can't start a builder: CUDA initialization failure"):
        build(broken, None, (), SM86, None, print)


def test_without_a_driver_a_plan_is_refused_with_tensorrt_s_own_reason(rtx, tmp_path, no_driver):
    network = small(tmp_path / "a.onnx", chain("Relu"))
    _, stored = obtain_plan(network, network.input_size, rtx, SM86, tmp_path)
    with pytest.raises(PlanRefusedError, match="doesn't load the plan.*driver"):
        PlanRunner(None, rtx, stored.data)


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
    said = [process.communicate(timeout=300) for process in both]
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
    assert re.search("is cut short: 4 bytes.*, and .*can't be written .Read-only file system.*name a folder",
                     refused.stderr)


@pytest.mark.parametrize("arguments, says", [
    ([], "no NVIDIA driver.*--compute-capability"),
    (["--compute-capability", "8.7"], "doesn't build for compute capability 8.7"),
    (["--compute-capability", "8.6", "--network", "nowhere.onnx"], "no network at nowhere.onnx"),
    (["--compute-capability", "8.6", "-o", "here.json"], "must end with .plan"),
])
def test_the_command_fails_with_one_line(rtx, tmp_path, no_driver, arguments, says):
    process = start_build(tmp_path, *arguments)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2 and out == ""
    assert len([line for line in err.strip().splitlines() if "usage:" not in line and line[0] != " "]) == 1
    assert re.search(says, err)
