"""Adapt a network to footage without labels (needs torch: pip install 'drive-seg[train]').

First all frames are looked at: footage that is broken, too short, too uniform (a parked car) or not a road ends the
command with the numbers, before any training. The last fifth of each input is held back. Then the network trains on
what a teacher is sure of: itself at first, then in each round of the run the mean of the networks so far. Each class
has its own threshold, the pictures are changed strongly, and labels that neighbouring frames contradict don't count.
With --data the batch norms' statistics are re-estimated on the footage first. At the end both networks are measured on
the held-back frames and on the labelled sets that are given. A network that is worse is not written, and the exit code
is 1. In the folder RUN:

    adapted.onnx, .yaml   the network, with calibration and self-test, for the node and every command
    adapted.fp16.onnx     the same for TensorRT
    report.html           before and after, the checks, and the pictures that changed most
    result.json           the same as figures
    footage/              the sample of frames, as the network sees them
    checkpoint.pt, log.jsonl, adaptation.json

Labelled pictures are not needed. --data names sets whose train split is trained on besides, so that nothing is
forgotten, and whose val split is scored; --score names sets that are only scored. In steps, a run that was killed and
goes on with --resume ends as one that was not.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from drive_seg.adaptation.footage import INDEX, Footage, may_empty
from drive_seg.adaptation.recipe import METHODS, AdaptRecipe
from drive_seg.adaptation.run import CANDIDATE, FOOTAGE, NETWORK, adapt, look_at_footage
from drive_seg.cli.options import add_settings, open_pipeline, open_recorded, out_folder, settings_of, typed_settings
from drive_seg.errors import CommandError
from drive_seg.evaluation.dataset import Dataset
from drive_seg.labelling.pick import expected, name_drives
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.sources.open import RECORDED_KINDS

RECIPE = "adaptation.json"
_MINUTES = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `drive-seg adapt`."""
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help=f"{RECORDED_KINDS}; left out with --resume")
    parser.add_argument("-o", "--out", type=out_folder, required=True, metavar="RUN", help="folder of the run")
    add_settings(parser, ("network",), without=("output_size", "temporal_filter"))
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="of training (default: 60)")
    length.add_argument("--steps", type=int, help="of training, instead of minutes")
    parser.add_argument("--method", choices=METHODS, help="default: self-training; the others are to compare with")
    parser.add_argument("--data", type=Path, action="append", default=[], metavar="DIR",
                        help="labelled set to train on besides, and to score; may be repeated")
    parser.add_argument("--score", type=Path, action="append", default=[], metavar="DIR",
                        help="labelled set to score only; may be repeated")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="JSON with the recipe's values to override")
    parser.add_argument("--seed", type=int, help="of every random choice (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN, with its own recipe")
    parser.add_argument("--anyway", action="store_true", help="train on footage that is not fit for it")
    parser.add_argument("--int8", action="store_true",
                        help="also write adapted.int8.onnx and adapted.int8_gpu.onnx (needs nncf)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--topic", help="image topic, for bags with several cameras")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="look at so much of each input")


def run(args: argparse.Namespace) -> int:
    """Adapt; returns the exit code."""
    try:
        from drive_seg.adaptation.trainer import check, check_ends
    except ImportError as error:
        raise CommandError(f"adapting needs torch and onnx ({error})", "pip install 'drive-seg[train]'") from error
    recipe = _recipe(args)
    datasets = [Dataset.load(folder) for folder in args.data]
    scored = [Dataset.load(folder) for folder in args.score]
    network = settings_of(args).network
    former = Network.load(Path(network) if network else default_network())
    check_ends(datasets, scored, args.int8)
    if not args.resume:
        check(former, recipe, datasets, args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        recipe.save(args.out / RECIPE)
    footage = Footage.load(args.out / FOOTAGE) if args.resume else _look(args)
    for line in footage.lines():
        print(line)
    with tqdm(total=100, unit="%", disable=None, file=sys.stderr, bar_format="{l_bar}{bar}| {elapsed}<{remaining}"
              " {postfix}") as bar:
        def progress(share: float, said: str) -> None:
            bar.n = round(100 * share, 1)
            bar.set_postfix_str(said)

        outcome = adapt(footage, former, args.out, recipe, rehearsal=datasets, scored=scored, resume=args.resume,
                        device=args.device, int8=args.int8, progress=progress, say=bar.write)
    for line in outcome.lines():
        print(line)
    return 0 if outcome.network is not None else 1


def _recipe(args: argparse.Namespace) -> AdaptRecipe:
    if args.resume:
        if given := _of_a_new_run(args):
            raise CommandError("--resume goes on with the run's own footage and recipe",
                               f"leave out {', '.join(given)}")
        if not (args.out / RECIPE).is_file():
            raise CommandError(f"{args.out} has no adaptation to go on with", "leave --resume out, or name its folder")
        return _loaded(args.out / RECIPE)
    if not args.inputs:
        raise CommandError("there is no footage to adapt to", f"give {RECORDED_KINDS}")
    _check_folder(args)
    changes = {key: value for key in ("minutes", "steps", "method", "seed")
               if (value := getattr(args, key)) is not None}
    recipe = AdaptRecipe(minutes=_MINUTES) if args.recipe is None else _given(args.recipe)
    if args.steps is not None:
        changes["minutes"] = None
    try:
        return replace(recipe, **changes)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _check_folder(args: argparse.Namespace) -> None:
    """Refuse to write over an adaptation, or to empty a folder that none made."""
    from drive_seg.adaptation.trainer import ANSWERS, CHECKPOINT

    if any((args.out / name).exists() for name in (CHECKPOINT, f"{FOOTAGE}/{INDEX}")):
        raise CommandError(f"{args.out} holds an adaptation already", "add --resume to go on with it, or name another"
                           " folder")
    if (args.out / NETWORK).exists():
        raise CommandError(f"{args.out / NETWORK} is there already, and would be replaced", "move it, or name another"
                           " folder with -o")
    for folder in (args.out / name for name in (FOOTAGE, CANDIDATE, ANSWERS)):
        for text in args.inputs:
            if Path(text).expanduser().resolve().is_relative_to(folder.resolve()):
                raise CommandError(f"{text} lies in {folder}, which an adaptation in {args.out} empties",
                                   "name another folder with -o")
        if not may_empty(folder):
            raise CommandError(f"{folder} is there already, and an adaptation in {args.out} would empty it",
                               "name another folder with -o")


def _of_a_new_run(args: argparse.Namespace) -> list[str]:
    """What was given that a run which goes on has no use for."""
    given = {"INPUT": args.inputs, "--recipe": args.recipe, "--anyway": args.anyway}
    given |= {"--" + name: getattr(args, name) is not None
              for name in ("minutes", "steps", "method", "seed", "topic", "duration")}
    network = ("--network", "--params-file", "--node")  # the former one is loaded again
    return [name for name, value in given.items() if value] + [o for o in typed_settings(args) if o not in network]


def _given(path: Path) -> AdaptRecipe:
    """A recipe of the user's; one that says no length is as long as without it."""
    recipe = _loaded(path)
    return recipe if {"minutes", "steps"} & json.loads(path.read_text()).keys() else replace(recipe, minutes=_MINUTES)


def _loaded(path: Path) -> AdaptRecipe:
    try:
        return AdaptRecipe.load(path)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _look(args: argparse.Namespace) -> Footage:
    drives = name_drives(open_recorded(args))
    with (open_pipeline(args) as pipeline,
          tqdm(total=expected(drives, 1), unit="frame", disable=None, file=sys.stderr) as bar):
        return look_at_footage(drives, pipeline.segmenter, args.out, anyway=args.anyway, progress=bar.update)
