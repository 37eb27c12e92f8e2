"""Compile what Numba compiles, so that the first start of a node and of a replay finds it in the cache.

It takes half a minute; the node does most of it at its first start where nobody did it before.
"""

from __future__ import annotations

import numpy as np

from drive_seg.core.decode import Decoder
from drive_seg.core.health.monitor import Monitor
from drive_seg.core.segmentation import Segmentation
from drive_seg.core.segmenter import warm_up as warm_up_segmenter
from drive_seg.core.temporal import TemporalFilter
from drive_seg.network import Network
from drive_seg.outputs.warm import warm_up as warm_up_outputs
from drive_seg.replay.measure import Measure


def compile_ahead(network: Network) -> None:
    """Run every compiled function once, with the types that frames of this network have."""
    decoder = Decoder(network.table, temperature=network.temperature, trust=network.trust, threads=1)
    decoded = decoder.decode(np.zeros((len(network.table), 8, 8), np.float32), (32, 32))
    warm_up_segmenter(network.table)
    warm_up_outputs()
    TemporalFilter()
    Monitor()
    Measure().add(Segmentation(decoded.labels, decoded.classes, decoded.labels, decoded.confidence))
