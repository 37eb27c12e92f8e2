"""Options that several subcommands share."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from drive_seg.arguments import size
from drive_seg.core.engine import EngineError
from drive_seg.core.segmenter import Segmenter
from drive_seg.network import STRIDE, Network, fits_stride
from drive_seg.resources import default_network
from drive_seg.runtimes import ENGINES, PRECISIONS, open_engine

_STANDARD_OUTPUT = Path("-")


def add_network(parser: argparse.ArgumentParser, *, with_file: bool = True) -> None:
    """--network (with_file), --engine, --precision, --size and --plans."""
    if with_file:
        parser.add_argument("--network", type=Path, metavar="FILE", help="an .onnx file (default: the one that ships)")
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="runtime (default: auto)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto",
                        help="of the arithmetic (default: auto, the engine's fastest that keeps the accuracy)")
    parser.add_argument("--size", type=size, metavar="HxW", help="network input size (default: the network's own)")
    parser.add_argument("--plans", type=cache_folder, metavar="FOLDER",
                        help="TensorRT's plan folder (default: in the user's cache)")


def open_segmenter(args: argparse.Namespace, ego: np.ndarray | None = None) -> Segmenter:
    """The segmenter that the options of add_network ask for. ego: see Segmenter. Raises NetworkError
    or EngineError."""
    network = Network.load(args.network or default_network())
    try:
        engine = open_engine(args.engine, network, input_size=args.size, precision=args.precision,
                             plan_folder=args.plans, progress=_say)
    except EngineError as error:
        if fits_stride(args.size or network.input_size):
            raise
        # Some networks take such a size (an odd one by design), so it is no error before the engine says so.
        height, width = network.input_size
        reason, sidecar = str(error).rstrip("."), network.path.with_suffix(".yaml")
        raise EngineError(f"{reason}; the `input` of {sidecar} is {height}x{width}",
                          f"most networks need multiples of {STRIDE}, correct it or give --size") from error
    return Segmenter(engine, network.table, ego=ego, surface=network.surface)


def node_parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The node's parameters for what the options of add_network ask for."""
    parameters: dict[str, Any] = {"engine": args.engine, "precision": args.precision}
    if args.plans:
        parameters["plan_folder"] = str(args.plans.resolve())
    if args.network:
        parameters["network"] = str(args.network.resolve())
    if args.size:
        parameters["input_height"], parameters["input_width"] = args.size
    return parameters


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def out_folder(text: str) -> Path:
    """Parse the name of a folder for results, there or not: what can't become one is told before the work."""
    folder = cache_folder(text)
    _check_writable(_nearest(folder))
    return folder


def cache_folder(text: str) -> Path:
    """The same for a folder that serves what is in it even where it can't be written."""
    folder = Path(text)
    there = _nearest(folder)
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file, not a folder: give another folder")
    return folder


def out_file(text: str) -> Path:
    """Parse the name of a file for results, likewise; its folder need not be there."""
    file = Path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{file} is a folder: give the name of a file")
    if file.exists():
        _check_writable(file)
    else:
        out_folder(str(file.parent))
    return file


def json_file(text: str) -> Path:
    """The same, or - for standard output."""
    return _STANDARD_OUTPUT if text == str(_STANDARD_OUTPUT) else out_file(text)


def is_standard_output(file: Path | None) -> bool:
    """Whether results go to standard output, which then holds nothing else."""
    return file == _STANDARD_OUTPUT


def write_json(results: dict, file: Path) -> None:
    """Write results to what json_file gave."""
    text = json.dumps(results, indent=1)
    if is_standard_output(file):
        print(text)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


def _nearest(path: Path) -> Path:
    """The path itself or the first folder above it that is there."""
    return next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path} may not be written: give another place, or change its permissions")
