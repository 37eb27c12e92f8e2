"""Statistics that make a network's confidence honest: soft-max temperature, and what free energy is normal.

Both are fitted on training pictures changed by the recipe's augmentation, so that val stays untouched.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch

from drive_seg.core.classes import ClassTable, Group
from drive_seg.training import data
from drive_seg.training.energy import SHARE, log_sum_exp, normal_energy
from drive_seg.training.losses import IGNORE
from drive_seg.training.model import Segmenter
from drive_seg.training.recipe import Recipe

TEMPERATURES = np.geomspace(0.5, 3.0, 61)


@dataclass(frozen=True)
class Calibration:
    """What calibrate found.

    temperature: divides the logits. mean, std: free energy at that temperature by predicted class, one value a class.
    limit: the standardised free energy under which `share` of the true road cells lie.
    """

    temperature: float
    mean: list[float]
    std: list[float]
    limit: float


@torch.no_grad()
def calibrate(network: Segmenter, sources: list[data.Source], allowed: np.ndarray, table: ClassTable, recipe: Recipe, *,
              images: int = 80, share: float = SHARE, seed: int = 1) -> Calibration:
    """Fits temperature (least cross-entropy, Guo et al. 2017) and trust (free energy, Liu et al. 2020; standardised by
    class, Jung et al. 2021) on `images` augmented training pictures, of each source as many as the recipe mixes in.
    sources, allowed: see data.load_sources."""
    # Without things: trust and temperature are about the classes that the network knows.
    samples = data.Samples(sources, table, replace(recipe, seed=recipe.seed + seed, thing_share=0.0), allowed)
    size, scales = recipe.phases[-1].size, (1.0, 1.3)
    logits, codes = [], []
    schedule = data.Schedule(recipe.shares_of([source.name for source in sources]), recipe, 0, lambda _: 0.0)
    requests = itertools.islice(itertools.chain.from_iterable(schedule), images)
    for image, target in (samples[replace(request, size=size, scales=scales, look=1.0)] for request in requests):
        out = network(image[None].float().to(next(network.parameters()).device))
        logits.append(out[0].float().permute(1, 2, 0).reshape(-1, len(table)).cpu().numpy())
        codes.append(target[::2, ::2].reshape(-1).numpy())
    cells, truth = np.concatenate(logits), np.concatenate(codes)
    labelled = truth != IGNORE
    cells, truth = cells[labelled], truth[labelled]

    pick = np.random.default_rng(seed).permutation(len(truth))[:400_000]
    fits = allowed[truth[pick]]
    temperature = float(min(TEMPERATURES, key=lambda t: _cross_entropy(cells[pick] / t, fits)))

    road = np.isin(truth, [c.id for c in table.classes if c.group is Group.ROAD])
    mean, std, limit = normal_energy(cells, allowed[truth, cells.argmax(1)], road, temperature, share)
    return Calibration(round(temperature, 4), [round(float(v), 4) for v in mean], [round(float(v), 4) for v in std],
                       round(limit, 4))


def _cross_entropy(logits: np.ndarray, fits: np.ndarray) -> float:
    """Mean -log of the probability that a cell is any of the classes that its truth may be. fits: (P, C) bool."""
    return float((log_sum_exp(logits) - log_sum_exp(np.where(fits, logits, -np.inf))).mean())
