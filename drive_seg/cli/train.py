"""Train a network (needs torch: pip install 'drive-seg[train]').

The first --data gives the network its classes, or --classes does. Further ones may tell less: a class of theirs that
may be one of several of the network's is trained with the loss of "any of these". The whole recipe is
drive_seg/training/recipe.py; --recipe overrides parts of it. RUN gets checkpoint.pt, log.jsonl, curves.png,
recipe.json, classes.yaml and data.yaml; also earlier.json where it started from another network, and teacher.pt where a
network taught it.

A trained network learns on in a new run, in the middle of the schedule, at the recipe's `start` (where it has none,
where the rate is 0.44 of the full one). --start-from FORMER.onnx begins with the weights of a network file, and with
its classes but for those that `heads` in a dataset.yaml drops or adds; nothing else of the former run is needed.
--start-from FORMER begins with the weights and the optimiser of a run of the same data.

On a CPU, a run of --steps that was killed and goes on with --resume ends in the same weights as one that was not, to
the bit. One of --minutes does not: its schedule follows the clock on the wall, and how many steps fit differs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from drive_seg.cli.options import out_folder
from drive_seg.core.classes import ClassTable, ClassTableError
from drive_seg.errors import CommandError, reason_and_fix
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.interrupt import Interrupt
from drive_seg.yaml_file import YamlError, read_yaml


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR",
                        help="data set with a dataset.yaml and a train split; may be repeated")
    parser.add_argument("--out", type=out_folder, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN, with its own recipe")
    parser.add_argument("--start-from", type=Path, metavar="FORMER",
                        help="begin with the weights of a network file (.onnx, its .yaml beside it) or of a run of the"
                             " same data, at the recipe's `start`")
    parser.add_argument("--classes", type=Path, metavar="FILE",
                        help="YAML with the network's `classes`, such as a network's own .yaml (default: those of the"
                             " network file it starts from, else of the first data set)")
    parser.add_argument("--teacher", type=Path, metavar="OTHER",
                        help="a trained run, as of a wider network, whose answers count beside the labels (the recipe's"
                             " `distillation`)")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="JSON with the recipe's values to override")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="length of the run in steps (default: the recipe's)")
    length.add_argument("--minutes", type=float, help="length of the run in minutes of training, instead of steps")
    parser.add_argument("--seed", type=int, help="seed of every random choice (default: the recipe's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")


def run(args: argparse.Namespace) -> int:
    Interrupt()  # SIGTERM too unwinds, so that replicas are ended
    try:
        from drive_seg.training.recipe import LATER_START, Recipe
        from drive_seg.training.run_folder import RunError, recipe_of
        from drive_seg.training.trainer import train
    except ImportError as error:
        raise CommandError(f"training needs torch ({error})", "pip install 'drive-seg[train]'") from error
    changes = {k: v for k in ("steps", "minutes", "seed") if (v := getattr(args, k)) is not None}
    if args.steps is not None:
        changes["minutes"] = None  # which a recipe may have
    try:
        if args.resume:
            if changes or args.recipe or args.start_from or args.teacher or args.classes:
                raise CommandError("--resume goes on with the run's own recipe", "leave --recipe, --steps, --minutes,"
                                   " --seed, --start-from, --classes and --teacher out")
            datasets = [Dataset.load(folder) for folder in args.data]
            recipe = recipe_of(args.out, datasets)
        else:
            recipe = replace(Recipe.load(args.recipe) if args.recipe else Recipe(), **changes)
            if args.start_from and not recipe.start:
                recipe = replace(recipe, start=LATER_START)
            datasets = [Dataset.load(folder) for folder in args.data]
        table = _read_classes(args.classes) if args.classes else None
        train(datasets, args.out, recipe, resume=args.resume, start_from=args.start_from,
              teacher_run=args.teacher, device=args.device, table=table)
    except (DatasetError, RunError, ImportError, ValueError) as error:
        raise CommandError(*reason_and_fix(error)) from error
    print(f"done: drive-seg export {args.out} -o FILE.onnx")
    return 0


def _read_classes(file: Path) -> ClassTable:
    try:
        content = read_yaml(file)
        return ClassTable.from_dicts(content["classes"] if isinstance(content, dict) else content)
    except (OSError, YamlError, KeyError, ClassTableError) as error:
        if isinstance(error, YamlError):
            raise CommandError(f"--classes: {error.reason}", error.fix) from error
        reason = "it has no `classes`" if isinstance(error, KeyError) else error
        raise CommandError(f"--classes {file}: {reason}", "name a network's .yaml, or a file like it") from error
