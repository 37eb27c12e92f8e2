"""The mean of several runs' weights: better than each of them, for the price of one (model soup).

Runs that start from the same network and differ in seed or recipe end close enough together for the mean to be in the
same valley, and a flatter part of it (Wortsman et al., "Model soups", ICML 2022; Gupta, Serrano and DeCoste,
"Stochastic weight averaging in parallel", ICLR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from itertools import islice

import numpy as np
import torch
from torch import nn

from drive_seg.training import data
from drive_seg.training.model import Segmenter
from drive_seg.training.run_folder import Run, RunError

BATCHES = 24
"""That the batch norms' statistics are taken from."""


@torch.no_grad()
def average(runs: Sequence[Run], sources: Sequence[data.Source], allowed: np.ndarray) -> Segmenter:
    """A network with the mean of the runs' weights, for evaluation. Batch norms get their statistics from training
    pictures anew: those of a mean are not the mean of theirs.

    sources, allowed: see data.load_sources; the pictures are changed by the first run's recipe at its end. Raises
    RunError for runs that can't be averaged.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.table.names != first.table.names or run.recipe.width != first.recipe.width:
            raise RunError("runs with other classes or another width can't be averaged",
                           "name runs that started from the same network")
    states = [run.network.state_dict() for run in runs]
    network = deepcopy(first.network)
    network.load_state_dict({
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()})
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    samples = data.Samples(list(sources), first.table, first.recipe, allowed)
    shares = first.recipe.shares_of([source.name for source in sources])
    for batch in islice(data.Schedule(shares, first.recipe, 0, lambda _: 1.0), BATCHES):
        network(torch.stack([samples[request][0] for request in batch]).float())
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


def facts(run: Run) -> dict:
    """What a network file tells of a run whose weights are in its mean."""
    return {"steps": run.step, "minutes": round(run.seconds / 60, 1), "recipe": asdict(run.recipe)}
