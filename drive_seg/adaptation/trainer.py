"""Self-training on footage: a student learns what a teacher is sure of, from pictures that were changed strongly.

The teacher stays as it is for a round (CBST, Zou et al., ECCV 2018), the former network in the first; the mean of the
students so far (Tarvainen and Valpola, NeurIPS 2017) is the teacher of the next one, and what comes out. It sees whole
pictures as they are, at several sizes, which makes it better than its student (Xie et al., CVPR 2020); the student
sees crops in other light and weather, with classes of other pictures pasted in. A teacher that follows its student from
step to step hands on its mistakes: measured, it gained a third as much and then drifted. Where labelled pictures of
the former domain are given, the statistics of the batch norms are re-estimated on the footage first (UBNA, Klingner et
al., arXiv 2011.08502), which makes the first teacher better; then they stay, for batches of four would only add noise.
Every sample depends on its step alone, so that a run in steps that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from drive_seg.adaptation.footage import Footage, Still, may_empty
from drive_seg.adaptation.pseudo import Thresholds, mix_in, read_answer, steady, write_answer
from drive_seg.adaptation.recipe import AdaptRecipe
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset
from drive_seg.network import STRIDE, Network
from drive_seg.training import augment, data, log, quantise
from drive_seg.training.losses import IGNORE, CodeBook, marginal_cross_entropy
from drive_seg.training.model import Segmenter, double
from drive_seg.training.recipe import Phase, Recipe
from drive_seg.training.restore import check_file, restore
from drive_seg.training.run_folder import read_state, report_damage

CHECKPOINT, LOG, RECIPE = "checkpoint.pt", "log.jsonl", "adaptation.json"

ANSWERS = "answers"
"""Folder of what the teacher of this round said so far."""

_REHEARSAL_LOOK = 0.4  # of the full change of look: the former domain is as it is
_PICTURES = 48  # that the batch norms get their statistics from
_STATISTICS_STEPS, _STATISTICS_RATE, _STATISTICS_DECAY = 50, 0.1, 0.94  # UBNA's momentum and its decay


class AdaptError(DriveSegError, RuntimeError):
    """An adaptation that can't be done; the message names the fix."""


def check(former: Network, recipe: AdaptRecipe, rehearsal: Sequence[Dataset], device: str | None) -> None:
    """What can be said before the footage is looked at. Raises AdaptError, RunError, DatasetError."""
    if device == "cuda" and not torch.cuda.is_available():
        raise AdaptError("torch can use no GPU here", "leave --device out, or install a torch with CUDA")
    if recipe.method == "statistics" and not rehearsal:
        raise AdaptError("the statistics of a network file are folded into its weights, so there is nothing to"
                         " re-estimate", "give labelled pictures of its former domain with --data, or another"
                         " --method")
    check_file(former, _width(former))
    for dataset in rehearsal:
        dataset.pairs("train")


def check_ends(rehearsal: Sequence[Dataset], scored: Sequence[Dataset], int8: bool) -> None:
    """The same of what only the end of a run needs. Raises DatasetError, QuantiseError."""
    for dataset in (*(d for d in rehearsal if "val" in d.splits), *scored):
        dataset.pairs("val")
    if int8:
        quantise.check_installed()


def _width(former: Network) -> float:
    return float((former.provenance.get("recipe") or {}).get("width", 1.0))


class Adaptation:
    """One run. `student` learns from `teacher`; `average` is what comes out."""

    def __init__(self, footage: Footage, former: Network, out: Path, recipe: AdaptRecipe, *,
                 rehearsal: Sequence[Dataset] = (), resume: bool = False, device: str | None = None) -> None:
        """rehearsal: labelled sets whose train split is trained on besides. Raises AdaptError, RunError, DatasetError.
        """
        check(former, recipe, rehearsal, device)
        self.footage, self.former, self.out, self.recipe = footage, former, out, recipe
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.manual_seed(recipe.seed)
        self.table, self.stills = former.table, footage.training
        if len(self.stills) < recipe.batch:
            raise AdaptError(f"{len(self.stills)} frames to train on are fewer than a batch of {recipe.batch}",
                             "give more footage")
        height, width = (max(STRIDE, round(recipe.crop * side / STRIDE) * STRIDE) for side in footage.size)
        self.crop = (height, width)
        self._rehearsal = [dataset.name for dataset in rehearsal]
        self._samples: data.Samples | None = None
        sources: list[data.Source] = []
        allowed = np.eye(len(self.table), dtype=np.bool_)
        if rehearsal:
            sources, allowed = data.load_sources(list(rehearsal), "train", self.table)
            base = Recipe(seed=recipe.seed, phases=(Phase(1.0, self.crop, (0.9, 1.7)),))
            self._samples = data.Samples(sources, self.table, base, allowed)
        re_estimated = recipe.method == "statistics" or (recipe.method == "self-training" and recipe.statistics)
        learnt = self._samples if re_estimated else None
        pictures = self._seen() if learnt is None else self._rehearsed(learnt)
        self.student = restore(former, self.table, _width(former), pictures).eval()
        for module in self.student.backbone.shallow_modules():
            module.requires_grad_(False)
        self.student.to(self.device, memory_format=torch.channels_last)
        self.average = deepcopy(self.student).requires_grad_(False)
        self.teacher = deepcopy(self.average)
        self.round = 0
        self._start = {name: p.detach().clone() for name, p in self.student.named_parameters() if p.requires_grad}
        self.thresholds = Thresholds(len(self.table), sure=recipe.sure, least=recipe.least, follow=recipe.follow)
        self.book = self._code_book(sources, allowed).to(self.device)
        self.optimizer = _optimizer(self.student, recipe)
        self.step, self.seconds = 0, 0.0
        if resume and (out / CHECKPOINT).is_file():
            self._restore()
            return
        if recipe.method == "self-training" and learnt is not None:
            self._re_estimate()
            for network in (self.student, self.teacher):
                network.load_state_dict(self.average.state_dict())
        if resume:  # killed before the first checkpoint
            return
        if (out / CHECKPOINT).exists():
            raise AdaptError(f"{out} holds an adaptation already", "add --resume to go on with it, or name another"
                             " folder")
        if not may_empty(out / ANSWERS):
            raise AdaptError(f"{out / ANSWERS} is there already, and would be emptied", "move it, or name another"
                             " folder")
        (out / LOG).unlink(missing_ok=True)
        shutil.rmtree(out / ANSWERS, ignore_errors=True)
        recipe.save(out / RECIPE)
        self.save()  # or a run that is killed early could go on with another network

    def progress(self) -> float:
        """Share of the run that is over, 0..1."""
        if self.recipe.minutes is not None:
            return min(1.0, self.seconds / (60 * self.recipe.minutes))
        return min(1.0, self.step / self.recipe.steps)

    def run(self, progress: Callable[[float, str], None] = lambda share, said: None,
            stop_after: int | None = None) -> None:
        """To the end, or until step `stop_after`. progress: gets the share that is over and a line after each step."""
        if self.recipe.method == "statistics":
            if self.step < _STATISTICS_STEPS:  # or a run that goes on would do it twice
                self._re_estimate()
                self.step = _STATISTICS_STEPS
                self.save()
            return
        losses: list[dict[str, float]] = []
        last = time.monotonic()
        while self.progress() < 1 and (stop_after is None or self.step < stop_after):
            if self.round < int(self.progress() * self.recipe.rounds):
                self._next_round()
            losses.append(self._train_step())
            self.step += 1
            self.seconds, last = self.seconds + time.monotonic() - last, time.monotonic()
            now = self.progress()
            progress(now, f"loss {losses[-1]['loss']:.3f}, {losses[-1]['kept']:.0%} believed")
            if len(losses) == 20 or now >= 1:
                mean = {k: round(float(np.mean([one[k] for one in losses])), 4) for k in losses[0]}
                log.append(self.out / LOG, {"step": self.step, "progress": round(now, 4),
                                            "seconds": round(self.seconds, 1), **mean})
                losses = []
            if self.step % self.recipe.save_every == 0:
                self.save()
        self.save()
        if self.progress() >= 1:
            shutil.rmtree(self.out / ANSWERS, ignore_errors=True)

    def _next_round(self) -> None:
        self.round += 1
        self.teacher.load_state_dict(self.average.state_dict())
        shutil.rmtree(self.out / ANSWERS, ignore_errors=True)

    def save(self) -> None:
        """Write the checkpoint; a kill while writing leaves the one before."""
        state = {"step": self.step, "seconds": self.seconds, "student": self.student.state_dict(),
                 "average": self.average.state_dict(), "teacher": self.teacher.state_dict(), "round": self.round,
                 "optimizer": self.optimizer.state_dict(),
                 "thresholds": torch.from_numpy(self.thresholds.values.copy()), "former": self.former.sha256,
                 "rehearsal": self._rehearsal}
        part = (self.out / CHECKPOINT).with_suffix(".part")
        torch.save(state, part)
        part.replace(self.out / CHECKPOINT)

    def _restore(self) -> None:
        path = self.out / CHECKPOINT
        state, own = read_state(path), [group["base_lr"] for group in self.optimizer.param_groups]
        if state.get("former") != self.former.sha256:
            raise AdaptError(f"{self.out} began with another network than {self.former.path}",
                             "name that one, or start again with another --out")
        if state.get("rehearsal") != self._rehearsal:
            raise AdaptError(f"{self.out} began with the labelled sets {state.get('rehearsal')}, --data gives"
                             f" {self._rehearsal}", "give the same ones, or start again with another --out")
        with report_damage(path):
            self.student.load_state_dict(state["student"])
            self.average.load_state_dict(state["average"])
            self.teacher.load_state_dict(state["teacher"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.thresholds.values = state["thresholds"].numpy().copy()
            self.step, self.seconds, self.round = state["step"], state["seconds"], state["round"]
        for group, rate in zip(self.optimizer.param_groups, own, strict=True):  # the recipe's, which may have changed
            group["base_lr"] = rate
        shutil.rmtree(self.out / ANSWERS, ignore_errors=True)  # it may be of a later round
        log.cut(self.out / LOG, self.step)

    # ---- one step -----------------------------------------------------------------------------------------------

    def _train_step(self) -> dict[str, float]:
        self._set_rates()
        rng = np.random.default_rng([self.recipe.seed, self.step])
        if self.recipe.method == "entropy":
            return self._entropy_step(rng)
        images, codes, kept = self._batch(rng)
        logits = self.student(images.to(self.device).float().contiguous(memory_format=torch.channels_last)).float()
        loss = marginal_cross_entropy(double(logits) / self.former.temperature, codes.to(self.device).long(), self.book)
        pull = sum(((p - self._start[name]) ** 2).sum() for name, p in self.student.named_parameters()
                   if p.requires_grad)
        total = loss + self.recipe.hold * pull
        norm = self._update(total)
        return {"loss": loss.item(), "kept": kept, "moved": float(pull.detach()) ** 0.5, "gradient": norm}

    def _entropy_step(self, rng: np.random.Generator) -> dict[str, float]:
        pictures = [self.footage.read(still) for still in self._choose(self.recipe.batch, self.step)]
        nothing = np.zeros(self.footage.size, np.uint8)
        crops = [augment.apply_view(p, nothing, self._view(rng, nothing, None), self.crop, IGNORE)[0] for p in pictures]
        logits = self.student(self._tensor(crops).to(self.device).float()).float() / self.former.temperature
        loss = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        norm = self._update(loss)
        return {"loss": loss.item(), "kept": 1.0, "moved": 0.0, "gradient": norm}

    def _update(self, loss: torch.Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        if not torch.isfinite(norm):
            raise AdaptError(f"step {self.step}: the gradient is not finite", f"lower lr in {self.out / RECIPE}")
        self.optimizer.step()
        with torch.no_grad():
            for mine, theirs in zip(self.average.parameters(), self.student.parameters(), strict=True):
                mine.lerp_(theirs, 1 - self.recipe.ema)
        return float(norm)

    def _set_rates(self) -> None:
        """A rise, then half a cosine down to zero."""
        share = 0.5 + 0.5 * math.cos(math.pi * self.progress())
        share = max(2e-3, share * min(1.0, (self.step + 1) / self.recipe.settle))
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * share

    def _batch(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Images (N, 3, h, w) uint8, codes (N, h/2, w/2) uint8, and the share of the footage's pixels whose label is
        believed."""
        rehearsed = round(self.recipe.batch * self.recipe.rehearsal) if self._samples is not None else 0
        pictures, labels, kept = self._teach(self.recipe.batch - rehearsed)
        crops = []
        for picture, label in zip(pictures, labels, strict=True):
            large = np.repeat(np.repeat(label, 2, 0), 2, 1)
            view = self._view(rng, large, self._focus(rng, label))
            crops.append(augment.apply_view(picture, large, view, self.crop, IGNORE))
        samples = []
        for index, (image, codes) in enumerate(crops):
            if len(crops) > 1 and rng.random() < self.recipe.mix:
                image, codes = mix_in(rng, image, codes, *crops[(index + 1) % len(crops)])
            other = pictures[int(rng.integers(len(pictures)))]
            look = (other.mean((0, 1), keepdims=True)[0], other.std((0, 1), keepdims=True)[0])
            samples.append((augment.change_look(rng, image, codes, self.recipe.look, look), codes))
        images = self._tensor([image for image, _ in samples])
        codes = torch.from_numpy(np.stack([codes for _, codes in samples]))
        if self._samples is not None and rehearsed:
            samples = [self._samples[request] for request in self._requests(self._samples, rehearsed, self.step)]
            images = torch.cat([images, torch.stack([image for image, _ in samples])])
            codes = torch.cat([codes, torch.stack([code for _, code in samples])])
        return images, codes, kept

    def _requests(self, samples: data.Samples, count: int, step: int) -> list[data.Request]:
        sources = len(samples.sources)
        numbers = range(step * count, (step + 1) * count)
        return [data.Request(number // sources, number % sources, self.crop, (0.9, 1.7), _REHEARSAL_LOOK)
                for number in numbers]

    def _teach(self, count: int) -> tuple[list[np.ndarray], list[np.ndarray], float]:
        """Whole pictures, the pseudo-labels of each at half its size, and the share of them that are believed."""
        keep = self.recipe.keep[0] + self.progress() * (self.recipe.keep[1] - self.recipe.keep[0])
        pictures: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for still in self._choose(count, self.step):
            if len(pictures) >= count:
                break
            shots = [self.footage.read(still, following) for following in (False, True)[: 1 + still.follows]]
            answers = self._answers(still, shots)
            for classes, confidence in answers:
                self.thresholds.update(classes, confidence, keep)
            believed = [self.thresholds.believed(*answer) for answer in answers]
            if still.follows:
                (one, other), (now, then) = believed, shots
                believed = [steady(one, now, other, then), steady(other, then, one, now)]
            pictures += shots
            labels += believed
        kept = float(np.mean([label != IGNORE for label in labels[:count]]))
        return pictures[:count], labels[:count], kept

    def _answers(self, still: Still, shots: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """What this round's teacher says of a frame and the one that follows: asked once, then read again."""
        paths = [self.out / ANSWERS / f"{still.name}{end}.png" for end in ("", "_next")[: len(shots)]]
        found = [answer for path in paths if (answer := read_answer(path)) is not None]
        if len(found) == len(paths):
            return found
        (self.out / ANSWERS).mkdir(exist_ok=True)
        probability = self.ask(shots, self.recipe.teacher_scales)
        return [write_answer(path, p) for path, p in zip(paths, probability, strict=True)]

    @torch.no_grad()
    def ask(self, pictures: Sequence[np.ndarray], scales: Sequence[float]) -> np.ndarray:
        """The probability of each class by the teacher, (N, C, H/2, W/2) float32, for pictures (H, W, 3) uint8 RGB.
        scales: it is the mean over pictures enlarged so much, every second one mirrored."""
        plain = self._tensor(pictures).to(self.device).float()
        height, width = plain.shape[2:]
        total: torch.Tensor | None = None
        for number, scale in enumerate(scales):
            size = [max(STRIDE, round(scale * side / STRIDE) * STRIDE) for side in (height, width)]
            images = plain if size == [height, width] else functional.interpolate(
                plain, size, mode="bilinear", align_corners=False, antialias=scale < 1)
            images = images.flip(3) if number % 2 else images
            logits = double(self.teacher(images.contiguous(memory_format=torch.channels_last)).float())
            logits = logits.flip(3) if number % 2 else logits
            if logits.shape[2:] != (height // 2, width // 2):
                logits = functional.interpolate(logits, (height // 2, width // 2), mode="bilinear", align_corners=False)
            probability = (logits / self.former.temperature).softmax(1)
            total = probability if total is None else total + probability
        assert total is not None
        return (total / len(scales)).cpu().numpy()

    def _choose(self, count: int, step: int) -> list[Still]:
        """The frames of a step, each once an epoch."""
        chosen = []
        for number in range(step * count, (step + 1) * count):
            epoch, place = divmod(number, len(self.stills))
            order = np.random.default_rng([self.recipe.seed, 7, epoch]).permutation(len(self.stills))
            chosen.append(self.stills[int(order[place])])
        return chosen

    def _view(self, rng: np.random.Generator, labels: np.ndarray, focus: tuple[float, float] | None) -> np.ndarray:
        fill = self.crop[1] / labels.shape[1], self.crop[0] / labels.shape[0]
        return augment.random_view(rng, self.crop, labels.shape, self.recipe.scales, focus, fill)

    def _focus(self, rng: np.random.Generator, labels: np.ndarray) -> tuple[float, float] | None:
        if rng.random() >= self.recipe.rare:
            return None
        present, counts = np.unique(labels[labels != IGNORE], return_counts=True)
        present = present[counts > 20]
        if not len(present):
            return None
        spots = np.flatnonzero(labels == rng.choice(present))
        y, x = divmod(int(spots[int(rng.integers(len(spots)))]), labels.shape[1])
        return 2.0 * x, 2.0 * y

    # ---- at the beginning ---------------------------------------------------------------------------------------

    def _seen(self) -> torch.Tensor:
        places = np.unique(np.linspace(0, len(self.stills) - 1, min(_PICTURES, len(self.stills))).astype(int))
        return self._tensor([self.footage.read(self.stills[i]) for i in places])

    def _rehearsed(self, samples: data.Samples) -> torch.Tensor:
        return torch.stack([samples[replace(request, scales=(1.0, 1.0), look=0.0)][0]
                            for request in self._requests(samples, _PICTURES, 0)])

    def _code_book(self, sources: Sequence[data.Source], allowed: np.ndarray) -> CodeBook:
        """All classes weigh the same: with weights for rare ones each teacher would see them more often than the one
        before."""
        if sources:
            return data.code_book(sources, allowed, self.table, Recipe(class_weight_power=0.0))
        return CodeBook(torch.from_numpy(allowed), torch.ones(len(self.table), dtype=torch.float64))

    @torch.no_grad()
    def _re_estimate(self) -> None:
        """Batch norms' mean and variance from the footage, mixed with the former ones ever less (UBNA)."""
        norms = [m for m in self.average.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.train()
        for step in range(_STATISTICS_STEPS):
            for norm in norms:
                norm.momentum = _STATISTICS_RATE * _STATISTICS_DECAY ** step
            pictures = [self.footage.read(still) for still in self._choose(self.recipe.batch, step)]
            self.average(self._tensor(pictures).to(self.device).float())
        for norm in norms:
            norm.eval()
            norm.momentum = 0.1

    @staticmethod
    def _tensor(pictures: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)))


def _optimizer(network: Segmenter, recipe: AdaptRecipe) -> torch.optim.Optimizer:
    if recipe.method == "entropy":
        affine = [p for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()]
        return torch.optim.Adam([{"params": affine, "lr": recipe.lr, "base_lr": recipe.lr}])
    backbone = {id(p) for p in network.backbone.parameters()}
    unused = {id(p) for name in ("auxiliary16", "auxiliary8", "boundary") for p in getattr(network, name).parameters()}
    groups = []
    for inside, lr in ((True, recipe.backbone_lr), (False, recipe.lr)):
        parameters = [p for p in network.parameters()
                      if p.requires_grad and (id(p) in backbone) is inside and id(p) not in unused]
        groups.append({"params": parameters, "lr": lr, "base_lr": lr})
    return torch.optim.AdamW(groups, weight_decay=0.0)  # the pull to the former weights is the decay

