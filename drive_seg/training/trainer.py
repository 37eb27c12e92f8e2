"""The training loop: steps, averaged weights, validation, checkpoints and exact resume."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from copy import deepcopy
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
import yaml
from torch.nn import functional as F

from drive_seg.core.classes import ClassTable
from drive_seg.core.segmentation import Segmentation
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.scores import Scores
from drive_seg.network import Network
from drive_seg.training import data, log, teacher
from drive_seg.training.curves import draw_curves
from drive_seg.training.losses import (
    boundary_loss,
    by_code,
    group_lovasz,
    lovasz_softmax,
    marginal_cross_entropy,
)
from drive_seg.training.model import Segmenter, double, load_imagenet
from drive_seg.training.recipe import Recipe
from drive_seg.training.restore import history, read_network, restore
from drive_seg.training.run_folder import (
    CHECKPOINT,
    DATA,
    EARLIER,
    LOG,
    OTHER_OUT,
    RECIPE,
    TEACHER,
    RunError,
    check_former,
    checkpoint,
    finish_save,
    load_run,
    partial,
    read_state,
    read_table,
    report_damage,
    write_table,
)

PICTURES = 64
"""By which the statistics of a network file's batch norms are found again."""


class Trainer:
    """One run in one folder. Killed and resumed, it goes on as if it had never stopped (in steps mode on a CPU, to the
    bit)."""

    def __init__(self, datasets: list[Dataset], out: Path, recipe: Recipe, *, resume: bool = False,
                 start_from: Path | None = None, teacher_run: Path | None = None, device: str | None = None,
                 pretrained: bool = True, replica: int = 0, table: ClassTable | None = None) -> None:
        """start_from: folder of a run whose weights and optimiser this one takes, or a network file whose weights it
        takes, to begin at recipe.start. table: the network's classes; None for those of the network file, or else of
        the first data set. teacher_run: folder of a run whose network teaches this one, see recipe.distillation.
        replica: which of recipe.replicas this is; more than one need a process group (see `train`).
        """
        self.out, self.recipe, self.replica = out, recipe, replica
        self._checkpoint = checkpoint(out, replica)
        if recipe.start and not resume and start_from is None:
            raise RunError(f"the recipe begins at {recipe.start} of its schedule, to go on from a trained network",
                           "name it (--start-from), or set its start to 0")
        if device == "cuda" and not torch.cuda.is_available():
            raise RunError("torch can use no GPU here", "leave --device out, or install a torch with CUDA")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.manual_seed(recipe.seed)
        self.datasets = datasets
        file = read_network(start_from) if start_from is not None and start_from.suffix == ".onnx" else None
        if resume:
            check_former(datasets, out, "start the run without --resume", OTHER_OUT)
            self.table, from_file = read_table(out)
        else:
            if start_from is not None and file is None:
                check_former(datasets, start_from, "name a run that has been trained", "name another run to start from",
                             table)
                if table is None:
                    table = read_table(start_from)[0] if read_table(start_from)[1] else None
            elif file is not None and table is None:
                table = data.with_heads(file.table, datasets)
            from_file = table is not None
            self.table = table if table is not None else data.class_table(datasets[0])
        sources, allowed = data.load_sources(datasets, "train", self.table, recipe.ego_sets)
        self.book = data.code_book(sources, allowed, self.table, recipe).to(self.device)
        self._shares = recipe.shares_of([source.name for source in sources])
        self.samples = data.Samples(sources, self.table, recipe, allowed)
        self.network = Segmenter(len(self.table), recipe.width)
        if pretrained and not resume and start_from is None:
            load_imagenet(self.network.backbone)
        if not recipe.train_shallow:
            for module in self.network.backbone.shallow_modules():
                module.requires_grad_(False)
        self.network.to(self.device, memory_format=torch.channels_last)
        self.average = deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = _optimizer(self.network, recipe)
        taught_by = teacher.of_run(teacher_run, self.table) if teacher_run is not None else None
        if resume and (out / TEACHER).is_file():
            taught_by = read_state(out / TEACHER)
        self._teacher = None if taught_by is None else teacher.network(taught_by, out / TEACHER, self.device)
        self.step, self.seconds = 0, 0.0
        self._settled = 0  # step at which the rate is the schedule's
        self._began = (0, 0.0)  # steps and seconds of the runs before this one
        self._since = 0.0  # seconds since the replicas last agreed
        out.mkdir(parents=True, exist_ok=True)
        if resume:
            self._restore()
        elif self._checkpoint.exists():
            raise RunError(f"{out} holds a run already", "add --resume to go on with it, or name another folder")
        else:
            if replica == 0:  # of a run that was killed before its first checkpoint
                for name in (LOG, EARLIER, TEACHER):
                    (out / name).unlink(missing_ok=True)
            if file is not None:
                self._take_weights(file)
            elif start_from is not None:
                self._take_up(start_from)
        if replica == 0 and not resume:
            self._write_facts([len(source.images) for source in sources], taught_by, from_file)

    def _write_facts(self, images: list[int], taught_by: dict | None, from_file: bool) -> None:
        if taught_by is not None:
            torch.save(taught_by, self.out / TEACHER)
        self.recipe.save(self.out / RECIPE)
        write_table(self.out, self.table, from_file)
        (self.out / DATA).write_text(yaml.safe_dump([
            {"name": d.name, "licence": d.licence, "images": count, "folder": str(d.root.resolve())}
            for d, count in zip(self.datasets, images, strict=True)], sort_keys=False))

    def progress(self, step: int) -> float:
        """Share of the run, 0..1, that is over when this step begins."""
        recipe, (steps, seconds) = self.recipe, self._began
        if recipe.minutes is not None:
            passed = (self.seconds - seconds) / (60 * recipe.minutes)
        else:
            passed = (step - steps) / recipe.steps
        return min(1.0, recipe.start + (1 - recipe.start) * passed)

    def train(self, stop_after: int | None = None) -> None:
        """Runs to the end, or until step `stop_after`."""
        schedule = data.Schedule(self._shares, self.recipe, self.step, self.progress, self.replica)
        batches = iter(data.loader(self.samples, schedule, self.device))
        saved = validated = self.progress(self.step)
        if self.step > self._began[0]:  # a resumed run
            validated = log.last_validation(self.out / LOG, self.recipe.start)
        losses: list[dict[str, float]] = []
        last = time.monotonic()
        while self.progress(self.step) < 1 and (stop_after is None or self.step < stop_after):
            losses.append(self._train_step(*next(batches)))
            self.step += 1
            self._since, last = self._since + time.monotonic() - last, time.monotonic()
            if not self._together(stop_after):
                continue
            self._agree()
            now = self.progress(self.step)
            if len(losses) >= 20 or now >= 1:
                mean = {k: round(float(np.mean([one[k] for one in losses])), 4) for k in losses[0]}
                self._log({"step": self.step, "progress": round(now, 4), "seconds": round(self.seconds, 1), **mean})
                losses = []
            if now - validated >= self.recipe.validate_every or now >= 1:
                if self.replica == 0:
                    self._log({"step": self.step, "progress": round(now, 4), **self.validate()})
                    draw_curves(self.out / LOG, self.out / "curves.png")
                validated = now
            if now - saved >= self.recipe.save_every or now >= 1:
                self.save()
                saved = now
        self.save()

    def _together(self, stop_after: int | None) -> bool:
        """Whether the replicas meet after this step: now and then, and at the end. All of them say the same."""
        ends = self.step == stop_after or self.progress(self.step) >= 1  # by the clock it moves only when they meet
        return self.recipe.replicas == 1 or self.step % self.recipe.average_every == 0 or ends

    def _train_step(self, images: torch.Tensor, codes: torch.Tensor) -> dict[str, float]:
        recipe = self.recipe
        self.network.train()
        rates = self._set_rates()
        images = images.to(self.device, non_blocking=True).float().contiguous(memory_format=torch.channels_last)
        codes = codes.to(self.device, non_blocking=True).long()
        with self._autocast():
            outputs = self.network(images)
        logits, eighth, sixteenth, edges = (o.float() for o in outputs)
        full = double(logits)
        parts = {
            "cross_entropy": marginal_cross_entropy(full, codes, self.book),
            "auxiliary": recipe.auxiliary * (
                marginal_cross_entropy(double(eighth), codes[:, ::2, ::2], self.book)
                + marginal_cross_entropy(double(sixteenth), codes[:, ::4, ::4], self.book)),
        }
        if recipe.boundary:
            parts["boundary"] = recipe.boundary * boundary_loss(edges, codes, self.book)
        if recipe.lovasz:
            parts["lovasz"] = recipe.lovasz * self._lovasz(full, codes)
        if recipe.group_lovasz:
            parts["group_lovasz"] = recipe.group_lovasz * self._group_lovasz(full, codes)
        if self._teacher is not None:
            with torch.no_grad(), self._autocast():
                answer = self._teacher(images).float()
            parts["distillation"] = recipe.distillation * teacher.distillation_loss(logits, answer)
        loss = sum(parts.values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        if not torch.isfinite(norm):
            raise RunError(f"step {self.step}: the gradient is not finite; lower lr in {self.out / RECIPE}")
        self.optimizer.step()
        self._update_average()
        return {"loss": loss.item(), **{k: v.item() for k, v in parts.items()}, "gradient": norm.item(), "lr": rates}

    def _autocast(self) -> torch.autocast:
        mixed = self.recipe.mixed_precision
        if mixed is None:
            mixed = has_bfloat16(self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)

    def _lovasz(self, logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Lovász-softmax on a random part of the pixels that are labelled as a class or its family."""
        definite = by_code(self.book.definite, False)
        labelled = torch.nonzero(definite[codes].reshape(-1)).squeeze(1)
        # None twice: gradients of one pixel are summed in any order, so that no two runs would be alike.
        order = torch.randperm(len(labelled), generator=self._generator())[:self.recipe.lovasz_pixels]
        chosen = labelled[order.to(labelled.device)]
        flat = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1])
        return lovasz_softmax(flat[chosen], codes.reshape(-1)[chosen], self.book)

    def _group_lovasz(self, logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """group_lovasz on the same random places of each picture."""
        places = codes.shape[1] * codes.shape[2]
        most = max(1, 2 * self.recipe.lovasz_pixels // len(codes))
        chosen = torch.randperm(places, generator=self._generator())[:most].to(codes.device)
        return group_lovasz(logits.flatten(2)[:, :, chosen].transpose(1, 2), codes.flatten(1)[:, chosen], self.book)

    def _generator(self) -> torch.Generator:
        """Random numbers that depend on the recipe's seed and the step alone."""
        return torch.Generator().manual_seed((self.recipe.seed * 1_000_003 + self.step) % 2**63)

    def _set_rates(self) -> float:
        """Warm-up, then half a cosine down to nought."""
        now, warmup = self.progress(self.step), self.recipe.warmup
        share = now / warmup if now < warmup else 0.5 + 0.5 * math.cos(math.pi * (now - warmup) / (1 - warmup))
        if self.step < self._settled:
            share *= (self.step + 1) / self._settled
        share = max(share, 2e-3)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * share
        return share

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential mean of weights and batch norm statistics, shorter at the start."""
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        mine, theirs = self.average.state_dict(), self.network.state_dict()
        for name, value in mine.items():
            if value.dtype.is_floating_point:
                value.lerp_(theirs[name], 1 - keep)
            else:
                value.copy_(theirs[name])

    @torch.no_grad()
    def _agree(self) -> None:
        """Takes the mean of the replicas' weights, batch norm statistics and clocks."""
        seconds = torch.tensor([self._since], dtype=torch.float64)
        self._since = 0.0
        if self.recipe.replicas > 1:
            state = [v for v in self.network.state_dict().values() if v.dtype.is_floating_point]
            mean = torch.cat([v.flatten() for v in state]).cpu()
            for values in (mean, seconds):
                distributed.all_reduce(values)
                values /= self.recipe.replicas
            for value, part in zip(state, mean.split([v.numel() for v in state]), strict=True):
                value.copy_(part.view_as(value))
        self.seconds += float(seconds)

    @torch.no_grad()
    def validate(self, most_images: int = 36) -> dict:
        """Scores of the averaged network on part of each val split: a quick look, without the node's core."""
        scores = {}
        for dataset in self.datasets:
            if "val" not in dataset.splits:
                continue
            pairs = dataset.pairs("val")
            total = Scores(dataset, self.table)
            for pair in pairs[::math.ceil(len(pairs) / most_images)]:
                image, labels = pair.read()
                classes = predict(self.average, image, self.recipe.phases[-1].size, self.device)
                whole = np.full(classes.shape, 255, np.uint8)
                total.add(Segmentation(self.table.group_lut[classes], classes, None, whole), labels)
            report = total.report()
            scores[dataset.name] = {k: _rounded(report[k]) for k in ("images", "miou", "iou", "group_iou")}
        return {"val": scores}

    def save(self) -> None:
        """Writes the checkpoint; a kill while writing leaves the previous one."""
        state = {
            "step": self.step, "seconds": self.seconds, "network": self.network.state_dict(),
            "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
            "torch_random": torch.get_rng_state(), "device": self.device.type, "began": self._began,
            "settled": self._settled, "taught": self._teacher is not None,
        }
        temporary = partial(self._checkpoint)
        torch.save(state, temporary)
        if self.recipe.replicas > 1:
            distributed.barrier()  # once one is replaced all are whole, so that finish_save can replace the others
        temporary.replace(self._checkpoint)

    def _restore(self) -> None:
        path = self._checkpoint
        if not path.is_file():
            raise RunError(f"no {path.name} in {self.out}", "start the run without --resume")
        state = self._load(path)
        if state.get("taught") and self._teacher is None:
            raise RunError(f"{self.out} has lost {TEACHER}, the network that teaches it",
                           f"bring the file back, or {OTHER_OUT}")
        self._began = tuple(state.get("began", self._began))
        self._settled = state.get("settled", 0)
        torch.set_rng_state(state["torch_random"])
        if self.replica == 0:
            log.cut(self.out / LOG, self.step)

    def _take_up(self, folder: Path) -> None:
        path = folder / CHECKPOINT
        if not path.is_file():
            raise RunError(f"no {path.name} in {folder}", "name a run that has been trained")
        former = load_run(folder)
        for name in ("width", "train_shallow"):
            theirs, ours = getattr(former.recipe, name), getattr(self.recipe, name)
            if theirs != ours:
                raise RunError(f"{folder} was trained with {name} {theirs}, this run's recipe says {ours}",
                               "make them the same")
        self._load(path)
        self._began = (self.step, self.seconds)
        if self.replica == 0:
            before = {"steps": self.step, "minutes": round(self.seconds / 60, 1),
                      "recipe": json.loads((folder / RECIPE).read_text()),
                      **({"teacher": former.teacher} if former.teacher else {})}
            (self.out / EARLIER).write_text(json.dumps([*former.earlier, before], indent=1) + "\n")

    def _take_weights(self, file: Network) -> None:
        """Those of a network file. Its optimiser is not in it, so the rate rises at first."""
        schedule = data.Schedule(self._shares, self.recipe, 0, lambda _: self.recipe.start)
        requests = [request for batch in islice(schedule, math.ceil(PICTURES / self.recipe.batch)) for request in batch]
        pictures = torch.stack([self.samples[request][0] for request in requests])
        restored = restore(file, self.table, self.recipe.width, pictures).state_dict()
        for network in (self.network, self.average):
            network.load_state_dict(restored)
        self._settled = self.recipe.settle
        if self.replica == 0:
            (self.out / EARLIER).write_text(json.dumps(history(file), indent=1) + "\n")

    def _load(self, path: Path) -> dict:
        state, own = read_state(path), [dict(group) for group in self.optimizer.param_groups]
        with report_damage(path):
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        for group, recipe in zip(self.optimizer.param_groups, own, strict=True):  # the moments are the run's alone
            group.update(base_lr=recipe["base_lr"], weight_decay=recipe["weight_decay"])
        return state

    def _log(self, entry: dict) -> None:
        if self.replica:
            return
        log.append(self.out / LOG, entry)
        print(json.dumps(entry), flush=True)


def train(datasets: list[Dataset], out: Path, recipe: Recipe, *, resume: bool = False,
          start_from: Path | None = None, teacher_run: Path | None = None, device: str | None = None,
          table: ClassTable | None = None) -> None:
    """Runs a whole run: in this process, or in as many as the recipe has replicas. start_from, teacher_run, table: see
    Trainer. Raises RunError.
    """
    if recipe.replicas == 1:
        run = Trainer(datasets, out, recipe, resume=resume, start_from=start_from, teacher_run=teacher_run,
                      device=device, table=table)
        try:
            run.train()
        except torch.OutOfMemoryError as error:
            raise RunError(f"the GPU's memory is too small at step {run.step} ({_first_line(error)})",
                           f"a smaller batch or smaller crops in {out / RECIPE}, then --resume") from error
        except RunError:
            raise
        except RuntimeError as error:  # such as a worker that was killed
            raise RunError(f"stopped at step {run.step} ({_first_line(error)})",
                           "--resume goes on from the last checkpoint") from error
        return
    if resume:
        finish_save(out, recipe.replicas)
    with tempfile.TemporaryDirectory() as folder:
        args = (datasets, out, recipe, resume, start_from, teacher_run, device, table, f"file://{folder}/meeting")
        try:
            replicas = multiprocessing.start_processes(_train_replica, args, recipe.replicas, join=False,
                                                       start_method="spawn")
            try:
                while not replicas.join():
                    pass
            finally:  # asked to stop: they would go on alone
                for process in replicas.processes:
                    process.terminate()
        except multiprocessing.ProcessExitedException as error:
            raise RunError(f"a replica was ended from outside ({error}), as where memory runs out",
                           "go on with --resume, or start with fewer replicas or a smaller batch") from error
        except multiprocessing.ProcessRaisedException as error:
            raise RunError(f"a replica failed: {str(error).strip().splitlines()[-1]}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _train_replica(replica: int, datasets: list[Dataset], out: Path, recipe: Recipe, resume: bool,
                   start_from: Path | None, teacher_run: Path | None, device: str | None,
                   table: ClassTable | None, meeting: str) -> None:
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // recipe.replicas))
    distributed.init_process_group("gloo", init_method=meeting, rank=replica, world_size=recipe.replicas)
    Trainer(datasets, out, recipe, resume=resume, start_from=start_from, teacher_run=teacher_run, device=device,
            replica=replica, table=table).train()
    distributed.destroy_process_group()


def has_bfloat16(device: torch.device) -> bool:
    """Whether its arithmetic units compute in bfloat16, which they do faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    asked = getattr(torch.cpu, "get_capabilities", None)  # later versions of torch have it
    return bool(asked is not None and asked().get("avx512_bf16"))


def predict(network: torch.nn.Module, image: np.ndarray, size: tuple[int, int], device: torch.device) -> np.ndarray:
    """Class ids (H, W) uint8 of a BGR image, with the network's input at `size`."""
    small = cv2.cvtColor(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    tensor = torch.from_numpy(small).permute(2, 0, 1)[None].float().to(device, memory_format=torch.channels_last)
    logits = F.interpolate(network(tensor), image.shape[:2], mode="bilinear", align_corners=False)
    return logits.argmax(1)[0].byte().cpu().numpy()


def _rounded(value):
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return None if value is None else round(value, 4)


def _optimizer(network: Segmenter, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW in four groups: backbone and heads, each with and without weight decay (none on biases and norms)."""
    backbone = {id(p) for p in network.backbone.parameters()}
    groups = []
    for inside, lr in ((True, recipe.backbone_lr), (False, recipe.lr)):
        for decayed in (True, False):
            parameters = [p for p in network.parameters()
                          if p.requires_grad and (id(p) in backbone) is inside and (p.ndim > 1) is decayed]
            groups.append({"params": parameters, "lr": lr, "base_lr": lr,
                           "weight_decay": recipe.weight_decay if decayed else 0.0})
    return torch.optim.AdamW(groups)
