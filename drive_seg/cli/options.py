"""Options that several subcommands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from drive_seg.core.segmenter import Segmenter
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes import ENGINES, PRECISIONS, open_engine


def add_network(parser: argparse.ArgumentParser) -> None:
    """--network, --engine, --precision and --size."""
    parser.add_argument("--network", type=Path, metavar="FILE", help="an .onnx file (default: the one that ships)")
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="runtime (default: auto)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto",
                        help="of the arithmetic (default: auto, the engine's fastest that keeps the accuracy)")
    parser.add_argument("--size", type=size, metavar="HxW", help="network input size (default: the network's own)")


def open_segmenter(args: argparse.Namespace, ego: np.ndarray | None = None) -> Segmenter:
    """The segmenter that --network, --engine, --precision and --size ask for. ego: see Segmenter. Raises NetworkError
    or EngineError."""
    network = Network.load(args.network or default_network())
    engine = open_engine(args.engine, network, input_size=args.size, precision=args.precision, progress=_say)
    return Segmenter(engine, network.table, ego=ego, surface=network.surface)


def node_parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The node's parameters for the same network, engine, precision and input size."""
    parameters: dict[str, Any] = {"engine": args.engine, "precision": args.precision}
    if args.network:
        parameters["network"] = str(args.network.resolve())
    if args.size:
        parameters["input_height"], parameters["input_width"] = args.size
    return parameters


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def size(text: str) -> tuple[int, int]:
    """Parse HxW, in pixels, e.g. 352x480."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: use HEIGHTxWIDTH, e.g. 352x480") from None
    if height <= 0 or width <= 0 or height % 32 or width % 32:
        raise argparse.ArgumentTypeError(f"height and width must be positive multiples of 32, this is {text}")
    return height, width
