"""Every choice of an adaptation, in one place. RUN keeps a copy as adaptation.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from drive_seg.training.checks import check_number, is_number, is_whole
from drive_seg.training.recipe_file import RecipeFile

METHODS = ("self-training", "entropy", "statistics")


@dataclass(frozen=True)
class AdaptRecipe(RecipeFile):
    """method: `self-training`; or, to compare with, `entropy` (Tent, Wang et al., ICLR 2021: least entropy, by the
    scale and offset of the batch norms alone) or `statistics` (UBNA, Klingner et al., arXiv 2011.08502: batch norms'
    mean and variance, mixed with the former ones; needs labelled pictures of the former domain, as a network file no
    longer has its statistics).
    """

    tuples: ClassVar[tuple[str, ...]] = ("keep", "teacher_scales", "scales")

    method: str = "self-training"
    seed: int = 0
    steps: int = 2000
    minutes: float | None = None  # of training, by the clock on the wall, instead of steps
    batch: int = 4

    statistics: bool = True  # re-estimated on the footage before self-training, where labelled sets are given

    # Pseudo-labels. A class's threshold is the confidence that `keep` of its pixels reach (CBST, Zou et al., 2018),
    # followed from picture to picture (IAST, Mei et al., ECCV 2020), and never above `sure`.
    rounds: int = 5  # of the same length; the teacher stays as it is in each
    keep: tuple[float, float] = (0.5, 0.8)  # at the beginning, at the end
    sure: float = 0.9
    least: float = 0.75  # no class is believed below, or those that are never sure would grow from round to round
    follow: float = 0.9  # of the thresholds from step to step
    teacher_scales: tuple[float, ...] = (0.75, 0.75, 1.25, 1.25)  # of what it sees; every second one is mirrored
    ema: float = 0.995  # of what comes out and teaches the next round (Tarvainen and Valpola, NeurIPS 2017)

    # The student's pictures.
    crop: float = 0.75  # of the network's input, both ways
    scales: tuple[float, float] = (0.9, 1.6)
    look: float = 1.0
    mix: float = 0.5  # of the pictures: half the classes of another one pasted in (DACS, Tranheden et al., WACV 2021)
    rare: float = 0.4  # of the crops: centred on a class that is drawn evenly

    # Not forgetting.
    rehearsal: float = 0.5  # of a batch, where labelled sets are given
    hold: float = 2e-3  # pull of the weights to the former ones (L2-SP, Li et al., ICML 2018)

    lr: float = 1e-4
    backbone_lr: float = 2e-5
    settle: int = 50  # steps over which the rate rises
    clip: float = 5.0
    save_every: int = 50  # steps

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, it is {self.method!r}")
        if not isinstance(self.statistics, bool):
            raise ValueError(f"statistics must be true or false, it is {self.statistics!r}")
        for name in ("steps", "batch", "rounds", "settle", "save_every"):
            if not is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of 1 or more, it is {getattr(self, name)!r}")
        if self.minutes is not None:
            check_number("minutes", self.minutes, above=0)
        if not (self.teacher_scales and all(is_number(scale) and 0.25 <= scale <= 4 for scale in self.teacher_scales)):
            raise ValueError(f"teacher_scales must be numbers from 0.25 to 4, they are {self.teacher_scales!r}")
        for name in ("sure", "least", "follow", "ema", "mix", "rare", "rehearsal", "crop"):
            check_number(name, getattr(self, name), least=0, most=1)
