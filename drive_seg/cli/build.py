"""Prepare the first start: compile ahead, and build the TensorRT plan where a GPU is to run the network.

The plan is the network in fp16 or int8 for one GPU, kept for the next start. The engine builds it by itself when none
fits; this does so beforehand, and for GPUs that are not in this machine where the installed TensorRT can (TensorRT for
RTX).
On a machine without a GPU use --cpu: it compiles what the CPU runs and builds no plan.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from drive_seg.cli import options
from drive_seg.core.engine import EngineError
from drive_seg.errors import CommandError
from drive_seg.network import Network
from drive_seg.resources import default_network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `drive-seg build`."""
    parser.add_argument("--network", type=Path, metavar="FILE", help="an .onnx file (default: the one that ships)")
    parser.add_argument("--size", type=options.size, metavar="HxW", help="network input size (default: its own)")
    parser.add_argument("--precision", choices=("fp16", "int8"), default="fp16",
                        help="int8 needs the network's 8-bit version for TensorRT (default: fp16)")
    parser.add_argument("--compute-capability", type=_capability, metavar="X.Y",
                        help="of the GPU that the plan is for, e.g. 8.6 (default: the GPU of this machine)")
    parser.add_argument("--plans", type=options.cache_folder, metavar="FOLDER",
                        help="plan folder (default: in the user's cache)")
    parser.add_argument("--cameras", type=options.positive, default=1, metavar="N",
                        help="of one node: also build plans for batches of their frames (default: 1)")
    parser.add_argument("-o", "--output", type=_plan, metavar="PLAN",
                        help="write the plan here, not to the plan folder: NAME.plan, and NAME.json beside it")
    parser.add_argument("--cpu", action="store_true", help="compile ahead what the CPU runs, and build no plan")
    parser.add_argument("--rebuild", action="store_true", help="build even if a fitting plan is there")


def run(args: argparse.Namespace) -> int:
    """Build the plans, then compile; 0 when they are there and fit. Raises EngineError, NetworkError or CommandError.
    """
    from drive_seg.compile_ahead import compile_ahead

    if args.output is not None and args.cameras > 1:
        raise CommandError("-o names one plan, and several cameras need one for each batch",
                           "name a folder with --plans")
    network = Network.load(args.network or default_network())

    def compile_now() -> None:
        start = time.monotonic()
        compile_ahead(network)
        print(f"compiled for this processor in {time.monotonic() - start:.0f} s")

    if args.cpu:
        compile_now()
        return 0
    from drive_seg.files import plan_folder
    from drive_seg.runtimes.cuda_driver import first_gpu
    from drive_seg.runtimes.form import check_form
    from drive_seg.runtimes.tensorrt.builder import ANY_GPU, Target, batch_sizes, obtain_plan
    from drive_seg.runtimes.tensorrt.library import load_library

    library = load_library()
    folder = plan_folder(args.plans)
    try:
        here = first_gpu()
    except EngineError as error:
        if args.compute_capability is None:
            fix = "name the GPU that the plan is for with --compute-capability"
            raise EngineError(error.reason, f"{error.fix}; or {fix}" if error.fix else fix) from None
        here = None
    if here is not None and args.compute_capability in (None, here.compute_capability):
        target = Target(here.name, here.compute_capability)
    else:
        target = Target(ANY_GPU, args.compute_capability)
    check_form(network, args.size)
    for batch in batch_sizes(args.cameras):
        path, stored = obtain_plan(network, args.size or network.input_size, library, target, folder, print,
                                   precision=args.precision, rebuild=args.rebuild, path=args.output, batch=batch)
        print(json.dumps(stored.sidecar["built"]))
        print(f"plan: {path}")
    compile_now()
    return 0


def _plan(text: str) -> Path:
    if not text.endswith(".plan"):
        raise argparse.ArgumentTypeError(f"{text!r} must end with .plan")
    return options.out_file(text)


def _capability(text: str) -> tuple[int, int]:
    try:
        major, minor = (int(part) for part in text.split("."))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a compute capability: write it as in 8.6") from None
    return major, minor
