"""The network that ships."""

from __future__ import annotations

from collections.abc import Iterator

from drive_seg.doctor.finding import Finding, Level
from drive_seg.network import Network, NetworkError
from drive_seg.resources import default_network


def check() -> Iterator[Finding]:
    """Whether the default network is there and whole."""
    try:
        network = Network.load(default_network())
    except (FileNotFoundError, NetworkError) as error:
        yield Finding("default network", Level.ERROR, str(error),
                      "install drive_seg again, or set `network` to your own")
        return
    height, width = network.input_size
    yield Finding("default network", Level.OK, f"{network.name}, {width}x{height}, {len(network.table)} classes:"
                                               f" {network.path}")
