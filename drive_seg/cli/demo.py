"""Run the real node on footage, as `make run` does: a player publishes the frames at their own rate over DDS, a
listener subscribes to the masks as a planner would. A rosbag2 is played as it was recorded, with /clock, and the node
takes its time from there. Leaves overlay.mp4, contact.png, summary.json and the logs in the output folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from drive_seg.cli.options import add_settings, node_parameters, out_folder
from drive_seg.errors import CommandError, reason_and_fix
from drive_seg.interrupt import Interrupt
from drive_seg.ros import transport
from drive_seg.settings import GROUPS
from drive_seg.sources.clip import CLIPS, DEFAULT
from drive_seg.sources.open import KINDS
from drive_seg.sources.views import NAME, is_views


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `drive-seg demo`."""
    parser.add_argument("--source", default=DEFAULT, help=f"{KINDS}; a clip is fetched, NAME is one of"
                        f" {', '.join(CLIPS)}, or {NAME}: three cameras cut from such a clip (default: {DEFAULT})")
    parser.add_argument("--duration", type=float, default=20.0, metavar="SECONDS", help="footage to play (default: 20)")
    parser.add_argument("--out", type=out_folder, default=Path("out"), metavar="FOLDER", help="default: out")
    parser.add_argument("--topic", help="image topic, for a bag with several cameras")
    parser.add_argument("--rate", type=float, default=1.0, help="of a rosbag2: 2 plays twice as fast (default: 1)")
    add_settings(parser, GROUPS, without=("autostart", "image_transport"))


def run(args: argparse.Namespace) -> int:
    """Run the demo; returns the exit code."""
    transport.apply()  # before rclpy is imported
    try:
        from drive_seg.demo import report, views
        from drive_seg.demo.child import DemoError
        from drive_seg.demo.run import run as run_demo
    except ImportError as error:
        raise CommandError(f"the demo needs ROS 2 ({error})",
                           "source your ROS 2 set-up, or pip install 'drive-seg[ros]'") from error
    try:
        if is_views(args.source):
            if args.topic is not None or args.rate != 1:
                raise CommandError("--topic and --rate are of a bag", f"leave them out for {args.source}")
            summary = views.run(args.source, args.duration, args.out, parameters=node_parameters(args),
                                check=Interrupt().check)
            print(views.table(summary, args.out))
            return 0
        summary = run_demo(args.source, args.duration, args.out, topic=args.topic, rate=args.rate,
                           parameters=node_parameters(args), check=Interrupt().check)
    except DemoError as error:
        raise CommandError(*reason_and_fix(error)) from error
    print(report.table(summary, args.out))
    return 0
