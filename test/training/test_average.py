"""The mean of runs: their weights' mean, with batch norms that fit it."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: make test-train")
pytest.importorskip("onnx", reason="training needs onnx: make test-train")

from drive_seg.cli.main import main  # noqa: E402
from drive_seg.evaluation.dataset import Dataset  # noqa: E402
from drive_seg.network import Network  # noqa: E402
from drive_seg.training.average import average  # noqa: E402
from drive_seg.training.data import load_sources  # noqa: E402
from drive_seg.training.recipe import Phase, Recipe  # noqa: E402
from drive_seg.training.run_folder import RunError, load_run  # noqa: E402
from drive_seg.training.trainer import Trainer  # noqa: E402

pytestmark = pytest.mark.train
RECIPE = Recipe(steps=3, batch=2, workers=0, lovasz_pixels=100, lr=0.01, phases=(Phase(1.0, (96, 128), (1.0, 1.2)),))


@pytest.fixture(scope="module")
def datasets(world):
    return [Dataset.load(root) for root in world]


@pytest.fixture(scope="module")
def folders(datasets, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        Trainer(datasets, out / str(seed), replace(RECIPE, seed=seed), pretrained=False, device="cpu").train()
    return [out / "1", out / "2"]


def test_weights_are_the_mean_and_statistics_are_of_the_mean_network(folders, datasets):
    one, other = map(load_run, folders)
    mean = average([one, other], *load_sources(datasets, "train", one.table))
    weights = dict(mean.named_parameters())
    for name, theirs in other.network.named_parameters():
        ours = dict(one.network.named_parameters())[name]
        assert torch.allclose(weights[name], (ours + theirs) / 2, atol=1e-6), name
    assert not torch.equal(one.network.classify.weight, other.network.classify.weight)
    assert not mean.training
    # On training pictures a batch norm's outputs are nought on average, where its statistics are this network's.
    pictures = load_sources(datasets, "train", one.table)[0][0].images
    images = torch.stack([torch.from_numpy(picture) for picture in pictures]).permute(0, 3, 1, 2).float()
    norm, former = mean.context32[1], [run.network.context32[1] for run in (one, other)]
    outputs = []
    norm.register_forward_hook(lambda module, _, output: outputs.append(output.mean((0, 2, 3)).abs().mean()))
    with torch.no_grad():
        mean(images)
        norm.running_mean.copy_(sum(module.running_mean for module in former) / 2)
        norm.running_var.copy_(sum(module.running_var for module in former) / 2)
        mean(images)
    assert outputs[0] < outputs[1]


def test_one_run_alone_stays_nearly_as_it_is(folders, datasets):
    one = load_run(folders[0])
    mean = average([one, one], *load_sources(datasets, "train", one.table))
    for name, value in mean.named_parameters():
        assert torch.allclose(value, dict(one.network.named_parameters())[name]), name


def test_export_tells_whose_mean_it_is(folders, tmp_path, capsys):
    file = tmp_path / "net.onnx"
    arguments = ["export", str(folders[0]), "-o", str(file), "--size", "64x96"]
    assert main([*arguments, "--average", str(folders[1])]) == 0
    told = Network.load(file).provenance
    assert told["recipe"]["seed"] == 1
    assert [other["recipe"]["seed"] for other in told["averaged_with"]] == [2]
    assert main([*arguments, "--average", str(tmp_path)]) == 2
    assert "is not a training run" in capsys.readouterr().err


def test_runs_of_another_width_are_refused(folders, datasets, tmp_path):
    Trainer(datasets, tmp_path / "wide", replace(RECIPE, width=0.5, steps=1), pretrained=False, device="cpu").train()
    one, wide = load_run(folders[0]), load_run(tmp_path / "wide")
    with pytest.raises(RunError, match="can't be averaged"):
        average([one, wide], *load_sources(datasets, "train", one.table))
