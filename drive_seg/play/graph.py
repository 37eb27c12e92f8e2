"""The ROS graph that footage is played on: a domain of its own, and waiting for who listens."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from drive_seg.errors import CommandError, DriveSegError
from drive_seg.sources.frame_source import SourceError

if TYPE_CHECKING:
    from rclpy.node import Node

GRACE = 1.0
"""Seconds from when a publisher sees its subscriber until the subscriber surely sees the publisher."""


class PlayerError(DriveSegError, RuntimeError):
    """Footage that can't be played, or that nobody listens to."""


def exit_code(name: str, play: Callable[[], None]) -> int:
    """Run a player, then end ROS. Returns its exit code: 2 after one line on stderr where the footage can't be played,
    130 where it was interrupted or nobody reads its reports any more."""
    import rclpy

    try:
        play()
    except (SourceError, PlayerError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


@contextmanager
def private_domain(log: Path | None = None) -> Iterator[int]:
    """A ROS domain that nobody else on this machine uses, for this process and its children.

    log: folder for ROS's own log files, by default where ROS puts them. Raises CommandError where the package
    domain_coordinator is not installed.
    """
    try:
        from domain_coordinator import domain_id
    except ImportError as error:
        raise CommandError(f"a ROS domain of its own can't be had ({error})",
                           "pip install 'drive-seg[ros]'") from error
    with domain_id() as domain:
        wanted = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        if log is not None:
            wanted["ROS_LOG_DIR"] = str(log)
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield domain
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def wait_for_subscriber(node: Node, topics: Sequence[str], seconds: float, grace: float = GRACE) -> None:
    """Wait until somebody listens to one of the topics. grace: see GRACE. Raises PlayerError when nobody does in time.

    Discovery goes on in threads of the middleware: the node need not spin.
    """
    names = [node.resolve_topic_name(name) for name in topics]
    end = time.monotonic() + seconds
    while not any(node.count_subscribers(name) for name in names):
        if time.monotonic() > end:
            raise PlayerError(f"nobody subscribed to {', '.join(names)} within {seconds:g} s",
                              "start the node, or give --wait 0")
        time.sleep(0.05)
    time.sleep(grace)
