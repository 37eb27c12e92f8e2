"""The recipe: every choice of a training run, in one place. A run folder keeps a copy as recipe.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from drive_seg.network import STRIDE
from drive_seg.training.checks import check_number, is_number, is_whole
from drive_seg.training.recipe_file import RecipeFile

LATER_START = 0.55
"""Recipe.start of a run that starts from another one and whose recipe does not say."""


@dataclass(frozen=True)
class Phase:
    """A part of the run. until: its end as a share of the run. size: (height, width) of the crops. scales: least and
    greatest magnification of the pictures, drawn log-uniformly; 1 lets a whole picture fill the last phase's crop.
    look: share of Recipe.look_strength."""

    until: float
    size: tuple[int, int]
    scales: tuple[float, float]
    look: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError."""
        check_number("until of a phase", self.until, above=0, most=1)
        if not (len(self.size) == 2 and all(is_whole(side) and side > 0 and side % STRIDE == 0 for side in self.size)):
            raise ValueError(f"size of a phase must be height and width in multiples of {STRIDE}, it is {self.size!r}")
        if not (len(self.scales) == 2 and all(map(is_number, self.scales)) and 0 < self.scales[0] <= self.scales[1]):
            raise ValueError("scales of a phase must be the least and the greatest magnification, above 0, it is"
                             f" {self.scales!r}")
        check_number("look of a phase", self.look, least=0, most=1)


_NAMES = ("rare", "paste", "ego_sets")
"""The lists of names."""


@dataclass(frozen=True)
class Recipe(RecipeFile):
    tuples: ClassVar[tuple[str, ...]] = _NAMES

    seed: int = 0

    # Length: steps, or minutes by the clock on the wall when given, validation and waiting included.
    steps: int = 11500
    minutes: float | None = None
    start: float = 0.0  # share of the schedule that is left out: above 0 for a run that starts from another one
    batch: int = 8
    extra_share: float = 0.25  # of the samples, for the data sets after the first together, where `shares` is empty
    shares: dict[str, float] = field(default_factory=dict)  # of the samples, for each data set by name
    ego_sets: tuple[str, ...] = ()  # data sets whose ignored region at the lower edge is the vehicle itself

    # Crops: cheap ones first, then the size that the network will see, at last with less change of the look.
    phases: tuple[Phase, ...] = (
        Phase(0.6, (288, 384), (0.72, 1.9)),
        Phase(0.75, (352, 480), (0.88, 1.8)),
        Phase(1.0, (352, 480), (0.88, 1.7), look=0.6),
    )
    rare: tuple[str, ...] = ("pedestrian", "bicyclist", "sign", "pole", "pavement")
    rare_share: float = 0.4  # of the crops: centred on a pixel of one of these classes
    rare_image_share: float = 0.3  # of the pictures: drawn among those that show one of `paste`
    paste: tuple[str, ...] = ("pedestrian", "bicyclist")
    paste_share: float = 0.4  # of the pictures: get cut-outs of these classes
    thing_share: float = 0.6  # of the pictures: get things that no class covers, and paint, on their road
    wall_share: float = 0.3  # of these things: are walls along the road
    bonnet_share: float = 0.1  # of the pictures outside `ego_sets`: get a bonnet, where a class is the ego vehicle
    look_strength: float = 1.0  # how far light, weather and camera stray

    # Network.
    width: float = 1.0  # factor of the channels of all but the backbone

    # Optimiser: AdamW, cosine after a warm-up.
    lr: float = 2e-3
    backbone_lr: float = 3e-4
    weight_decay: float = 0.02
    warmup: float = 0.03  # share of the run
    settle: int = 100  # steps over which the rate rises where a run starts from a network file, without an optimiser
    clip: float = 5.0
    ema: float = 0.998
    train_shallow: bool = False  # also train the backbone up to stride 4

    # Loss.
    class_weight_power: float = 0.2  # weight of a class = (its share of the pixels) ** -power, mean 1
    lovasz: float = 0.8
    lovasz_pixels: int = 16000
    group_lovasz: float = 0.0  # of the planner groups, picture by picture
    auxiliary: float = 0.3  # of the logits at 1/8 and at 1/16, each
    boundary: float = 0.25
    distillation: float = 1.0  # of the teacher's answers, in a run that has a teacher

    # Machine. Replicas are processes that train on their own batches and take the mean of their weights now and then
    # (local SGD): on shared CPUs, several of one thread are faster than one of several.
    mixed_precision: bool | None = None  # layers in bfloat16, weights and losses in float32; None: where fast
    replicas: int = 1
    average_every: int = 8  # steps
    workers: int | None = None  # that prepare samples, for each replica; None: 1, or as many as keep a GPU busy
    validate_every: float = 0.1  # share of the run
    save_every: float = 0.02

    def __post_init__(self) -> None:
        """Raises ValueError for a value that no run could be made with."""
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            if (value is None and name in _MAY_BE_LEFT) or (is_whole(value) and value >= least):
                continue
            raise ValueError(f"{name} must be a whole number of {least} or more, it is {value!r}")
        for name, limits in _LIMITS.items():
            if name not in _MAY_BE_LEFT or getattr(self, name) is not None:
                check_number(name, getattr(self, name), **limits)
        if not isinstance(self.train_shallow, bool):
            raise ValueError(f"train_shallow must be true or false, it is {self.train_shallow!r}")
        if self.mixed_precision is not None and not isinstance(self.mixed_precision, bool):
            raise ValueError("mixed_precision must be true, false or null (where it is fast), it is"
                             f" {self.mixed_precision!r}")
        for name in _NAMES:
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(isinstance(one, str) for one in value):
                raise ValueError(f"{name} must be a list of names, it is {value!r}")
        if not isinstance(self.shares, dict) or not all(is_number(v) and v > 0 for v in self.shares.values()):
            raise ValueError(f"shares must give each data set a number above 0, by name, it is {self.shares!r}")
        ends = [phase.until for phase in self.phases]
        if not ends or ends != sorted(set(ends)):
            raise ValueError(f"phases must be one or more, each with a later `until` than the one before: {ends}")

    @classmethod
    def read(cls, values: dict[str, Any]) -> dict[str, Any]:
        """See RecipeFile."""
        values = super().read(values)
        return values | {"phases": _read_phases(values["phases"])} if "phases" in values else values

    def shares_of(self, names: list[str]) -> list[float]:
        """Share of the samples that each of these data sets gets, sum 1. Raises ValueError."""
        if not self.shares:
            extra = self.extra_share / (len(names) - 1) if len(names) > 1 else 0.0
            return [1 - extra * (len(names) - 1), *[extra] * (len(names) - 1)]
        if set(names) != set(self.shares):
            raise ValueError(f"the recipe has shares for {', '.join(sorted(self.shares))}, the data sets are"
                             f" {', '.join(names)}: name each of them, or leave shares out")
        return [self.shares[name] / sum(self.shares.values()) for name in names]

    def phase(self, progress: float) -> Phase:
        """The phase at `progress` (0..1) of the run."""
        return next((p for p in self.phases if progress < p.until), self.phases[-1])


_WHOLE = {"seed": 0, "steps": 1, "batch": 2, "settle": 0, "lovasz_pixels": 1, "replicas": 1, "average_every": 1,
          "workers": 0}
"""The least of each whole number. A batch norm needs two pictures."""

_MAY_BE_LEFT = ("minutes", "workers")
"""The numbers that may be None."""

_SHARE: dict[str, float] = {"least": 0, "most": 1}
_POSITIVE: dict[str, float] = {"above": 0}
_LIMITS: dict[str, dict[str, float]] = {
    "start": {"least": 0, "below": 1}, "minutes": _POSITIVE, "extra_share": _SHARE, "rare_share": _SHARE,
    "rare_image_share": _SHARE, "paste_share": _SHARE, "thing_share": _SHARE, "wall_share": _SHARE,
    "bonnet_share": _SHARE, "look_strength": {"least": 0},
    "lr": _POSITIVE, "backbone_lr": {"least": 0}, "weight_decay": {"least": 0}, "warmup": {"least": 0, "below": 1},
    "clip": _POSITIVE, "ema": {"least": 0, "below": 1}, "class_weight_power": {"least": 0}, "lovasz": {"least": 0},
    "group_lovasz": {"least": 0}, "auxiliary": {"least": 0}, "boundary": {"least": 0}, "distillation": {"least": 0},
    "width": _POSITIVE, "validate_every": {"least": 0}, "save_every": {"least": 0},
}


def _read_phases(rows: object) -> tuple[Phase, ...]:
    if not isinstance(rows, list) or not all(map(_is_phase, rows)):
        raise ValueError("phases must be a list of {\"until\": share, \"size\": [height, width], \"scales\": [least,"
                         f" greatest]}}, and \"look\" where it is not 1, it is {rows!r}")
    return tuple(Phase(row["until"], tuple(row["size"]), tuple(row["scales"]), row.get("look", 1.0)) for row in rows)


def _is_phase(row: object) -> bool:
    return (isinstance(row, dict) and set(row) - {"look"} == {"until", "size", "scales"}
            and isinstance(row["size"], list) and isinstance(row["scales"], list))
