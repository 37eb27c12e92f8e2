"""Training on a tiny world: it learns, it resumes exactly, and it says what is wrong."""

import json
import shutil
from dataclasses import replace

import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs torch: make test-train")

from drive_seg.cli.main import main  # noqa: E402
from drive_seg.evaluation.dataset import Dataset  # noqa: E402
from drive_seg.training import log  # noqa: E402
from drive_seg.training.curves import draw_curves  # noqa: E402
from drive_seg.training.recipe import LATER_START, Phase, Recipe  # noqa: E402
from drive_seg.training.run_folder import RunError, earlier, load_run  # noqa: E402
from drive_seg.training.trainer import Trainer  # noqa: E402

pytestmark = pytest.mark.train
RECIPE = Recipe(steps=16, batch=4, workers=0, lovasz_pixels=500, validate_every=0.5, warmup=0.1,
                phases=(Phase(0.5, (64, 96), (0.9, 1.2)), Phase(1.0, (96, 128), (0.9, 1.2))))


def trainer(world, out, recipe=RECIPE, device="cpu", **options):
    return Trainer([Dataset.load(root) for root in world], out, recipe, pretrained=False, device=device, **options)


def precisions(run):
    """The precisions of the logits that a run computes."""
    seen = set()
    run.network.register_forward_hook(lambda _, __, outputs: seen.update(out.dtype for out in outputs))
    return seen


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch can use no GPU here")


@pytest.mark.parametrize(("device", "mixed", "precision"), [
    ("cpu", False, torch.float32), ("cpu", True, torch.bfloat16),
    pytest.param("cuda", None, torch.bfloat16, marks=on_a_gpu),
    pytest.param("cuda", False, torch.float32, marks=on_a_gpu),
])
def test_the_loss_falls(world, tmp_path, device, mixed, precision):
    recipe = replace(RECIPE, steps=60, train_shallow=True, look_strength=0.1, lr=3e-3, backbone_lr=1e-3,
                     mixed_precision=mixed)
    run = trainer(world, tmp_path, recipe, device)
    seen = precisions(run)
    run.train()
    assert seen == {precision}
    assert {weight.dtype for weight in run.network.parameters()} == {torch.float32}
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [e["cross_entropy"] for e in entries if "loss" in e]
    assert losses[-1] < 0.7 * losses[0]
    val = [e["val"] for e in entries if "val" in e]
    assert set(val[-1]) == {"labelled", "partly"}
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert (tmp_path / "checkpoint.pt").is_file()


@pytest.mark.parametrize(("capabilities", "fast"), [
    ({"avx512_bf16": True}, True), ({"avx512_bf16": False, "avx512_bw": True}, False), ({}, False), (None, False),
])
def test_by_itself_it_takes_bfloat16_where_the_processor_has_it(world, tmp_path, monkeypatch, capabilities, fast):
    if capabilities is None:  # a torch that doesn't tell
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    run = trainer(world, tmp_path)
    seen = precisions(run)
    run.train(stop_after=1)
    assert seen == {torch.bfloat16 if fast else torch.float32}


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_a_gpu)])
def test_resume_is_exact(world, tmp_path, two_threads, device):
    # As many pixels as keep both threads at work.
    recipe = replace(RECIPE, steps=6, batch=8, workers=1, lovasz_pixels=Recipe().lovasz_pixels)
    whole = trainer(world, tmp_path / "whole", recipe, device)
    whole.train()
    trainer(world, tmp_path / "parts", recipe, device).train(stop_after=2)
    resumed = trainer(world, tmp_path / "parts", recipe, device, resume=True)
    assert resumed.step == 2
    resumed.train()
    for kind in ("network", "average"):
        ours, theirs = getattr(resumed, kind).state_dict(), getattr(whole, kind).state_dict()
        if device == "cpu":
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert validated(tmp_path / "parts") == validated(tmp_path / "whole") == [3, 6]


def logged(folder):
    return log.read(folder / "log.jsonl")


def validated(folder):
    return [entry["step"] for entry in logged(folder) if "val" in entry]


def test_nothing_stays_of_a_run_that_was_killed_before_its_first_checkpoint(world, tmp_path):
    for name in ("log.jsonl", "earlier.json", "teacher.pt"):
        (tmp_path / name).write_text('{"step": 99}\n')
    trainer(world, tmp_path).train(stop_after=1)
    assert load_run(tmp_path).earlier == [] and not (tmp_path / "teacher.pt").exists()
    assert logged(tmp_path) == []


def test_a_damaged_checkpoint_is_reported(world, tmp_path, capsys):
    trainer(world, tmp_path).train(stop_after=1)
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:5000])
    data = [word for root in world for word in ("--data", str(root))]
    assert main(["train", *data, "--out", str(tmp_path), "--resume"]) == 2
    error = capsys.readouterr().err
    assert f"{file} is damaged" in error and error.count("\n") == 1
    with pytest.raises(RunError, match="is damaged"):
        load_run(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU here")
def test_a_gpu_that_is_not_there_is_reported(world, tmp_path):
    with pytest.raises(RunError, match="torch can use no GPU here: leave --device out"):
        Trainer([Dataset.load(world[0])], tmp_path, RECIPE, pretrained=False, device="cuda")


def test_what_a_kill_left_of_the_log_is_done_again(world, tmp_path):
    trainer(world, tmp_path).train(stop_after=7)
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (5, 7, 8, 12)]
    lines.append(json.dumps({"step": 12, "val": {"labelled": {"miou": 0.5}}}))
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + '\n{"step": 13, "lo')
    assert load_run(tmp_path).quick_val == {}, "scores of a later network than the checkpoint's"
    resumed = trainer(world, tmp_path, resume=True)
    assert (tmp_path / "log.jsonl").read_text().splitlines() == lines[:2]
    resumed.train()
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == RECIPE.steps
    assert load_run(tmp_path).quick_val["labelled"]["images"] == 3


def test_curves_of_a_torn_log_and_of_scores_without_a_class(tmp_path):
    torn = tmp_path / "log.jsonl"
    torn.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "val": {"a": {"miou": null}}}\n'
                   '{"step": 3, "val": {"a": {"miou": 0.5}, "b": {"miou": null}}}\n{"step": 4, "va')
    draw_curves(torn, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_a_run_on_disk_says_what_it_is(world, tmp_path):
    trainer(world, tmp_path).train(stop_after=2)
    run = load_run(tmp_path)
    assert run.step == 2
    assert run.recipe == RECIPE
    assert run.table.names == ("sky", "road", "pavement", "pedestrian")
    assert [d["name"] for d in run.data] == ["labelled", "partly"]
    assert run.folders == world


def test_a_run_that_starts_from_another_one_goes_on_with_its_weights(world, tmp_path):
    former = trainer(world, tmp_path / "former")
    former.train(stop_after=5)
    recipe = replace(RECIPE, steps=6, start=0.5, seed=3)
    later = trainer(world, tmp_path / "later", replace(recipe, lr=0.5, weight_decay=0.1),
                    start_from=tmp_path / "former")
    assert {group["base_lr"] for group in later.optimizer.param_groups} == {0.5, recipe.backbone_lr}
    assert {group["weight_decay"] for group in later.optimizer.param_groups} == {0.0, 0.1}
    later = trainer(world, tmp_path / "later", recipe, start_from=tmp_path / "former")
    for kind in ("network", "average"):
        ours, theirs = getattr(later, kind).state_dict(), getattr(former, kind).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [later.progress(5), later.progress(8), later.progress(11)] == [0.5, 0.75, 1.0]
    later.train(stop_after=8)
    resumed = trainer(world, tmp_path / "later", recipe, resume=True)
    assert resumed.progress(8) == 0.75
    resumed.train()
    run = load_run(tmp_path / "later")
    assert run.step == 11 and run.seconds > former.seconds
    assert [(one["steps"], one["recipe"]["seed"]) for one in run.earlier] == [(5, RECIPE.seed)]
    third = trainer(world, tmp_path / "third", recipe, start_from=tmp_path / "later")
    assert third.step == 11 and [one["steps"] for one in load_earlier(tmp_path / "third")] == [5, 11]


def load_earlier(folder):
    return json.loads((folder / "earlier.json").read_text())


def test_a_run_can_only_start_from_one_of_the_same_data(world, tmp_path):
    trainer(world, tmp_path / "former").train(stop_after=1)
    with pytest.raises(RunError, match="give the same data sets in the same order, or name another run to start from"):
        trainer(world[:1], tmp_path / "later", start_from=tmp_path / "former")
    with pytest.raises(RunError, match="nothing is not a training run"):
        trainer(world, tmp_path / "later", start_from=tmp_path / "nothing")


def test_a_wider_network_teaches_a_narrow_one(world, tmp_path):
    trainer(world, tmp_path / "wide", replace(RECIPE, width=1.5)).train(stop_after=2)
    narrow, wide = replace(RECIPE, width=0.5), tmp_path / "wide"
    whole = trainer(world, tmp_path / "whole", narrow, teacher_run=wide)
    whole.train()
    trainer(world, tmp_path / "parts", narrow, teacher_run=wide).train(stop_after=7)
    run = load_run(tmp_path / "parts")
    assert (run.teacher["steps"], run.teacher["recipe"]["width"]) == (2, 1.5)
    assert [d["name"] for d in run.teacher["data"]] == ["labelled", "partly"]
    assert [load_run(tmp_path / name).network.classify.in_channels for name in ("parts", "wide")] == [32, 96]
    shutil.rmtree(wide)
    resumed = trainer(world, tmp_path / "parts", narrow, resume=True)
    resumed.train()
    ours, theirs = resumed.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(entry["distillation"] > 0 for entry in logged(tmp_path / "whole") if "loss" in entry)
    untaught = trainer(world, tmp_path / "alone", narrow)
    untaught.train()
    assert not torch.equal(untaught.network.classify.weight, whole.network.classify.weight)
    trainer(world, tmp_path / "later", narrow, start_from=tmp_path / "parts")
    assert load_earlier(tmp_path / "later")[0]["teacher"]["steps"] == 2
    (tmp_path / "parts" / "teacher.pt").unlink()
    with pytest.raises(RunError, match="has lost teacher.pt"):
        trainer(world, tmp_path / "parts", narrow, resume=True)


def test_networks_that_do_not_fit_are_told(world, tmp_path):
    trainer(world, tmp_path / "wide", replace(RECIPE, width=1.5)).train(stop_after=1)
    with pytest.raises(RunError, match=r"was trained with width 1.5, this run's recipe says 1.0"):
        trainer(world, tmp_path / "later", start_from=tmp_path / "wide")
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="pavement, pedestrian, this run has sky, road, pavement: name"):
        trainer(with_a_class_that_is_ignored_now(world, tmp_path / "other"), tmp_path / "taught",
                teacher_run=tmp_path / "wide")


def test_a_folder_with_a_run_is_not_overwritten(world, tmp_path):
    trainer(world, tmp_path).train(stop_after=1)
    with pytest.raises(RunError, match="--resume"):
        trainer(world, tmp_path)


def test_nothing_to_resume(world, tmp_path):
    with pytest.raises(RunError, match=r"is not a training run: recipe.json is missing.* without --resume"):
        trainer(world, tmp_path, resume=True)
    trainer(world, tmp_path)  # killed before its first checkpoint
    with pytest.raises(RunError, match="no checkpoint.pt in .* without --resume"):
        trainer(world, tmp_path, resume=True)


def of_other_classes(world, folder):
    facts = yaml.safe_load((world[0] / "dataset.yaml").read_text())
    del facts["classes"][3]
    (folder / "labelled").mkdir()
    (folder / "labelled" / "dataset.yaml").write_text(yaml.safe_dump(facts | {"name": "labelled"}))
    for split in ("train", "val"):
        (folder / "labelled" / split).symlink_to(world[0] / split)
    return [folder / "labelled", world[1]]


def with_a_class_that_is_ignored_now(world, folder):
    labelled = of_other_classes(world, folder)[0] / "dataset.yaml"
    facts = yaml.safe_load((world[0] / "dataset.yaml").read_text())
    labelled.write_text(yaml.safe_dump(facts | {"name": "labelled", "ignore": 3}))
    return [labelled.parent, world[1]]


def with_fewer_pictures(world, folder):
    shutil.copytree(world[0], folder / "labelled")
    (folder / "labelled" / "train" / "images" / "0.png").unlink()
    return [folder / "labelled", world[1]]


@pytest.mark.parametrize(("change", "match"), [
    (lambda world, folder: world[:1], "was trained on labelled (6 pictures), partly (6 pictures), --data gives"),
    (with_fewer_pictures, "--data gives labelled (5 pictures), partly (6 pictures)"),
    (of_other_classes, "has the classes sky, road, pavement, pedestrian, --data gives sky, road, pavement"),
    (with_a_class_that_is_ignored_now, "differs from labelled's now: it has pedestrian, which the data set ignores"),
])
def test_a_run_goes_on_with_the_data_that_it_began_with(world, tmp_path, capsys, change, match):
    out = tmp_path / "run"
    trainer(world, out).save()
    folders = change(world, tmp_path)
    words = [word for folder in folders for word in ("--data", str(folder))]
    assert main(["train", *words, "--out", str(out), "--resume"]) == 2
    error = capsys.readouterr().err
    assert match in error and error.count("\n") == 1
    shutil.copytree(world[0], tmp_path / "moved")  # they may lie elsewhere
    assert trainer([tmp_path / "moved", world[1]], out, resume=True).step == 0


@pytest.mark.parametrize(("args", "match"), [
    (["--data", "nowhere", "--out", "RUN"], "no data set at nowhere"),
    (["--data", "PARTLY", "--out", "RUN"], "fully labelled data set first"),
    (["--data", "LABELLED", "--out", "RUN", "--resume", "--steps", "5"], "own recipe"),
    (["--data", "LABELLED", "--out", "RUN", "--resume", "--start-from", "RUN"], "own recipe"),
    (["--data", "LABELLED", "--out", "RUN", "--resume", "--teacher", "RUN"], "own recipe"),
    (["--data", "LABELLED", "--out", "RUN", "--resume"], "RUN is not a training run: recipe.json is missing"),
    (["--data", "LABELLED", "--out", "RUN", "--recipe", "RECIPE"], "is not part of a recipe"),
    (["--data", "LABELLED", "--out", "RUN", "--steps", "0"], "steps must be a whole number of 1 or more, it is 0"),
    (["--data", "LABELLED", "--out", "RUN", "--steps", "-3"], "steps must be a whole number of 1 or more, it is -3"),
    (["--data", "LABELLED", "--out", "RUN", "--minutes", "0"], "minutes must be a number above 0, it is 0.0"),
    (["--data", "LABELLED", "--out", "RUN", "--recipe", "LATER"], "(--start-from), or set its start to 0"),
])
def test_errors_are_one_line(world, tmp_path, capsys, args, match):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"learning": 1}')
    later = tmp_path / "later.json"
    later.write_text('{"start": 0.55, "minutes": 78}')
    names = {"LABELLED": world[0], "PARTLY": world[1], "RUN": tmp_path / "run", "RECIPE": recipe, "LATER": later}
    assert main(["train", *(str(names.get(a, a)) for a in args)]) == 2
    error = capsys.readouterr().err
    assert match.replace("RUN", str(tmp_path / "run")) in error
    assert len(error.strip().splitlines()) == 1


def test_the_command_hands_its_choices_on(world, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("drive_seg.training.trainer.train",
                        lambda *args, **options: seen.update(options, recipe=args[2]))
    words = ["train", "--data", str(world[0]), "--out", str(tmp_path / "run"), "--seed", "5", "--device", "cpu"]
    assert main([*words, "--teacher", "wide", "--start-from", "former"]) == 0
    assert (str(seen["teacher_run"]), str(seen["start_from"]), seen["device"]) == ("wide", "former", "cpu")
    assert (seen["recipe"].seed, seen["recipe"].start) == (5, LATER_START)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"minutes": 78, "steps": 20}')
    assert main([*words, "--recipe", str(recipe), "--steps", "5"]) == 0
    assert (seen["recipe"].steps, seen["recipe"].minutes) == (5, None), "steps asked for are not by the clock"
    with pytest.raises(SystemExit):
        main([*words, "--steps", "5", "--minutes", "3"])


@pytest.mark.parametrize(("error", "match"), [
    (torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "GPU's memory is too small at step 0 (CUDA out of"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "stopped at step 0 (DataLoader worker"),
])
def test_what_ends_a_run_is_reported(world, tmp_path, capsys, monkeypatch, error, match):
    def fail(self, *batch):
        raise error

    monkeypatch.setattr(Trainer, "_train_step", fail)
    monkeypatch.setattr("drive_seg.training.trainer.load_imagenet", lambda _: None)
    recipe = tmp_path / "recipe.json"
    RECIPE.save(recipe)
    assert main(["train", "--data", str(world[0]), "--out", str(tmp_path / "run"), "--recipe", str(recipe)]) == 2
    message = capsys.readouterr().err
    assert match in message and "--resume" in message and len(message.strip().splitlines()) == 1


def test_the_rate_warms_up_and_cools_down(world, tmp_path):
    run = trainer(world, tmp_path, replace(RECIPE, steps=100, warmup=0.1))
    shares = []
    for run.step in (0, 5, 10, 55, 100):
        shares.append(run._set_rates())
    assert shares == pytest.approx([0.002, 0.5, 1, 0.5, 0.002])
    assert {group["lr"] for group in run.optimizer.param_groups} == {RECIPE.lr * 0.002, RECIPE.backbone_lr * 0.002}


@pytest.mark.parametrize("name", ["data.yaml", "classes.yaml"])
@pytest.mark.parametrize("text", ["", "- {name: labelled", "[1, 2]"])
def test_a_torn_file_of_a_run_is_reported(world, tmp_path, name, text):
    trainer(world, tmp_path).save()
    (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=f"{name} is damaged"):
        trainer(world, tmp_path, resume=True)


def test_a_torn_history_of_a_run_is_reported(tmp_path):
    (tmp_path / "earlier.json").write_text('[{"steps": 5')
    with pytest.raises(RunError, match="earlier.json is damaged"):
        earlier(tmp_path)
