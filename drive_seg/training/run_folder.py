"""A run's folder: what lies in it, whether it can go on, and the trained network in it."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from drive_seg.core.classes import ClassTable
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset
from drive_seg.training import data, log
from drive_seg.training.model import Segmenter
from drive_seg.training.recipe import Recipe
from drive_seg.yaml_file import read_yaml

CHECKPOINT = "checkpoint.pt"
RECIPE = "recipe.json"
CLASSES = "classes.yaml"
DATA = "data.yaml"
LOG = "log.jsonl"
EARLIER = "earlier.json"
TEACHER = "teacher.pt"
OTHER_OUT = "start a new run with another --out"

_DAMAGE = (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError, yaml.YAMLError)
"""What torch, yaml and json raise for a file that is not whole."""


class RunError(DriveSegError, RuntimeError):
    """A run folder that can't be used; the message names the fix."""


@dataclass(frozen=True)
class Run:
    """A run as it stands on disk. network: the averaged one. data: name, licence and images of each data set, and
    folders where they were. quick_val: the last scores of its log, on `images` pictures of each val split.

    step, seconds: with those of the runs that it started from, one after the other; earlier: steps and minutes at the
    end of each, and its recipe. teacher: steps, minutes and recipe of the network that taught this one, if one did.
    """

    network: Segmenter
    table: ClassTable
    recipe: Recipe
    step: int
    seconds: float
    device: str
    data: list[dict]
    folders: list[Path]
    quick_val: dict
    earlier: list[dict]
    teacher: dict | None


def load_run(folder: Path) -> Run:
    """Reads a run folder. Raises RunError or ValueError (what is not a recipe)."""
    _check_files(folder, CHECKPOINT, RECIPE, CLASSES, DATA)
    (table, _), recipe = read_table(folder), Recipe.load(folder / RECIPE)
    network = Segmenter(len(table), recipe.width)
    state = read_state(folder / CHECKPOINT)
    with report_damage(folder / CHECKPOINT):
        network.load_state_dict(state["average"])
    data_sets = _read_data(folder)
    val = [entry for entry in log.read(folder / LOG) if "val" in entry and entry["step"] <= state["step"]]
    return Run(network.eval(), table, recipe, state["step"], state["seconds"],
               state.get("device", "cpu"), [{k: v for k, v in d.items() if k != "folder"} for d in data_sets],
               [Path(d["folder"]) for d in data_sets], val[-1]["val"] if val else {}, earlier(folder),
               _teacher(folder))


def read_state(file: Path) -> dict:
    """What a checkpoint or a kept teacher holds, on the CPU. Raises RunError."""
    with report_damage(file):
        return torch.load(file, map_location="cpu", weights_only=True)


@contextlib.contextmanager
def report_damage(file: Path, damage: str = f"is damaged, or of another network than {RECIPE} beside it tells"
                ) -> Iterator[None]:
    """Raises RunError for what is raised where a file is damaged; damage: what the message says of the file."""
    try:
        yield
    except _DAMAGE as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RunError(f"{file} {damage} ({lines[0]})", f"bring back the file, or {OTHER_OUT}") from error


def recipe_of(out: Path, datasets: list[Dataset]) -> Recipe:
    """The recipe of a run that shall go on with these data sets. Raises RunError where it can't, ValueError where the
    recipe is none."""
    check_former(datasets, out, "start the run without --resume", OTHER_OUT)
    return Recipe.load(out / RECIPE)


def check_former(datasets: list[Dataset], out: Path, fix: str, instead: str, table: ClassTable | None = None) -> None:
    """Whether the run in a folder can go on with these data sets: those that it began with, wherever they lie now.
    fix: what to do where the folder holds no run. instead: what to do where the same data can't be given. table: the
    classes that the new run is given, None where they are the first data set's, or the run's own. Raises RunError."""
    _check_files(out, RECIPE, CLASSES, DATA, fix=fix)
    check_same(datasets, _read_data(out), out, instead)
    former, from_file = read_table(out)
    if table is None and from_file:
        return
    names, now = former.names, (table or data.class_table(datasets[0])).names
    if names != now:
        ignored = {c.name for c in datasets[0].classes if c.id == datasets[0].ignore} - set(now)
        if tuple(name for name in names if name not in ignored) == now:  # it was one of the network's once
            raise RunError(f"the class table of {out} differs from {datasets[0].name}'s now: it has"
                           f" {', '.join(sorted(ignored))}, which the data set ignores, so no network has it any more",
                           instead)
        given_by, what = ("--data", "data set") if table is None else ("--classes", "file")
        raise RunError(f"{out} has the classes {', '.join(names)}, {given_by} gives {', '.join(now)}",
                       f"give the same {what}, or {instead}")


def check_same(datasets: list[Dataset], data: list[dict], trained: Path, instead: str) -> None:
    """Whether these are the data sets of `data` (see Run.data), by name and number of pictures. trained: what was
    trained on them. Raises RunError."""
    began = [(d["name"], d["images"]) for d in data]
    given = [(d.name, len(d.pairs("train"))) for d in datasets]
    if given != began:
        then, asked = (", ".join(f"{name} ({images} pictures)" for name, images in sets) for sets in (began, given))
        raise RunError(f"{trained} was trained on {then}, --data gives {asked}",
                       f"give the same data sets in the same order, or {instead}")


def checkpoint(out: Path, replica: int) -> Path:
    """Where a replica keeps its state."""
    return out / (CHECKPOINT if replica == 0 else f"checkpoint_{replica}.pt")


def partial(file: Path) -> Path:
    """Where a checkpoint is written before it takes its place."""
    return file.with_suffix(".part")


def finish_save(out: Path, replicas: int) -> None:
    """Puts the replicas' checkpoints at one step, where a kill came between the first's and the last's."""
    files = [checkpoint(out, replica) for replica in range(replicas)]
    if missing := [file.name for file in files if not file.is_file() and not partial(file).is_file()]:
        raise RunError(f"no {', '.join(missing)} in {out}",
                       f"bring back what the run with {replicas} replicas saved, or {OTHER_OUT}")
    steps = [_step_of(file) for file in files]
    if not any(step is not None for step in steps):
        raise RunError(f"{out} was killed before its first checkpoint was whole", "start a new run with another --out")
    newest = max(step or 0 for step in steps)
    late = [file for file, step in zip(files, steps, strict=True) if step != newest]
    if any(_step_of(partial(file)) != newest for file in late):
        found = ", ".join(f"{file.name} {step}" for file, step in zip(files, steps, strict=True))
        raise RunError(f"the checkpoints in {out} are of different steps ({found})",
                       f"copy one of step {newest} over the others to go on from there (no longer to the bit), or start"
                       " a new run with another --out")
    for file in late:
        partial(file).replace(file)


def earlier(folder: Path) -> list[dict]:
    """The runs that one started from: see Run."""
    path = folder / EARLIER
    if not path.is_file():
        return []
    with report_damage(path, "is damaged"):
        return json.loads(path.read_text())


def _teacher(folder: Path) -> dict | None:
    path = folder / TEACHER
    return read_state(path)["facts"] if path.is_file() else None


def _step_of(file: Path) -> int | None:
    """None for a file that is not there or not whole."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)["step"]
    except _DAMAGE:
        return None


def _check_files(folder: Path, *names: str, fix: str = "") -> None:
    for name in names:
        if not (folder / name).is_file():
            raise RunError(f"{folder} is not a training run: {name} is missing", fix)


def read_table(folder: Path) -> tuple[ClassTable, bool]:
    """The run's classes, and whether they came from a file (--classes) and not from the first data set."""
    with report_damage(folder / CLASSES, "is damaged"):
        content = read_yaml(folder / CLASSES)
        from_file = isinstance(content, dict)
        return ClassTable.from_dicts(content["classes"] if from_file else content), from_file


def write_table(folder: Path, table: ClassTable, from_file: bool) -> None:
    """See read_table."""
    rows = table.to_dicts()
    (folder / CLASSES).write_text(yaml.safe_dump({"classes": rows} if from_file else rows, sort_keys=False))


def _read_data(folder: Path) -> list[dict]:
    with report_damage(folder / DATA, "is damaged"):
        rows = read_yaml(folder / DATA)
        return [{key: row[key] for key in ("name", "licence", "images", "folder")} for row in rows]
