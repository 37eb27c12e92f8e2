"""A network file is enough to train on: same answers, other classes, and a run that goes on from it."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs torch: make test-train")
pytest.importorskip("onnx", reason="training needs onnx: make test-train")

from drive_seg.cli.main import main  # noqa: E402
from drive_seg.core.classes import ClassTable  # noqa: E402
from drive_seg.core.frame import Frame  # noqa: E402
from drive_seg.core.selftest import picture  # noqa: E402
from drive_seg.evaluation.dataset import Dataset, DatasetError  # noqa: E402
from drive_seg.network import Network  # noqa: E402
from drive_seg.resources import default_network  # noqa: E402
from drive_seg.runtimes import open_engine  # noqa: E402
from drive_seg.training import export  # noqa: E402
from drive_seg.training.data import class_table, with_heads  # noqa: E402
from drive_seg.training.recipe import LATER_START, Phase, Recipe  # noqa: E402
from drive_seg.training.restore import blend, history, restore  # noqa: E402
from drive_seg.training.run_folder import RunError, load_run  # noqa: E402
from drive_seg.training.trainer import Trainer  # noqa: E402

pytestmark = pytest.mark.train
RECIPE = Recipe(steps=4, batch=4, workers=0, lovasz_pixels=500, start=0.5, settle=2,
                phases=(Phase(1.0, (64, 96), (0.9, 1.2)),))
KERB = {"id": 4, "name": "kerb", "group": "pavement", "colour": [9, 9, 9], "drivable": False, "within": "pavement"}
EGO = {"id": 5, "name": "ego_vehicle", "group": "background", "colour": [5, 5, 5], "drivable": False, "ego": True}


@pytest.fixture(scope="module")
def exported(world, tmp_path_factory):
    """A network of a few steps as `export` writes it, with corrected prior; and the run's own network."""
    folder = tmp_path_factory.mktemp("exported")
    labelled = Dataset.load(world[0])
    run = Trainer([labelled], folder / "run", replace(RECIPE, start=0.0, steps=6), pretrained=False, device="cpu")
    run.train()
    network = load_run(folder / "run").network
    network.shift_logits([0.5, -0.25, 0.0, 1.0])
    facts = {"steps": 6, "minutes": 1.5, "recipe": {"seed": 0, "lr": 2e-3}, "data": [{"name": "labelled"}],
             "earlier": [{"steps": 2, "minutes": 0.5, "recipe": {"lr": 1e-3}}]}
    export.write(export.to_onnx(network, (96, 128)), folder / "net.onnx", class_table(labelled), (96, 128), facts)
    export.write(export.to_onnx(network, (96, 128), "fp16"), folder / "half.onnx", class_table(labelled), (96, 128), {})
    return folder / "net.onnx", network


def pictures(world, split="train"):
    """(N, 3, 96, 128) uint8 RGB."""
    images = [pair.read()[0][..., ::-1].transpose(2, 0, 1) for pair in Dataset.load(world[0]).pairs(split)]
    return torch.from_numpy(np.ascontiguousarray(images))


def with_classes(path, *rows):
    return ClassTable.from_dicts([*Network.load(path).table.to_dicts(), *rows])


@pytest.mark.parametrize("name", ["net.onnx", "half.onnx"])
def test_the_same_answers_before_the_first_step(exported, world, name):
    path, network = exported
    path = path.with_name(name)
    restored = restore(Network.load(path), with_classes(path), 1.0, pictures(world))
    seen = pictures(world, "val").float()
    with torch.no_grad():
        ours, theirs = restored(seen), network(seen)
    assert torch.allclose(ours, theirs, atol=1e-3 if name == "net.onnx" else 0.1)
    assert (ours.argmax(1) == theirs.argmax(1)).float().mean() > 0.999


def test_batch_norms_change_next_to_nothing_in_training(exported, world):
    path, _ = exported
    restored = restore(Network.load(path), with_classes(path), 1.0, pictures(world))
    seen = pictures(world).float()
    with torch.no_grad():
        before, now = restored(seen), restored.train()(seen)[0]
    assert (now - before).abs().mean() < 0.05 * before.std(), "these are the very pictures of the statistics"


def test_new_classes_begin_below_the_old_ones(exported, world):
    path, network = exported
    table = with_classes(path, KERB, EGO)
    restored = restore(Network.load(path), table, 1.0, pictures(world))
    seen = pictures(world, "val").float()
    with torch.no_grad():
        ours, theirs = restored(seen), network(seen)
    assert torch.allclose(ours[:, :4], theirs, atol=1e-3)
    assert torch.allclose(ours[:, 4], ours[:, 2] - 3, atol=1e-3), "kerb as pavement, less sure"
    assert (ours.argmax(1) < 4).all()


def test_a_blend_lies_between(exported, world):
    path, network = exported
    table, former = with_classes(path, KERB), Network.load(path)
    trained = restore(former, table, 1.0, pictures(world))
    with torch.no_grad():
        trained.classify.bias += torch.tensor([1.0, -1, 0, 2, 4])
    seen = pictures(world, "val").float()
    with torch.no_grad():
        ours = blend(trained, table, former, 0.0)(seen)
        assert torch.allclose(ours, trained(seen), atol=1e-3)
        theirs = blend(trained, table, former, 1.0)(seen)
        assert torch.allclose(theirs[:, :4], network(seen), atol=1e-3)
        between = blend(trained, table, former, 0.25)(seen)
        assert torch.allclose(between[:, :4], (0.75 * ours + 0.25 * theirs)[:, :4], atol=1e-3), "offsets alone differ"
        assert torch.allclose(between[:, 4], ours[:, 4], atol=1e-3), "a new class keeps what it has learned"


def test_old_classes_are_kept_by_name(exported, world):
    path, network = exported
    rows = Network.load(path).table.to_dicts()
    table = ClassTable.from_dicts([rows[3] | {"id": 0}, rows[1]])  # pedestrian and road, nothing else
    restored = restore(Network.load(path), table, 1.0, pictures(world))
    seen = pictures(world, "val").float()
    with torch.no_grad():
        assert torch.allclose(restored(seen), network(seen)[:, [3, 1]], atol=1e-3)


def test_a_run_goes_on_from_a_network_file(exported, world, tmp_path, capsys):
    path, _ = exported
    classes, recipe = tmp_path / "classes.yaml", tmp_path / "recipe.json"
    classes.write_text(yaml.safe_dump({"classes": with_classes(path, KERB, EGO).to_dicts()}))
    recipe.write_text(json.dumps({"batch": 4, "workers": 0, "lovasz_pixels": 500, "settle": 2, "phases": [
        {"until": 1.0, "size": [64, 96], "scales": [0.9, 1.2]}]}))
    out = tmp_path / "run"
    words = ["train", *(word for root in world for word in ("--data", str(root))), "--out", str(out)]
    started = [*words, "--steps", "4", "--recipe", str(recipe), "--device", "cpu", "--start-from", str(path)]
    assert main([*started, "--classes", str(classes)]) == 0
    run = load_run(out)
    assert run.table.names == ("sky", "road", "pavement", "pedestrian", "kerb", "ego_vehicle")
    assert run.recipe.start == LATER_START and run.step == 4
    assert [one["steps"] for one in run.earlier] == [2, 6]
    assert run.earlier[-1]["onnx_sha256"] == Network.load(path).sha256
    assert main([*words, "--resume", "--device", "cpu"]) == 0, "the classes came from a file and are kept"
    capsys.readouterr()
    again = tmp_path / "again"
    assert main([*started, "--out", str(again)]) == 0
    assert load_run(again).table.names == Network.load(path).table.names, "the file's own classes without --classes"
    classes.write_text("classes: [{id: 0}]")
    assert main([*started, "--out", str(tmp_path / "bad"), "--classes", str(classes)]) == 2
    assert f"--classes {classes}: class {{'id': 0}} must have id, name" in capsys.readouterr().err


def test_a_data_set_says_which_heads_come_and_go(exported, world, tmp_path):
    facts = yaml.safe_load((world[0] / "dataset.yaml").read_text())
    facts["classes"][4] = {"name": "crate", "group": "obstacle"}

    def load(**heads):
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(facts | {"heads": heads}))
        return [Dataset.load(tmp_path)]

    table = Network.load(exported[0]).table
    changed = with_heads(table, load(add=["crate"], drop=["pedestrian"]))
    assert [(c.name, c.group.name) for c in changed.classes] == [
        ("sky", "BACKGROUND"), ("road", "ROAD"), ("pavement", "PAVEMENT"), ("crate", "OBSTACLE")]
    assert with_heads(table, load()).names == table.names
    with pytest.raises(DatasetError, match="drop names lorry, which the network does not have"):
        with_heads(table, load(drop=["lorry"]))
    with pytest.raises(DatasetError, match="add names barrel, which is not one of its classes"):
        with_heads(table, load(add=["barrel"]))
    with pytest.raises(DatasetError, match="`heads` must be"):
        load(keep=["sky"])


def test_the_rate_rises_over_the_first_steps(exported, world, tmp_path):
    path, _ = exported
    recipe = replace(RECIPE, steps=100, settle=4)
    run = Trainer([Dataset.load(world[0])], tmp_path, recipe, start_from=path, device="cpu")
    shares = []
    for step in range(6):
        run.step = step
        shares.append(run._set_rates())
    assert shares[:4] == sorted(shares[:4]) and shares[0] < 0.3 * shares[3]
    assert shares[5] < shares[4], "and then follows the schedule"


def test_what_can_not_be_restored_is_reported(exported, world, tmp_path, colour_network_path):
    path, _ = exported
    labelled = [Dataset.load(world[0])]
    with pytest.raises(RunError, match="not of the recipe's width 0.5: .*: set `width` in the recipe"):
        Trainer(labelled, tmp_path / "a", replace(RECIPE, width=0.5), start_from=path, device="cpu")
    with pytest.raises(RunError, match="no network at"):
        Trainer(labelled, tmp_path / "b", RECIPE, start_from=tmp_path / "missing.onnx", device="cpu")
    with pytest.raises(RunError, match="is not an fp32 or fp16 network that `drive-seg export` wrote"):
        restore(Network.load(colour_network_path), with_classes(path), 1.0, pictures(world))


def test_the_runs_before_are_told_in_full(exported):
    runs = history(Network.load(exported[0]))
    assert [run["recipe"] for run in runs] == [{"seed": 0, "lr": 1e-3}, {"seed": 0, "lr": 2e-3}]
    assert [run["steps"] for run in runs] == [2, 6]


def test_the_network_that_ships_can_be_trained_on():
    """The built-in picture, in OpenVINO and restored in PyTorch."""
    network = Network.load(default_network())
    image = cv2.resize(picture(), network.input_size[::-1])
    tensor = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))[None]
    restored = restore(network, network.table, 1.0, tensor)
    with torch.no_grad():
        ours = restored(tensor.float()).argmax(1)[0].numpy()
    engine = open_engine("openvino", replace(network, trust=None), precision="fp32")
    theirs = engine.decode(Frame.from_array(image), ours.shape, {}).classes
    engine.close()
    assert (ours == theirs).mean() > 0.99
