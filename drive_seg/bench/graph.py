"""A ROS graph of the benchmark's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from drive_seg.cli.errors import CommandError


@contextmanager
def private_domain() -> Iterator[int]:
    """A ROS domain that nobody else on this machine uses, for this process and its children."""
    try:
        from domain_coordinator import domain_id
    except ImportError as error:
        raise CommandError(f"no way to get a ROS domain of its own ({error})",
                           "pip install 'drive-seg[test]'") from error
    before = {name: os.environ.get(name) for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")}
    with domain_id() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        try:
            yield domain
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
