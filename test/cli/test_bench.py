"""`drive-seg bench`: that it measures what it says."""

import io
import json
import os
from contextlib import redirect_stdout
from functools import partial

import cv2
import numpy as np
import pytest

from drive_seg.bench import table
from drive_seg.bench.measure import interleave, summary
from drive_seg.bench.networks import at_size, count
from drive_seg.bench.resolutions import compare
from drive_seg.bench.targets import check
from drive_seg.cli.main import main
from drive_seg.core.decode import Decoder
from drive_seg.runtimes import open_engine


@pytest.fixture(scope="module")
def few_frames():
    """For a benchmark whose figures are only looked at."""
    from drive_seg.bench import every_output, replay_rate

    def rows(settings, model, ros, count):
        return measured(settings, model, ros, 6)

    measured = every_output.measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(every_output, "measure", rows)
        patch.setattr(replay_rate, "measure", partial(replay_rate.measure, count=6, rounds=2))
        yield


def bench(*arguments: object) -> dict:
    """What the command prints with --json."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["bench", "--json", *map(str, arguments)]) == 0
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """A folder with pictures of a painted street."""
    folder = tmp_path_factory.mktemp("footage")
    noise = np.random.default_rng(3)
    for i in range(12):
        picture = np.full((360, 640, 3), (90, 90, 90), np.uint8)
        picture[:180] = (240, 180, 120)
        picture[200:300, 40 * i: 40 * i + 60] = (20, 30, 200)
        cv2.imwrite(str(folder / f"{i:03}.png"), picture + noise.integers(0, 9, picture.shape, np.uint8))
    return folder


@pytest.fixture(scope="module")
def result(footage, colour_network_path, few_frames) -> dict:
    return bench("--frames", 3, "--source", footage, "--network", colour_network_path)


def test_every_stage_is_measured(result):
    ours = result["ways"]["drive_seg"]
    assert set(ours) >= {"receive", "resize", "infer", "decode", "drivable", "publish", "whole"}
    assert all(0 < stage["median"] <= stage["p99"] for stage in ours.values())
    assert result["camera_size"] == [720, 1280] and result["input_size"] == [96, 160]


def test_the_same_network_runs_the_other_ways(result):
    assert set(result["ways"]["nav2"]) == {"receive", "resize", "infer", "decode", "publish", "whole"}
    assert result["bisenetv2_infer_ms"] > 0
    assert ("pytorch_infer_ms" in result) != any("PyTorch" in note for note in result["notes"])


def test_frames_over_dds_are_accounted_for(result):
    dds = result["over_dds"]
    assert dds["published"] == 100
    assert 0 < dds["answered"] <= dds["segmented"] <= dds["received_by_node"] <= dds["published"]
    assert dds["segmented"] + dds["replaced_by_newer"] <= dds["received_by_node"]
    assert dds["lost_to_transport"] == dds["published"] - dds["received_by_node"]
    assert dds["latency_ms"]["p50"] > dds["inference_ms"] > 0
    assert 50 < dds["node_memory_mb"]["own"] < dds["node_memory_mb"]["highest"]


def test_what_two_processors_do_together_is_reported(result):
    ratio = result["two_processors_over_one"]
    if len(os.sched_getaffinity(0)) < 2:
        assert ratio is None
    else:
        assert 0.3 < ratio < 2.5  # of shared processors anything up to 2, and some noise
        assert f"{ratio:.1f} times" in table.stages(result)


def test_each_target_has_a_verdict(result):
    assert len(result["targets"]) == 8
    assert all(isinstance(target["met"], bool) and target["measured"] for target in result["targets"])


def test_what_planners_get_is_measured_beside_the_masks_alone(result):
    rows = result["outputs"]
    assert set(rows) == set(table.ROWS)
    assert set(rows["nothing"]["stages_ms"]) == {"receive", "diagnostics"}  # nothing else was computed
    assert {"grid", "scan", "points"} <= set(rows["planner"]["stages_ms"])
    assert not {"grid", "scan", "points"} & set(rows["masks"]["stages_ms"])
    assert all(rows["planner"]["stages_ms"][name] > 0 for name in ("health", "grid", "scan", "points"))
    assert rows["temporal"]["stages_ms"]["temporal"] > 0
    assert "temporal" not in rows["masks"]["stages_ms"]
    assert rows["masks"]["added_ms"] == 0  # the others are beside it
    text = table.stages(result)
    assert all(name in text for name in table.ROWS.values())


def test_one_node_for_several_cameras_beside_single_ones(tmp_path, colour_network_path, monkeypatch):
    from drive_seg.bench import cameras

    monkeypatch.setattr(cameras, "_WARM", 0.3)
    monkeypatch.setattr(cameras, "_TURNS", 3)
    ground = cv2.resize(np.random.default_rng(3).integers(0, 256, (40, 120, 3), np.uint8), (1920, 640))
    for i in range(12):  # every part moves: no camera is thought covered
        cv2.imwrite(str(tmp_path / f"{i:03}.png"), ground[20 * i: 20 * i + 360, 100 * i: 100 * i + 640])
    result = bench("--cameras", 2, "--frames", 15, "--source", tmp_path, "--network", colour_network_path)
    rows = result["rows"]
    assert [row["cameras"] for row in rows] == [1, 2]
    for row in rows:
        for way in ("one node", "single nodes"):
            assert len(row[way]["each"]) == row["cameras"] and all(each > 0 for each in row[way]["each"])
            assert 0 < row[way]["latency_ms"]["p50"] <= row[way]["latency_ms"]["p95"] and row[way]["cpu_ms"] > 0
        assert set(row["ratio"]) == {"frames_per_s", "cpu_ms", "memory_mb"}
    one, two = rows
    assert two["single nodes"]["memory_mb"] > two["one node"]["memory_mb"]
    assert two["ratio"]["memory_mb"] < one["ratio"]["memory_mb"], "one process, not two"
    assert len(table.cameras(result).splitlines()) == 6


def test_a_gpu_s_frame_is_one_piece_and_its_pieces_have_a_table():
    def times(median: float) -> dict:
        return {"median": median, "p99": median}

    result = {"network": "n", "input_size": [384, 512], "camera_size": [720, 1280], "engine": "tensorrt",
              "precision": "fp16", "device": "Orin", "frames": 9, "targets": [], "notes": [],
              "bisenetv2_infer_ms": 20.0,
              "ways": {"drive_seg": {"copy_in": times(1.0), "gpu": times(5.0), "copy_out": times(0.5),
                                     "whole": times(8.0)}},
              "gpu": [{"size": "640x360", "pre": 0.012, "network": 2.5}]}
    assert check(result)[0].measured == "3.0 of 20.0 ms = 15%"
    text = table.stages(result)
    assert "all but inference: 3.0 ms = 60%" in text and "640x360  0.012    2.500" in text


def test_resolutions(colour_network, tmp_path):
    rows = compare(colour_network, tmp_path, 3, [(96, 160), (192, 160)])
    for row in rows:
        assert row["network"]["parameters"] == 5 * 3 + 5  # one 1x1 convolution, 3 -> 5, with biases
        assert row["network"]["multiply_adds"] == 15 * row["height"] * row["width"]
        assert row["ratio"]["infer_ms"] > 1
    small, large = (row["bisenetv2"]["multiply_adds"] for row in rows)
    assert large == pytest.approx(2 * small, rel=0.01)
    text = table.resolutions({"network": "colours", "rows": rows})
    assert "160x96" in text and "160x192" in text


@pytest.mark.parametrize("arguments, says", [
    (["--frames", "0"], "--frames"),
    (["--source", "nowhere.mp4"], "nowhere.mp4"),
    (["--network", "nowhere.onnx"], "nowhere.onnx"),
    (["--resolutions", "--engine", "onnxruntime"], "leave out --engine"),
    (["--resolutions", "--precision", "fp32", "--size", "96x160", "--source", "x.mp4"],
     "leave out --precision, --size, --source"),
    (["--resolutions", "--cameras", "3", "--no-dds"], "leave out --cameras, --no-dds"),
    (["--cameras", "3", "--no-dds"], "leave out --no-dds"),
    (["--cameras", "0"], "--cameras must be from 1 to 8"),
])
def test_bad_arguments_end_with_one_line(arguments, says, colour_network_path, capsys):
    if "--network" not in arguments:
        arguments = [*arguments, "--network", str(colour_network_path)]
    assert main(["bench", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said and len(said.strip().splitlines()) == 1


def test_every_way_gets_the_same_size(colour_network, tmp_path):
    assert at_size(colour_network, (96, 160), tmp_path) is colour_network
    resized = at_size(colour_network, (64, 128), tmp_path)
    image = np.random.default_rng(1).integers(0, 256, (64, 128, 3), np.uint8)
    answers = []
    for name, network in (("onnxruntime", resized), ("openvino", colour_network)):
        engine = open_engine(name, network, input_size=(64, 128), precision="fp32")
        answers.append(engine.infer(image).copy())
        engine.close()
    np.testing.assert_allclose(*answers, rtol=1e-3, atol=1e-2)


def test_all_run_at_the_size_and_precision_that_were_asked_for(footage, colour_network_path, few_frames):
    result = bench("--frames", 3, "--source", footage, "--network", colour_network_path, "--no-dds", "--size", "64x128",
                   "--precision", "fp32")
    assert result["input_size"] == [64, 128] and "nav2" in result["ways"]
    assert result["precision"] == result["bisenetv2_precision"] == "fp32"
    assert not [note for note in result["notes"] if "installed" not in note]
    assert "BiSeNetV2 on the same engine, fp32: inference" in table.stages(result)


def test_the_nav2_way_labels_as_ours_does(colour_network):
    from drive_seg.bench.ways import full_size_softmax

    logits = np.random.default_rng(5).normal(0, 3, (5, 12, 20)).astype(np.float32)
    labels, confidence = full_size_softmax(logits, (90, 170))
    decoder = Decoder(colour_network.table, threads=1)
    ours = decoder.decode(logits, (90, 170)).classes
    decoder.close()
    assert (labels == ours).mean() > 0.999  # OpenCV rounds its weights
    assert confidence.min() >= 255 // 5


@pytest.mark.train
def test_torch_runs_the_same_network(colour_network, tmp_path):
    pytest.importorskip("torch", reason="needs PyTorch: make test-train")
    from drive_seg.bench.torch_eager import TorchEager
    from drive_seg.resources import default_network

    shipped = type(colour_network).load(default_network())
    for network in (colour_network, shipped, at_size(shipped, (128, 192), tmp_path)):
        image = np.random.default_rng(1).integers(0, 256, (*network.input_size, 3), np.uint8)
        engine = open_engine("onnxruntime", network)
        expected = engine.infer(image)
        engine.close()
        np.testing.assert_allclose(TorchEager(network.path, 1).infer(image), expected, rtol=1e-3, atol=1e-2)


def test_convolutions_are_counted(tmp_path):
    from onnx import TensorProto, helper, numpy_helper, save

    weights = [("w1", (8, 3, 3, 3)), ("w2", (8, 1, 3, 3)), ("w3", (2, 8, 1, 1))]
    tensors = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights]
    nodes = [helper.make_node("Conv", ["image", "w1"], ["a"], strides=[2, 2], pads=[1] * 4),
             helper.make_node("Conv", ["a", "w2"], ["b"], group=8, pads=[1] * 4),
             helper.make_node("Conv", ["b", "w3"], ["logits"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 64])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 16, 32])], tensors)
    path = tmp_path / "net.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    assert count(path) == (8 * 27 + 8 * 9 + 16, 16 * 32 * (8 * 27 + 8 * 9 + 16))
    assert count(path, (64, 64))[1] == 2 * count(path)[1]


def test_ways_take_turns():
    order = []

    def way(name):
        return lambda number: order.append((name, number)) or {"whole": float(number)}

    samples = interleave({"a": way("a"), "b": way("b")}, 6)
    assert [len(sample) for sample in samples.values()] == [6, 6]
    turns = [name for i, (name, _) in enumerate(order) if i == 0 or order[i - 1][0] != name]
    assert turns == ["a", "b"] * 3, "one turn each to warm up, then by turns"
    assert [number for name, number in order if name == "a"] == [number for name, number in order if name == "b"]
    assert summary([{"whole": 1.0}, {"whole": 3.0}, {"whole": 2.0}])["whole"]["median"] == 2.0


@pytest.mark.parametrize("change, missed", [
    ({}, None),
    ({"whole": 60.0}, "inference"),
    ({"nav2": 119.0}, "Nav2"),
    ({"highest": 701.0}, "MB"),
    ({"beyond": 15.5}, "median"),
    ({"lost": 1}, "transport"),
    ({"results_lost": 1}, "transport"),
    ({"added": 0.11}, "planners"),
    ({"watching": 0.5}, "nobody"),
])
def test_targets(change, missed):
    figures = {"whole": 40.0, "nav2": 300.0, "highest": 400.0, "beyond": 9.0, "lost": 0, "results_lost": 0,
               "added": 0.09, "watching": 0.3} | change
    result = {
        "ways": {"drive_seg": {"whole": {"median": figures["whole"]}, "infer": {"median": 30.0}},
                 "nav2": {"whole": {"median": figures["nav2"]}}},
        "bisenetv2_infer_ms": 80.0,
        "outputs": {"masks": {"frame_ms": 40.0},
                    "planner": {"added_ms": 40 * figures["added"], "added_share": figures["added"]},
                    "nothing": {"frame_ms": 2.0 + figures["watching"], "stages_ms": {"receive": 2.0}}},
        "over_dds": {"node_memory_mb": {"highest": figures["highest"]}, "latency_ms": {"p50": 39.0},
                     "inference_ms": 30.0, "beyond_inference_ms": {"p50": figures["beyond"]},
                     "lost_to_transport": figures["lost"], "results_lost": figures["results_lost"], "published": 100},
    }
    failed = [target.text for target in check(result) if not target.met]
    assert len(failed) == (missed is not None) and all(missed in text for text in failed)
