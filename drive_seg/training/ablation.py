"""What each part of the recipe brings: short runs, each with one part left out or changed, scored through the node's
core.

    python -m drive_seg.training.ablation --data camvid --data lums_road --out DIR [--steps N] [--only NAME ...]

Every variant is a run folder in DIR (a killed one goes on where it stopped); DIR/table.md has a row for each that is
done. "seed" repeats the whole recipe with another seed: differences no larger than its own say nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from drive_seg.core.segmenter import Segmenter
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.evaluate import evaluate
from drive_seg.evaluation.trust import measure_pasted
from drive_seg.network import Network
from drive_seg.runtimes import open_engine
from drive_seg.training import export
from drive_seg.training.recipe import Phase, Recipe
from drive_seg.training.run_folder import CHECKPOINT, RunError, load_run
from drive_seg.training.trainer import Trainer

SIZE = (352, 480)
SHORT = Recipe(steps=200, phases=(Phase(1.0, (256, 352), (0.72, 1.9)),), ema=0.99, validate_every=2.0, save_every=0.1)
"""The recipe's own values but for its length: one phase of cheap crops, and weights averaged over fewer steps."""

VARIANTS: dict[str, dict] = {
    "all": {},
    "no boundary loss": {"boundary": 0.0},
    "first data set alone": {"extra_share": 0.0},
    # Its classes are labelled as groups; pasted people would come from the first data set.
    "further data sets alone": {"extra_share": 1.0, "paste_share": 0.0},
    "no strange things": {"thing_share": 0.0},
    "no rare-class crops and pasting": {"rare_share": 0.0, "rare_image_share": 0.0, "paste_share": 0.0},
    "no Lovasz-softmax": {"lovasz": 0.0},
    "no auxiliary heads": {"auxiliary": 0.0},
    "no change of light, weather, camera": {"look_strength": 0.0},
    "no class weights": {"class_weight_power": 0.0},
    "no pasting": {"paste_share": 0.0},
    "no averaging of weights": {"ema": 0.0},
    "width 0.75": {"width": 0.75},
    "width 1.5": {"width": 1.5},
    "taught by width 1.5": {},
    "seed": {"seed": 1},
    "no ImageNet weights": {"train_shallow": True},
}
"""What differs from SHORT, by name."""

TEACHERS = {"taught by width 1.5": "width 1.5"}
"""Which variant teaches another one."""


def train_variant(name: str, datasets: list[Dataset], out: Path, steps: int) -> Path:
    """Trains it, or goes on with it; returns its run folder."""
    folder = out / name.replace(" ", "_")
    recipe = replace(SHORT, steps=steps, **VARIANTS[name])
    resume = (folder / CHECKPOINT).exists()
    teacher = train_variant(TEACHERS[name], datasets, out, steps) if name in TEACHERS and not resume else None
    Trainer(datasets, folder, recipe, resume=resume, teacher_run=teacher,
            pretrained=name != "no ImageNet weights").train()
    return folder


def score(folder: Path, datasets: list[Dataset], size: tuple[int, int] = SIZE) -> dict:
    """Exports the run as it is (no correction of the prior, no unknown) and evaluates it on every val split."""
    run = load_run(folder)
    path = folder / "network.onnx"
    export.write(export.to_onnx(run.network, size), path, run.table, size, {})
    network = Network.load(path)
    engine = open_engine("openvino", network, precision="fp32")
    segmenter = Segmenter(engine, network.table)
    try:
        scores = {d.name: evaluate(segmenter, d, "val") for d in datasets if "val" in d.splits}
    finally:
        engine.close()
    rows, _ = measure_pasted(network, datasets[0], engine="openvino", per_image=1, strictness=(0.0,))
    return {"scores": scores, "strange_drivable": rows[0].drivable}


def table(results: dict[str, dict], datasets: list[Dataset]) -> str:
    """Markdown, a row for each variant in the order of VARIANTS."""
    head = ["run", f"{datasets[0].name} mIoU", "Boundary IoU", "pedestrian", "bicyclist", "pole", "false drivable",
            "strange things drivable"]
    head += [f"{d.name} {group}" for d in datasets for group in ("road", "pavement")]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in (n for n in VARIANTS if n in results):
        first = results[name]["scores"][datasets[0].name]
        values = [first["miou"], first["boundary_iou"]["mean"],
                  *(first["iou"].get(c) for c in ("pedestrian", "bicyclist", "pole")),
                  first["drivable"]["false_drivable"], results[name]["strange_drivable"]]
        for d in datasets:
            groups = results[name]["scores"].get(d.name, {}).get("group_iou", {})
            values += [groups.get("road"), groups.get("pavement")]
        shown = ["-" if v is None else f"{100 * v:.1f}" for v in values]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Train and score what is not done yet, print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.training.ablation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=SHORT.steps)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", default=list(VARIANTS))
    args = parser.parse_args(argv)
    try:
        datasets = [Dataset.load(folder) for folder in args.data]
        settings = {"steps": args.steps, "data": [d.name for d in datasets],
                    "recipe": json.loads(json.dumps(asdict(SHORT)))}
        record = args.out / "results.json"
        stored = json.loads(record.read_text()) if record.is_file() else settings | {"results": {}}
        if {key: stored.get(key) for key in settings} != settings:
            raise RunError(f"{args.out} holds runs of {stored['steps']} steps on {', '.join(stored['data'])}, or of"
                           " another recipe",
                           "name another folder")
        results = stored["results"]
        for name in args.only:
            if name not in results:
                results[name] = score(train_variant(name, datasets, args.out, args.steps), datasets)
                partial = record.with_suffix(".part")
                partial.write_text(json.dumps(stored, indent=1) + "\n")
                partial.replace(record)
                (args.out / "table.md").write_text(table(results, datasets))
    except (RunError, ImportError, ValueError) as error:  # ValueError: of the data set or the recipe
        print(f"ablation: {error}", file=sys.stderr)
        return 2
    print(table(results, datasets), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
