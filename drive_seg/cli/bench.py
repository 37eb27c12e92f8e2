"""Measure how long each stage of a frame takes, from a 1280x720 image message to published masks.

Beside it, in the same run, with the same network and by turns: the way of the Nav2 tutorial's node (ONNX Runtime,
soft-max and argmax at full size in numpy), and inference alone of BiSeNetV2 on the same engine and of PyTorch where it
is installed. Then the real node in its own process, fed by a camera process over DDS. A missed target is in the table;
the exit code is 0 when everything could be measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from drive_seg.cli.options import add_settings, given_settings, node_parameters, print_line, settings_of
from drive_seg.core.engine import Engine
from drive_seg.errors import CommandError
from drive_seg.network import Network
from drive_seg.pipeline import Model
from drive_seg.resources import default_network
from drive_seg.ros import transport
from drive_seg.settings import Settings
from drive_seg.sources.clip import DEFAULT

_DISTINCT = 30  # frames of footage held in memory
_CAMERA, _RATE = (360, 640), 30.0  # of each of several cameras: pixels and Hz


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `drive-seg bench`."""
    parser.add_argument("--frames", type=int, default=120, metavar="N", help="frames to measure on (default: 120)")
    parser.add_argument("--source", default=DEFAULT, help=f"footage to take frames from (default: {DEFAULT})")
    parser.add_argument("--resolutions", action="store_true",
                        help="instead: operations and latency of inference over resolutions, on OpenVINO")
    parser.add_argument("--cameras", type=int, metavar="N", dest="count",
                        help="instead: frames a second of 1 to N cameras in one node, beside as many single nodes")
    parser.add_argument("--no-dds", action="store_true", help="leave out the run over DDS")
    parser.add_argument("--json", action="store_true", help="for scripts")
    add_settings(parser, ("network", "masks", "pictures"), without=("ego_mask",))


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from drive_seg.bench import table

    if args.frames < 1:
        raise CommandError(f"--frames must be at least 1, it is {args.frames}")
    if args.resolutions:
        _check_resolutions(args)
    if args.count is not None and not 1 <= args.count <= 8:
        raise CommandError(f"--cameras must be from 1 to 8, it is {args.count}")
    if args.count is not None and args.no_dds:
        raise CommandError("--cameras measures nodes, which are fed over DDS", "leave out --no-dds")
    transport.apply()  # as the node's process does
    settings = settings_of(args)
    with tempfile.TemporaryDirectory(prefix="drive_seg-") as folder:
        if args.resolutions:
            from drive_seg.bench.resolutions import compare

            network = Network.load(settings.network or default_network())
            result = {"network": network.name, "rows": compare(network, Path(folder), max(3, args.frames // 4))}
            text = table.resolutions
        elif args.count is not None:
            result, text = _cameras(args), table.cameras
        else:
            result, text = _stages(args, settings, Path(folder)), table.stages
    print(json.dumps(result, indent=2) if args.json else text(result))
    return 0


def _check_resolutions(args: argparse.Namespace) -> None:
    """What would be ignored is refused."""
    taken = given_settings(args)
    if taken.get("engine") in ("auto", "openvino"):
        del taken["engine"]
    given = ["--size" if name == "input_height" else "--" + name.replace("_", "-") for name in taken
             if name not in ("network", "input_width")]
    given += [option for option, taken in (("--source", args.source != DEFAULT), ("--cameras", args.count is not None),
                                           ("--no-dds", args.no_dds)) if taken]
    if given:
        raise CommandError("--resolutions measures inference alone, on OpenVINO, in the precision that it takes by"
                           " itself, at sizes of its own and without footage",
                           f"leave out {', '.join(given)}")


def _pieces(engine: Engine, network: Network) -> list[dict[str, Any]]:
    """What a GPU's frame is made of, at several camera sizes; nothing where the engine is no GPU's."""
    if engine.name != "tensorrt":
        return []
    from drive_seg.gpu_check.findings import Findings
    from drive_seg.gpu_check.timing import time_frames
    from drive_seg.runtimes.tensorrt.engine import TensorRtEngine

    assert isinstance(engine, TensorRtEngine)
    findings = Findings(quiet=True)
    with engine.on_gpu() as (gpu, runner):
        time_frames(gpu, runner, network, findings, engine.loaded.runtime)
    return findings.table


def _cameras(args: argparse.Namespace) -> dict[str, Any]:
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        raise CommandError(f"the nodes need ROS 2 ({error})",
                           "source your ROS distribution, or pip install 'drive-seg[ros]'") from error
    from drive_seg.bench.cameras import compare
    from drive_seg.play.graph import private_domain
    from drive_seg.sources.sample import load_frames

    height, width = _CAMERA
    frames = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
              for frame in load_frames(args.source, min(args.frames, _DISTINCT))]
    with private_domain() as domain:
        rows = compare(frames, domain, args.count, seconds=args.frames / _RATE * 3, rate=_RATE,
                       parameters=node_parameters(args))
    return {"size": _CAMERA, "rate_hz": _RATE, "rows": rows}


def _stages(args: argparse.Namespace, settings: Settings, folder: Path) -> dict[str, Any]:
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        raise CommandError(f"the stages are measured with ROS messages ({error})",
                           "source your ROS distribution, or pip install 'drive-seg[ros]'") from error
    from drive_seg.bench import replay_rate
    from drive_seg.bench.measure import two_over_one
    from drive_seg.bench.over_dds import run_over_dds
    from drive_seg.bench.stages import measure
    from drive_seg.bench.targets import check
    from drive_seg.play.graph import private_domain
    from drive_seg.sources.sample import load_frames

    frames = load_frames(args.source, min(args.frames, _DISTINCT))
    with private_domain() as domain:
        with Model.open(settings, progress=print_line) as model:
            result = measure(settings, model, frames, domain, folder, args.frames)
            result["gpu"] = _pieces(model.engine, model.network)
        result["replay"] = replay_rate.measure(settings, frames, folder)
        if not args.no_dds:
            result["over_dds"] = run_over_dds(frames, domain, count=max(100, args.frames),
                                              parameters=node_parameters(args))
    result["two_processors_over_one"] = two_over_one()
    result["targets"] = [asdict(target) for target in check(result)]
    return result
