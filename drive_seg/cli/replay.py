"""Replay bags offline: every frame, in bag time, through the core that the node runs.

Each bag gets a folder OUT/NAME with a result bag, frames.jsonl, summary.json and report.html. Finished bags are not
done again, so the same command resumes a run. Exit code 0: no frame failed (and all agree with the golden result, where
one is given); 1: a bag or a frame failed, or differs; 2: the command can't be carried out. A frame that is withheld,
because the camera can't be believed, has not failed: the drive was as bad as that, and summary.json counts it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from drive_seg import lean_imports
from drive_seg.cli.options import add_settings, out_folder, rig_of
from drive_seg.errors import CommandError, reason_and_fix
from drive_seg.network import Network
from drive_seg.replay.batch import find_bags, name_results, run_jobs, writing_into
from drive_seg.replay.compare import Limits, find_results
from drive_seg.replay.job import Job, Outcome
from drive_seg.replay.resultbag import MASKS, OUTPUTS, STORAGES, USUAL
from drive_seg.replay.settings import ReplayError
from drive_seg.resources import default_network
from drive_seg.settings import GROUPS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", nargs="+", metavar="BAG", help="rosbag2 folder, .mcap, .db3 or ROS 1 .bag; or a glob"
                        " in quotes, e.g. 'archive/**/*.mcap'")
    parser.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--topic", metavar="NAME", help="image topic (default: the bag's only camera); of several"
                        " cameras front=/TOPIC,left=/TOPIC (default: the topics that have their names)")
    add_settings(parser, GROUPS, without=("autostart", "image_transport", "latency_budget", "weight"))
    parser.add_argument("--labels", type=Path, metavar="DIR",
                        help="ground truth: PNGs of class ids named by stamp or index, and a dataset.yaml; of several"
                        " bags in DIR/NAME")
    parser.add_argument("--golden", type=Path, metavar="RESULT", help="an earlier --out to agree with")
    add_limits(parser)
    usual = ", ".join(name for name in USUAL if name not in MASKS)
    parser.add_argument("--outputs", type=_outputs, default=USUAL, metavar="LIST",
                        help=f"what the result bag gets besides {' and '.join(MASKS)}: `all`, or a list of"
                        f" {', '.join(n for n in OUTPUTS if n not in MASKS)} (default: {usual})")
    parser.add_argument("--storage", choices=STORAGES, default="mcap", help="of the result bag (default: mcap)")
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    parser.add_argument("--again", action="store_true", help="replace finished results")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="bags at a time (default: 1)")
    parser.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS",
                        help="replay on a Ray cluster (pip install 'drive-seg[ray]'); no address: on this machine")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """--min-labels, --min-drivable and --max-frames, which `compare` has too."""
    limits = Limits()
    parser.add_argument("--min-labels", type=float, default=limits.labels, metavar="SHARE",
                        help="share of the pixels that must have the same label in each frame (default: 1)")
    parser.add_argument("--min-drivable", type=float, default=limits.drivable, metavar="IOU",
                        help="IoU that the drivable masks must have in each frame (default: 1)")
    parser.add_argument("--max-frames", type=int, default=limits.frames, metavar="N",
                        help="frames that may be below (default: 0)")


def run(args: argparse.Namespace) -> int:
    lean_imports.load_numba_without_scipy()
    try:
        jobs = _jobs(args)
        with writing_into(args.out):
            return _report(_run(jobs, args), args.out)
    except ReplayError as error:
        raise CommandError(*reason_and_fix(error)) from error


def _jobs(args: argparse.Namespace) -> list[Job]:
    if args.workers < 1:
        raise CommandError(f"--workers must be 1 or more, it is {args.workers}")
    if args.ray is not None and args.workers != 1:
        raise CommandError("--workers is of a replay without --ray: the cluster takes as many bags at a time as it has"
                           " processors for", "leave out --workers")
    rig = rig_of(args)
    settings = rig.common
    Network.load(settings.network or default_network())  # an error of the command, not of every bag
    limits = Limits(args.min_labels, args.min_drivable, args.max_frames)
    bags = find_bags(args.bags, args.out)
    names = name_results(bags, args.bags)
    labels = _labels(args.labels, names)
    return [Job(bag, args.out / name, settings, labels[name],
                _golden(args.golden, name, len(bags)), limits, not args.no_report, args.again, args.topic, args.outputs,
                args.storage, rig if rig.several else None)
            for bag, name in zip(bags, names, strict=True)]


def _labels(folder: Path | None, names: list[str]) -> dict[str, Path | None]:
    """The folder of labels of each result: of its name, or of the only one the folder itself."""
    if folder is None:
        return dict.fromkeys(names)
    found = {name: folder / name if (folder / name).is_dir() else None for name in names}
    if len(names) == 1:
        return {names[0]: found[names[0]] or folder}
    if not any(found.values()):
        raise CommandError(f"{folder} has labels of none of the {len(names)} bags",
                           f"they go into a folder for each, {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}")
    for name, there in found.items():
        if there is None:
            print(f"no labels for {name}: there is no {folder / name}")
    return found


def _golden(root: Path | None, name: str, bags: int) -> Path | None:
    if root is None:
        return None
    results = find_results(root)
    if name in results:
        return results[name]
    if bags == 1 and len(results) == 1:
        return next(iter(results.values()))
    raise CommandError(f"{root} has no result called {name}; it has {', '.join(results)}")


def _run(jobs: list[Job], args: argparse.Namespace) -> list[Outcome]:
    one = len(jobs) == 1
    with tqdm(total=None if one else len(jobs), unit="frame" if one else "bag", disable=None, file=sys.stderr) as bar:
        def done(outcome: Outcome) -> None:
            if not one:
                bar.update()
            bar.write(_line(outcome), file=sys.stdout)

        def progress(frames: int, total: int) -> None:
            if one:
                bar.total = total
                bar.update(frames - bar.n)

        if args.ray is not None:
            from drive_seg.replay.on_ray import run_on_ray

            return run_on_ray(jobs, args.ray, done)
        return run_jobs(jobs, args.workers, done, progress)


def _line(outcome: Outcome) -> str:
    if outcome.summary is None:
        return f"FAILED {outcome.bag}: {outcome.problem}"
    summary = outcome.summary
    word = "done before" if outcome.skipped else "done"
    if not outcome.ok:
        word = "FAILED" if outcome.problem else "DIFFERS"
    line = f"{word} {outcome.bag}: {summary['frames']['segmented']} frames"
    if summary["latency_ms"]:
        line += f", {summary['frames_per_s']:.1f} frames/s, {summary['latency_ms']['median']:.1f} ms a frame"
    if summary["truth"] and summary["truth"]["miou"] is not None:
        line += f", mIoU {100 * summary['truth']['miou']:.2f}"
    if summary["golden"]:
        line += f", {summary['golden']['identical']} of {summary['golden']['frames']} frames identical to golden"
        for frame in summary["golden"]["worst"][:3] if outcome.differs else ():
            line += f"\n  frame {frame['index']}: labels {frame['labels']:.5f}, drivable IoU {frame['drivable']:.5f}"
    if summary["frames"]["withheld"]:
        line += f", camera not believed for {summary['frames']['withheld']}"
    if outcome.problem:
        line += f"; {outcome.problem}"
    report = outcome.folder / "report.html"
    return line + f" -> {report if report.is_file() else outcome.folder}"


def _report(outcomes: list[Outcome], out: Path) -> int:
    bad = [outcome for outcome in outcomes if not outcome.ok]
    if len(outcomes) > 1:
        print(f"{len(outcomes) - len(bad)} of {len(outcomes)} bags are fine")
        for outcome in bad:
            print(f"  {outcome.bag}: {outcome.problem or 'differs from the golden result'}")
    if out.is_dir():
        rows = [{"bag": str(o.bag), "folder": str(o.folder), "ok": o.ok, "problem": o.problem, "differs": o.differs,
                 "masks_sha256": o.summary["masks_sha256"] if o.summary else None} for o in outcomes]
        try:
            (out / "bags.json").write_text(json.dumps(rows, indent=1) + "\n")
        except OSError as error:
            raise CommandError(f"{out / 'bags.json'} can't be written: {error.strerror}") from error
    return 1 if bad else 0


def _outputs(text: str) -> tuple[str, ...]:
    names = OUTPUTS if text == "all" else tuple(name.strip() for name in text.split(",") if name.strip())
    wrong = [name for name in names if name not in OUTPUTS]
    if wrong:
        raise argparse.ArgumentTypeError(f"{', '.join(wrong)} is none of {', '.join(OUTPUTS)}")
    return names
