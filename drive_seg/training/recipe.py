"""The recipe: every choice of a training run, in one place. A run folder keeps a copy as recipe.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Phase:
    """A part of the run. until: its end as a share of the run. size: (height, width) of the crops. scales: least and
    greatest magnification of the pictures, drawn log-uniformly."""

    until: float
    size: tuple[int, int]
    scales: tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    seed: int = 0

    # Length: steps, or minutes of training when given (then the schedule follows the clock).
    steps: int = 4000
    minutes: float | None = None
    batch: int = 8
    extra_share: float = 0.25  # of a batch, for the data sets after the first together

    # Crops: cheap ones first, the size the network will see last.
    phases: tuple[Phase, ...] = (
        Phase(0.8, (288, 384), (0.72, 1.9)),
        Phase(1.0, (352, 480), (0.88, 1.8)),
    )
    rare: tuple[str, ...] = ("pedestrian", "bicyclist", "sign", "pole", "pavement")
    rare_share: float = 0.4  # of the crops: centred on a pixel of one of these classes
    rare_image_share: float = 0.3  # of the pictures: drawn among those that show one of `paste`
    paste: tuple[str, ...] = ("pedestrian", "bicyclist")
    paste_share: float = 0.4  # of the pictures: get cut-outs of these classes
    thing_share: float = 0.5  # of the pictures: get things that no class covers, and paint, on their road
    wall_share: float = 0.12  # of these things: are walls along the road
    look_strength: float = 1.0  # how far light, weather and camera stray

    # Optimiser: AdamW, cosine after a warm-up.
    lr: float = 2e-3
    backbone_lr: float = 3e-4
    weight_decay: float = 0.02
    warmup: float = 0.03  # share of the run
    clip: float = 5.0
    ema: float = 0.998
    train_shallow: bool = False  # also train the backbone up to stride 4

    # Loss.
    class_weight_power: float = 0.2  # weight of a class = (its share of the pixels) ** -power, mean 1
    lovasz: float = 0.8
    lovasz_pixels: int = 16000
    auxiliary: float = 0.3  # of the logits at 1/8 and at 1/16, each
    boundary: float = 0.25

    # Machine. Replicas are processes that train on their own batches and take the mean of their weights now and then
    # (local SGD): on shared CPUs, several of one thread are faster than one of several.
    replicas: int = 1
    average_every: int = 8  # steps
    workers: int = 1  # that prepare samples, for each replica
    validate_every: float = 0.1  # share of the run
    save_every: float = 0.02

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Raises ValueError for a name that is no part of a recipe."""
        values = json.loads(path.read_text())
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"{path}: {', '.join(sorted(unknown))} is no part of a recipe")
        if "phases" in values:
            values["phases"] = tuple(Phase(p["until"], tuple(p["size"]), tuple(p["scales"])) for p in values["phases"])
        for name in ("rare", "paste"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)

    def phase(self, progress: float) -> Phase:
        """The phase at `progress` (0..1) of the run."""
        return next((p for p in self.phases if progress < p.until), self.phases[-1])
