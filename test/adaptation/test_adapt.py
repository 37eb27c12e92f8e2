"""Self-training on footage: the parts, and whole runs of a few steps on a tiny network."""

import json
import shutil
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="adapting needs torch: make test-train")
pytest.importorskip("onnx", reason="adapting needs onnx: make test-train")

from drive_seg.adaptation.footage import MADE_HERE, Footage, Still  # noqa: E402
from drive_seg.adaptation.pseudo import Thresholds, mix_in, read_answer, steady, write_answer  # noqa: E402
from drive_seg.adaptation.recipe import AdaptRecipe  # noqa: E402
from drive_seg.adaptation.run import adapt  # noqa: E402
from drive_seg.adaptation.trainer import ANSWERS, Adaptation, AdaptError  # noqa: E402
from drive_seg.cli.adapt import _given  # noqa: E402
from drive_seg.cli.main import main  # noqa: E402
from drive_seg.evaluation.dataset import Dataset  # noqa: E402
from drive_seg.network import Network  # noqa: E402
from drive_seg.training import export  # noqa: E402
from drive_seg.training.data import class_table  # noqa: E402
from drive_seg.training.losses import IGNORE  # noqa: E402
from drive_seg.training.model import Segmenter  # noqa: E402

pytestmark = pytest.mark.train
SIZE = (96, 128)
RGB = np.uint8([(130, 180, 230), (90, 90, 90), (220, 160, 150), (180, 30, 60)])
CLASSES = {0: {"name": "sky", "group": "background"}, 1: {"name": "road", "group": "road"},
           2: {"name": "pavement", "group": "pavement"}, 3: {"name": "pedestrian", "group": "obstacle"}}
RECIPE = AdaptRecipe(steps=4, batch=4, settle=2, save_every=2)


def street(rng, gain=1.0):
    """A picture (RGB) and its class ids; the left edge of the road differs each time. gain: of the light."""
    labels = np.zeros(SIZE, np.uint8)
    horizon = int(rng.integers(35, 55))
    labels[horizon:] = 2
    labels[horizon:, int(rng.integers(10, 40)):int(rng.integers(80, 115))] = 1
    x = int(rng.integers(5, 100))
    labels[horizon - 5:horizon + 20, x:x + 10] = 3
    image = RGB[labels] * gain + rng.normal(0, 6, (*SIZE, 1))
    return np.clip(image, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """A labelled data set of such streets."""
    root, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for part in ("images", "labels"):
            (root / split / part).mkdir(parents=True)
        for i in range(count):
            image, labels = street(rng)
            cv2.imwrite(str(root / split / "images" / f"{i}.png"), image[..., ::-1])
            cv2.imwrite(str(root / split / "labels" / f"{i}.png"), labels)
    (root / "dataset.yaml").write_text(yaml.safe_dump({"name": "labelled", "ignore": 255, "classes": CLASSES}))
    return root


@pytest.fixture(scope="session")
def former(labelled, tmp_path_factory):
    """A network that knows the streets: random features, and the classifier that fits them best (least squares)."""
    torch.manual_seed(0)
    dataset, network = Dataset.load(labelled), Segmenter(len(CLASSES), 0.5)
    pairs = [pair.read() for pair in dataset.pairs("train")]
    images = torch.from_numpy(np.stack([image[..., ::-1].transpose(2, 0, 1) for image, _ in pairs])).float()
    seen = []
    network.fuse.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(images)
        network.eval()(images)
        features = seen[-1].permute(0, 2, 3, 1).reshape(-1, seen[-1].shape[1]).double()
        truth = np.stack([labels[2::4, 2::4] for _, labels in pairs]).ravel()
        aims = torch.nn.functional.one_hot(torch.from_numpy(truth).long(), len(CLASSES)).double()
        features = torch.cat([features, torch.ones(len(features), 1)], 1)
        ridge = features.T @ features + 1e-3 * len(features) * torch.eye(features.shape[1])
        weights = 10 * torch.linalg.solve(ridge, features.T @ aims)
        network.classify.weight.copy_(weights[:-1].T[..., None, None])
        network.classify.bias.copy_(weights[-1])
    path = tmp_path_factory.mktemp("former") / "former.onnx"
    export.write(export.to_onnx(network, SIZE), path, class_table(dataset), SIZE,
                 {"steps": 0, "recipe": {"width": 0.5}, "data": [{"name": "labelled", "licence": "none"}]})
    return Network.load(path)


@pytest.fixture
def footage(tmp_path):
    """Sixteen frames, each with one that follows, and four held back; somewhat darker than the former data."""
    folder, rng = tmp_path / "run" / "footage", np.random.default_rng(1)
    folder.mkdir(parents=True)
    made = Footage(folder, SIZE, drives={"yard": "yard.mp4"}, seen=40)
    for i in range(20):
        image, _ = street(rng, 0.85)
        for name in (f"yard_{i:03d}", f"yard_{i:03d}_next"):
            noisy = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{name}.jpg"), noisy[..., ::-1])
        made.stills.append(Still(f"yard_{i:03d}", "yard", True, i >= 16))
    made.save()
    return made


# ---- pseudo-labels --------------------------------------------------------------------------------------------------


def test_each_class_has_a_threshold_of_its_own():
    rng = np.random.default_rng(0)
    classes = np.zeros((40, 50), np.uint8)
    classes[20:] = 1
    confidence = np.where(classes == 0, rng.uniform(0.9, 1.0, classes.shape), rng.uniform(0.4, 0.6, classes.shape))
    thresholds = Thresholds(3, sure=0.95, least=0.3, follow=0.9)
    thresholds.update(classes, confidence, keep=0.5)
    limits = thresholds.limits()
    assert limits == pytest.approx([0.95, 0.5, 0.95], abs=0.01), "easy: capped; hard: its median; unseen: sure"
    labels = thresholds.believed(classes, confidence)
    shares = [(labels[classes == c] == c).mean() for c in (0, 1)]
    assert shares == pytest.approx([0.5, 0.5], abs=0.05), "a hard class gets as many labels as an easy one"
    assert set(np.unique(labels)) == {0, 1, IGNORE}


def test_thresholds_follow_slowly_and_ignore_specks():
    thresholds = Thresholds(2, sure=0.95, least=0.3, follow=0.9)
    classes = np.zeros((20, 20), np.uint8)
    thresholds.update(classes, np.full((20, 20), 0.8), 0.5)
    thresholds.update(classes, np.full((20, 20), 0.4), 0.5)
    assert thresholds.limits()[0] == pytest.approx(0.9 * 0.8 + 0.1 * 0.4)
    classes[0, :5] = 1
    thresholds.update(classes, np.full((20, 20), 0.1), 0.5, few=10)
    assert np.isnan(thresholds.values[1])


def test_an_answer_is_read_as_it_was_written(tmp_path):
    probability = np.random.default_rng(0).dirichlet(np.ones(4), (6, 8)).transpose(2, 0, 1)
    path = tmp_path / "answer.png"
    assert read_answer(path) is None
    written = write_answer(path, probability)
    for one, other in zip(written, read_answer(path), strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)
    assert np.array_equal(written[0], probability.argmax(0))
    assert np.abs(written[1] - probability.max(0)).max() <= 0.51 / 255
    path.write_bytes(path.read_bytes()[:40])
    assert read_answer(path) is None, "a damaged one is asked for again"



def texture(rng):
    return cv2.resize(rng.integers(0, 255, (24, 32, 3), np.uint8), (256, 192), interpolation=cv2.INTER_CUBIC)


def test_a_label_that_the_next_frame_contradicts_is_dropped():
    """The camera moves by 6 pixels; where the other frame's label moves along, the label stays."""
    image = texture(np.random.default_rng(0))
    other = np.roll(image, 6, axis=1)
    labels = np.zeros((96, 128), np.uint8)
    labels[:, 40:80] = 1
    moved = np.roll(labels, 3, axis=1)
    kept = steady(labels, image, moved, other)
    inner = np.s_[10:-10, 12:-12]
    assert (kept[inner] == labels[inner]).mean() > 0.95
    flickering = moved.copy()
    flickering[30:60, 60:75] = 0  # a hole that came for this frame
    dropped = steady(labels, image, flickering, other)
    assert (dropped[34:56, 61:68] == IGNORE).mean() > 0.8
    silent = np.full_like(moved, IGNORE)
    assert (steady(labels, image, silent, other) == labels).all()


def test_half_of_the_classes_are_mixed_in():
    rng = np.random.default_rng(3)
    image, labels = np.zeros((8, 12, 3), np.uint8), np.full((4, 6), 9, np.uint8)
    other = np.full((8, 12, 3), 200, np.uint8)
    other_labels = np.repeat(np.uint8([[0], [1], [2], [IGNORE]]), 6, 1)
    mixed, mixed_labels = mix_in(rng, image, labels, other, other_labels)
    pasted = mixed_labels != 9
    assert len(np.unique(mixed_labels[pasted])) == 1 and pasted.sum() == 6
    assert ((mixed[::2, ::2, 0] == 200) == pasted).all() and (mixed[1::2, 1::2, 0] == mixed[::2, ::2, 0]).all()
    only = np.zeros((4, 6), np.uint8)
    assert mix_in(rng, image, labels, other, only)[1] is labels, "of one class there is no half"


@pytest.mark.parametrize(("values", "words"), [
    ({"method": "magic"}, "one of self-training"), ({"steps": 0}, "steps"), ({"minutes": -1}, "minutes"),
    ({"ema": 2}, "ema"), ({"speed": 1}, "speed is not part"), ([1], "JSON object"),
])
def test_a_bad_recipe_is_named(values, words, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=words):
        AdaptRecipe.load(tmp_path / "recipe.json")


# ---- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_begins_with_the_former_answers(former, footage):
    from drive_seg.runtimes import open_engine

    run = Adaptation(footage, former, footage.folder.parent, RECIPE, device="cpu")
    engine = open_engine("openvino", former, precision="fp32")
    for still in footage.training[:3]:
        picture = footage.read(still)
        theirs = engine.infer(picture)
        ours = run.teacher(run._tensor([picture]).float())[0].numpy()
        assert np.abs(ours - theirs).max() < 5e-3 * np.abs(theirs).max()
    engine.close()


def test_the_teacher_sees_a_picture_at_several_sizes_and_mirrored(former, footage, tmp_path):
    run = Adaptation(footage, former, tmp_path, RECIPE)
    pictures = [footage.read(still) for still in footage.stills[:4]]
    mirrored = [picture[:, ::-1] for picture in pictures]
    plain, one, other = run.ask(pictures, (1.0,)), run.ask(pictures, (1.0, 1.0)), run.ask(mirrored, (1.0, 1.0))
    np.testing.assert_allclose(one, other[..., ::-1], atol=2e-3)
    assert np.abs(one - plain).max() > 0.01, "the mirrored picture counts"
    both, larger = run.ask(pictures, (1.0, 1.5)), run.ask(mirrored, (1.5,))
    np.testing.assert_allclose(both, (plain + larger[..., ::-1]) / 2, atol=2e-3)


def test_a_teacher_is_asked_once_a_round_and_follows_from_round_to_round(former, footage, tmp_path, monkeypatch):
    asked = []
    ask = Adaptation.ask

    def note(self, shots, scales):
        asked.append(self.round)
        return ask(self, shots, scales)

    monkeypatch.setattr(Adaptation, "ask", note)
    few = replace(footage, stills=footage.stills[:4])  # of which three steps take six or more
    run = Adaptation(few, former, tmp_path, replace(RECIPE, steps=6, rounds=2))
    start = {name: value.clone() for name, value in run.teacher.state_dict().items()}
    run.run(stop_after=3)
    assert asked == [0] * len(few.training)
    assert all(torch.equal(value, start[name]) for name, value in run.teacher.state_dict().items())
    learnt = {name: value.clone() for name, value in run.average.state_dict().items()}
    assert any(not torch.equal(value, start[name]) for name, value in learnt.items())
    run.run()
    later = asked[len(few.training):]
    assert set(later) == {1} and len(later) <= len(few.training)
    assert all(torch.equal(value, learnt[name]) for name, value in run.teacher.state_dict().items())
    assert not (tmp_path / ANSWERS).exists(), "nothing is left behind"


def test_killed_and_resumed_ends_in_the_same_weights(former, footage, tmp_path):
    whole = Adaptation(footage, former, tmp_path / "run", RECIPE, device="cpu")
    whole.run()
    (tmp_path / "other").mkdir()
    cut = Adaptation(footage, former, tmp_path / "other", RECIPE, device="cpu")
    cut.run(stop_after=3)
    for answer in (tmp_path / "other" / ANSWERS).iterdir():  # as of a round that began after the last checkpoint
        write_answer(answer, np.full((4, SIZE[0] // 2, SIZE[1] // 2), 0.25))
    resumed = Adaptation(footage, former, tmp_path / "other", RECIPE, resume=True, device="cpu")
    assert resumed.step == 3
    resumed.run()
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name
    with pytest.raises(AdaptError, match="holds an adaptation"):
        Adaptation(footage, former, tmp_path / "other", RECIPE, device="cpu")
    with pytest.raises(AdaptError, match="another network"):
        Adaptation(footage, replace(former, sha256="0"), tmp_path / "other", RECIPE, resume=True, device="cpu")


def test_an_unharmed_network_ships_whole(former, footage, labelled, tmp_path):
    recipe = AdaptRecipe(steps=2, batch=4, lr=1e-6, backbone_lr=1e-6, statistics=False)
    dataset = Dataset.load(labelled)
    outcome = adapt(footage, former, tmp_path / "run", recipe, rehearsal=[dataset], device="cpu")
    assert outcome.network == tmp_path / "run" / "adapted.onnx", list(outcome.lines())
    network = Network.load(outcome.network)
    assert network.self_test is not None and network.trust is not None and network.typical is not None
    assert network.table.to_dicts() == former.table.to_dicts()
    assert network.provenance["adapted_from"]["onnx_sha256"] == former.sha256
    assert [row["name"] for row in network.provenance["data"]] == ["labelled"]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["labelled"][0]["name"] == "labelled, val" and abs(result["labelled"][0]["gain"]) < 0.01
    assert result["held_back"][0]["pictures"] == 8, "four frames and what follows each"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "not worse: shipped" in page and "yard, held back" in page
    assert not list((tmp_path / "run").glob("candidate*"))


def test_at_home_without_labels_most_of_the_former_weights_ship(former, footage, tmp_path, monkeypatch):
    from drive_seg.adaptation import judge
    from drive_seg.core.health.network import Typical

    monkeypatch.setattr(judge, "AT_HOME", 1e6)
    former = replace(former, typical=Typical((0.9, 0.05), (0.01, 0.01)))
    recipe = AdaptRecipe(steps=2, batch=4, lr=1e-6, backbone_lr=1e-6)
    outcome = adapt(footage, former, tmp_path / "run", recipe, device="cpu")
    assert outcome.network is not None, list(outcome.lines())
    assert outcome.share == 0.8 and [one["former_weights"] for one in outcome.tried] == [0.0, 0.8]
    assert "80% of the former weights" in "".join(outcome.lines())


@pytest.mark.parametrize(("lr", "reason"), [(0.02, ""), (0.5, "no network can be made of it")])
def test_a_worse_network_is_refused(lr, reason, former, footage, labelled, tmp_path, monkeypatch):
    from drive_seg.adaptation import run as module

    monkeypatch.setattr(module, "BLENDS", (0.0,))
    for name in ("adapted.onnx", "adapted.yaml", "adapted.int8.onnx"):  # of an earlier end of the same run
        (tmp_path / "run" / name).touch()
    recipe = AdaptRecipe(steps=6, batch=4, lr=lr, backbone_lr=lr, settle=1, ema=0.0, clip=1.0, hold=0.0)
    outcome = adapt(footage, former, tmp_path / "run", recipe, scored=[Dataset.load(labelled)], device="cpu")
    assert outcome.network is None and not all(check.passed for check in outcome.checks)
    assert reason in "".join(outcome.lines())
    assert not list((tmp_path / "run").rglob("*.onnx")) and not (tmp_path / "run" / "adapted.yaml").exists()
    assert "worse: refused" in (tmp_path / "run" / "report.html").read_text()
    assert any(line.startswith("refused") for line in outcome.lines())


def test_a_lower_rate_counts_when_a_run_goes_on(former, footage, tmp_path):
    Adaptation(footage, former, tmp_path, RECIPE, device="cpu")
    lower = replace(RECIPE, lr=3e-5, backbone_lr=7e-6)
    resumed = Adaptation(footage, former, tmp_path, lower, resume=True, device="cpu")
    assert [group["base_lr"] for group in resumed.optimizer.param_groups] == [7e-6, 3e-5]


@pytest.mark.parametrize("method", ["entropy", "statistics"])
def test_the_methods_to_compare_with_run(method, former, footage, labelled, tmp_path):
    run = Adaptation(footage, former, tmp_path / "run", AdaptRecipe(method=method, steps=2, batch=4),
                     rehearsal=[Dataset.load(labelled)] if method == "statistics" else [], device="cpu")
    before = {name: value.clone() for name, value in run.average.state_dict().items()}
    run.run()
    changed = {name for name, value in run.average.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    if method == "statistics":
        assert all("running" in name or "num_batches" in name for name in changed)
        again = Adaptation(footage, former, tmp_path / "run", run.recipe, rehearsal=[Dataset.load(labelled)],
                           resume=True, device="cpu")
        again.run()
        assert all(torch.equal(value, run.average.state_dict()[name])
                   for name, value in again.average.state_dict().items()), "once is enough"
    else:
        norms = {f"{name}.{part}" for name, module in run.average.named_modules()
                 if isinstance(module, torch.nn.BatchNorm2d) for part in ("weight", "bias")}
        assert changed <= norms


def test_with_labelled_sets_the_first_teacher_has_the_footage_s_statistics(former, footage, labelled, tmp_path):
    def states(method, *networks):
        (tmp_path / method).mkdir()
        run = Adaptation(footage, former, tmp_path / method, AdaptRecipe(method=method, steps=1, batch=4),
                         rehearsal=[Dataset.load(labelled)], device="cpu")
        if method == "statistics":
            run.run()
        return [getattr(run, name).state_dict() for name in networks]

    (wanted,) = states("statistics", "average")
    (plain,) = states("entropy", "average")
    assert any(not torch.equal(wanted[name], plain[name]) for name in wanted if "running_mean" in name)
    for state in states("self-training", "student", "average", "teacher"):
        assert all(torch.equal(value, state[name]) for name, value in wanted.items())


def test_statistics_need_the_former_domain(former, footage, tmp_path):
    with pytest.raises(AdaptError, match="folded"):
        Adaptation(footage, former, tmp_path / "run", AdaptRecipe(method="statistics"), device="cpu")


def test_the_command_says_what_is_wrong_before_training(tmp_path, capsys, former):
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for i in range(5):
        cv2.imwrite(str(folder / f"{i}.png"), street(rng)[0][..., ::-1])
    assert main(["adapt", str(folder), "-o", str(tmp_path / "run"), "--network", str(former.path), "--engine",
                 "openvino", "--steps", "2"]) == 2
    err = capsys.readouterr().err
    assert "too short: 5 usable frames" in err
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    assert main(["adapt", "-o", str(tmp_path / "new"), "--steps", "2"]) == 2
    assert "no footage" in capsys.readouterr().err
    assert main(["adapt", "-o", str(tmp_path / "nothing"), "--resume"]) == 2
    assert "no adaptation to go on with" in capsys.readouterr().err
    assert main(["adapt", "x.mp4", "-o", str(tmp_path / "run"), "--resume", "--steps", "2", "--topic", "/t", "--anyway",
                 "--duration", "5", "--network", str(former.path), "--engine", "openvino", "--size", "96x128"]) == 2
    assert "leave out INPUT, --anyway, --steps, --topic, --duration, --engine, --size" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["footage", "candidate", "answers"])
@pytest.mark.parametrize("ours", [False, True])
def test_the_user_s_own_folders_are_not_emptied(name, ours, tmp_path, capsys):
    (tmp_path / name).mkdir()
    drive = tmp_path / name / "drive.mp4"
    drive.touch()
    if ours:
        (tmp_path / name / MADE_HERE).touch()
    said = "lies in" if ours else "is there already"
    inputs = [drive] if ours else [tmp_path / "other.mp4"]
    assert main(["adapt", *map(str, inputs), "-o", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert said in err and "empt" in err and "name another folder with -o" in err
    assert drive.exists() and [path.name for path in tmp_path.iterdir()] == [name]


def test_what_the_end_needs_is_looked_for_at_the_start(former, labelled, tmp_path, monkeypatch, capsys):
    shutil.copytree(labelled, tmp_path / "unscored")
    shutil.rmtree(tmp_path / "unscored" / "val")
    shutil.copytree(labelled, tmp_path / "broken")
    (tmp_path / "broken" / "val" / "labels" / "0.png").unlink()
    monkeypatch.setitem(sys.modules, "nncf", None)
    for options, said in ((["--score", "unscored"], "has no split 'val'; it has: train"),
                          (["--score", "broken"], "has no labels"), (["--data", "broken"], "has no labels"),
                          (["--int8"], "--int8 needs nncf, which is not installed: pip install 'drive-seg[train]'")):
        where = [options[0], *(str(tmp_path / name) for name in options[1:])]
        assert main(["adapt", "drive.mp4", "-o", str(tmp_path / "run"), "--network", str(former.path), *where]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "drive_seg.adaptation.trainer", None)
    assert main(["adapt", "drive.mp4", "-o", "run"]) == 2
    assert "adapting needs torch and onnx" in capsys.readouterr().err


@pytest.mark.parametrize(("values", "length"), [
    ({"lr": 1e-5}, (60, 2000)), ({"minutes": 5}, (5, 2000)), ({"steps": 300}, (None, 300)),
])
def test_a_recipe_that_says_no_length_takes_an_hour_as_none_does(values, length, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    recipe = _given(tmp_path / "recipe.json")
    assert (recipe.minutes, recipe.steps) == length


def test_a_network_is_not_written_over(tmp_path, capsys):
    (tmp_path / "adapted.onnx").touch()
    assert main(["adapt", "drive.mp4", "-o", str(tmp_path)]) == 2
    assert "adapted.onnx is there already, and would be replaced: move it" in capsys.readouterr().err


def test_a_network_that_can_t_be_trained_is_told_before_the_footage_is_looked_at(tmp_path, capsys, colour_network_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((*SIZE, 3), np.uint8))
    assert main(["adapt", str(tmp_path / "0.png"), "-o", str(tmp_path / "run"), "--network", str(colour_network_path),
                 "--steps", "2"]) == 2
    assert "is not an fp32 or fp16 network that `drive-seg export` wrote" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_killed_at_once_goes_on_with_its_own_network_only(former, footage, tmp_path):
    Adaptation(footage, former, tmp_path, RECIPE, device="cpu")
    with pytest.raises(AdaptError, match="another network"):
        Adaptation(footage, replace(former, sha256="0"), tmp_path, RECIPE, resume=True, device="cpu")
    assert Adaptation(footage, former, tmp_path, RECIPE, resume=True, device="cpu").step == 0
