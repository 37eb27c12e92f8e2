"""Play a bag live: its messages on their topics as recorded, with /clock, at any rate.

By `ros2 bag play` where it is installed, else by the package's own player: the recorded bytes go out as they are, with
the recorded quality of service. Nodes that shall take their time from the bag need `use_sim_time:=true`. With --loop
the bag starts over, and time jumps back.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from drive_seg.interrupt import Interrupt
from drive_seg.play.bag_player import BagPlayer, header_stamp_ns
from drive_seg.play.graph import GRACE, PlayerError, wait_for_subscriber
from drive_seg.ros import transport
from drive_seg.sources.bag import Bag, BagError, Topic

if TYPE_CHECKING:
    from rclpy.node import Node

    from drive_seg.play.ros2bag import Ros2BagPlayer

PLAYERS = ("auto", "ros2bag", "own")


def main(args: Sequence[str] | None = None) -> int:
    """Play a bag until it ends; returns the exit code."""
    transport.apply()  # before rclpy is imported
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    words = list(sys.argv[1:] if args is None else args)
    options = _parser().parse_args(remove_ros_args(words))
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    interrupt = Interrupt()
    node = rclpy.create_node("bag_player")
    try:
        with Bag(options.bag) as bag:
            player = _choose(options, node, bag)
            watched = bag.image_topic(options.report) if options.report else None
            if options.wait:
                images = [topic.name for topic in bag.image_topics() if topic.name in player.topics]
                wait_for_subscriber(node, images or player.topics, options.wait)
            sent = _report if options.report else None
            try:
                player.play(watched, options.duration, sent, options.loop)
                time.sleep(GRACE)  # let the last message leave before the publisher goes
            finally:
                if options.report:
                    print(json.dumps({"player": player.name, "late_ms": player.lateness.figures()}), flush=True)
                print(f"{player.name}: {player.lateness}", file=sys.stderr if options.report else sys.stdout,
                      flush=True)
    except (PlayerError, BagError) as error:
        if interrupt.asked is not None:  # Ctrl-C reaches `ros2 bag play` too, which then may fail
            return 0
        print(f"bag_player: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0  # asked to stop
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _choose(options: argparse.Namespace, node: Node, bag: Bag) -> BagPlayer | Ros2BagPlayer:
    from drive_seg.play.ros2bag import Ros2BagPlayer, installed

    name, part_in_loop = options.player, options.loop and options.duration is not None
    if name == "ros2bag" and not installed():
        raise PlayerError("`ros2 bag play` is not installed here",
                          "apt install ros-$ROS_DISTRO-ros2bag, or --player own")
    theirs = name == "ros2bag" or (name == "auto" and installed() and not part_in_loop)
    return (Ros2BagPlayer if theirs else BagPlayer)(node, bag, options.topics, options.rate)


def _report(topic: Topic, index: int, data: bytes, now_ns: int) -> None:
    """See Sent. `name` is that of the shot in BagSource."""
    print(json.dumps({"name": f"{index:06d}", "stamp_ns": header_stamp_ns(data), "sent_ns": now_ns}), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bag_player", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, .mcap or .db3 file")
    parser.add_argument("--player", choices=PLAYERS, default="auto",
                        help="`ros2 bag play`, the package's own, or auto: the first where it is installed")
    parser.add_argument("--topics", nargs="+", default=(), metavar="NAME", help="what to play (default: everything)")
    parser.add_argument("--rate", type=float, default=1.0, help="2 plays twice as fast (default: 1)")
    parser.add_argument("--duration", type=float, metavar="SECONDS",
                        help="stop after so much of the bag, counted from its first image")
    parser.add_argument("--loop", action="store_true", help="start over at the end, until asked to stop")
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS",
                        help="wait so long for a subscriber before the first message; 0 starts at once (default: 30)")
    parser.add_argument("--report", metavar="TOPIC",
                        help="print a line of JSON for each message of this image topic, as it is published")
    return parser


if __name__ == "__main__":
    sys.exit(main())
