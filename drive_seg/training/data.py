"""Training samples: data sets in memory, target codes, and a sampler whose every sample depends on its number alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from drive_seg.core.classes import ClassTable, Group, SegClass
from drive_seg.evaluation.dataset import Dataset, DatasetError, LabelClass, ego_region
from drive_seg.evaluation.relation import labelled_classes, possible_classes
from drive_seg.training import augment, synthetic_obstacles
from drive_seg.training.losses import IGNORE, CodeBook
from drive_seg.training.recipe import Recipe

# CamVid's colours, by class name; other classes get colours spread over the hues.
COLOURS = {
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128), "road": (128, 64, 128),
    "pavement": (60, 40, 222), "tree": (128, 128, 0), "sign": (192, 128, 128), "fence": (64, 64, 128),
    "car": (64, 0, 128), "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
}


def class_table(dataset: Dataset) -> ClassTable:
    """The classes of a network trained on this data set: its own, but the one that is ignored. Raises DatasetError when
    one has several groups."""
    rows = []
    classes = sorted((c for c in dataset.classes if c.id != dataset.ignore), key=lambda c: c.id)
    for index, c in enumerate(classes):
        if len(c.groups) != 1:
            raise DatasetError(f"the first data set gives the network its classes, but {dataset.name}'s class"
                               f" {c.name!r} may be any of {len(c.groups)} groups",
                               "name a fully labelled data set first")
        rows.append(_new_class(index, c, len(classes)))
    return ClassTable(rows)


def _new_class(index: int, label: LabelClass, count: int) -> SegClass:
    colour = COLOURS.get(label.name)
    if colour is None:
        hue = np.array([[[index * 180 // count, 200, 220]]], np.uint8)
        red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
        colour = (red, green, blue)
    return SegClass(index, label.name, label.groups[0], colour, label.groups[0] is Group.ROAD)


def with_heads(table: ClassTable, datasets: Sequence[Dataset]) -> ClassTable:
    """A network's classes without those that the data sets say to drop, and with those that they say to add. Raises
    DatasetError."""
    dropped = {name for dataset in datasets for name in dataset.drop}
    if strange := sorted(dropped - set(table.names)):
        raise DatasetError(f"heads: drop names {', '.join(strange)}, which the network does not have",
                           f"take it out of dataset.yaml; the network has {', '.join(table.names)}")
    kept = [replace(c, within="" if c.within in dropped else c.within) for c in table.classes if c.name not in dropped]
    rows = [replace(c, id=index) for index, c in enumerate(kept)]
    for dataset in datasets:
        by_name = {c.name: c for c in dataset.classes if c.id != dataset.ignore}
        for name in dataset.add:
            if name in {c.name for c in rows}:
                continue  # another data set has added it, or the network has it
            if name not in by_name or len(by_name[name].groups) != 1:
                raise DatasetError(f"{dataset.name}: heads: add names {name}, which is not one of its classes with one"
                                   " group", "name it under `classes`, or take it out")
            rows.append(_new_class(len(rows), by_name[name], len(table) + len(dataset.add)))
    return ClassTable(rows)


def allowed_classes(dataset: Dataset, table: ClassTable, datasets: Sequence[Dataset] = ()
                    ) -> dict[int, tuple[int, ...]]:
    """For each class id of a data set that is not ignored, the network classes that training allows there. Raises
    DatasetError where there is none.

    That are those that it may be, but a class within another one only where one of `datasets`, all of the run, tells
    both: where none does, nothing would teach the difference, and the finer one would swallow the other.
    """
    labelled = [labelled_classes(one, table) for one in datasets or [dataset]]
    whole = family(table)
    apart = {c.id for c in table.classes if any({c.id, int(whole[c.id])} <= ids for ids in labelled)}
    allowed = {}
    for id_, ids in possible_classes(dataset, table).items():
        allowed[id_] = tuple(c for c in ids if not table.classes[c].within or c in apart) or ids
    for c in dataset.classes:
        if c.id in allowed and not allowed[c.id]:
            raise DatasetError(f"{dataset.name}: class {c.name!r} fits no class of the network")
    return allowed


@dataclass
class Source:
    """One data set in memory.

    images: RGB uint8. codes: target codes uint8, IGNORE where unlabelled. look: (mean, deviation) of each image's
    channels, (1, 3) each.
    """

    name: str
    images: list[np.ndarray]
    codes: list[np.ndarray]
    look: list[tuple[np.ndarray, np.ndarray]]


def load_sources(datasets: list[Dataset], split: str, table: ClassTable,
                 ego_sets: Sequence[str] = (), most: int | None = None) -> tuple[list[Source], np.ndarray]:
    """Reads splits into memory, whole or `most` evenly spread pictures of each. ego_sets: see Recipe.

    Returns the sources and the code book's table (codes, classes) bool. Codes 0..C-1 are the network's classes.
    """
    sets: list[tuple[int, ...]] = [(c,) for c in range(len(table))]
    obstacles = tuple(c.id for c in table.classes if c.group is Group.OBSTACLE)
    if obstacles and obstacles not in sets:
        sets.append(obstacles)  # what a thing that no class covers is labelled as
    ego = next((c.id for c in table.classes if c.ego), None)
    if strange := sorted(set(ego_sets) - {dataset.name for dataset in datasets}):
        raise DatasetError(f"ego_sets of the recipe names {', '.join(strange)}, the data sets are"
                           f" {', '.join(dataset.name for dataset in datasets)}")
    sources = []
    for dataset in datasets:
        lut = np.full(256, IGNORE, np.uint8)
        for id_, allowed in allowed_classes(dataset, table, datasets).items():
            if allowed not in sets:
                sets.append(allowed)
            lut[id_] = sets.index(allowed)
        families = family(table)
        vague = [code for code, classes in enumerate(sets) if len(set(families[list(classes)])) > 1]
        source = Source(dataset.name, [], [], [])
        for pair in spread(dataset.pairs(split), most):
            image, labels = pair.read()
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            source.images.append(rgb)
            codes = _without_seams(lut[labels], vague)
            if ego is not None and dataset.name in ego_sets and dataset.ignore is not None:
                codes[ego_region(labels == dataset.ignore)] = ego
            source.codes.append(codes)
            mean, deviation = cv2.meanStdDev(rgb)
            source.look.append((mean.T, deviation.T))
        sources.append(source)
    book = np.zeros((len(sets), len(table)), np.bool_)
    for code, classes in enumerate(sets):
        book[code, list(classes)] = True
    return sources, book


def spread(items: list, most: int | None) -> list:
    """Evenly spread ones, at most that many; None for all."""
    if most is None or len(items) <= most:
        return items
    return [items[index] for index in np.linspace(0, len(items) - 1, most).astype(int)]


def family(table: ClassTable) -> np.ndarray:
    """The class that each class is within, itself for one of its own: (C,) int64."""
    ids = {c.name: c.id for c in table.classes}
    return np.array([ids[c.within] if c.within else c.id for c in table.classes], np.int64)


def _without_seams(codes: np.ndarray, vague: Sequence[int], width: int = 7) -> np.ndarray:
    """Leave out slivers of partly labelled codes narrower than `width` pixels: seams between hand-drawn regions."""
    for code in np.intersect1d(np.unique(codes), vague):
        mask = (codes == code).astype(np.uint8)
        kept = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
        codes[(mask == 1) & (kept == 0)] = IGNORE
    return codes


def code_book(sources: Sequence[Source], allowed: np.ndarray, table: ClassTable, recipe: Recipe) -> CodeBook:
    """The code book with loss weights by the classes' share of the pixels, as the recipe mixes the sources. A class
    counts with what is labelled as it alone or as its family, the class that it is within."""
    classes, families = len(table), family(table)
    leader = np.array([families[row.argmax()] if len(set(families[row])) == 1 else classes for row in allowed])
    leader[:classes] = np.arange(classes)
    share = np.zeros(classes)
    for source, part in zip(sources, recipe.shares_of([s.name for s in sources]), strict=True):
        counts = sum(np.bincount(codes.ravel(), minlength=256)[:len(allowed)] for codes in source.codes)
        counts = np.bincount(leader, counts, minlength=classes + 1)[:classes]
        share += part * counts / max(1, counts.sum())
    share = np.maximum(share / share.sum(), 1e-4)
    weights = share ** -recipe.class_weight_power
    weights /= (weights * share).sum() / share.sum()
    return CodeBook(torch.from_numpy(allowed), torch.from_numpy(weights), torch.from_numpy(families),
                    torch.from_numpy(table.group_lut[:classes].astype(np.int64)))


@dataclass(frozen=True)
class CutOut:
    """A person or cyclist cut from a training picture. mask: uint8, 1 on it; bottom: row below it in its picture, which
    is `height` rows tall."""

    image: np.ndarray
    codes: np.ndarray
    mask: np.ndarray
    bottom: int
    height: int


def cut_outs(source: Source, wanted_codes: Sequence[int], least_pixels: int = 80, most: int = 1500) -> list[CutOut]:
    """The connected pieces of these codes that are large enough and not cut by the picture's edge, at most `most`."""
    found: list[CutOut] = []
    for image, codes in zip(source.images, source.codes, strict=True):
        wanted = np.isin(codes, wanted_codes).astype(np.uint8)
        if len(found) >= most:
            break
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(wanted, connectivity=8)
        for index in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[index])
            if area < least_pixels or x <= 1 or x + w >= codes.shape[1] - 1 or y + h >= codes.shape[0] - 1:
                continue
            box = np.s_[max(0, y - 2):y + h + 2, x - 2 if x > 2 else 0:x + w + 2]
            mask = (pieces[box] == index).astype(np.uint8)
            found.append(CutOut(image[box].copy(), codes[box].copy(), mask, y + h, codes.shape[0]))
    return found


def paste(rng: np.random.Generator, image: np.ndarray, codes: np.ndarray, cut: CutOut, ground: list[int]) -> None:
    """Pastes a cut-out in place, standing on ground near the height at which it stood, so that its size fits."""
    zoom = codes.shape[0] / cut.height
    scale = float(rng.uniform(0.8, 1.25))
    stretch, scale = scale, scale * zoom
    size = (max(3, round(cut.mask.shape[1] * scale)), max(3, round(cut.mask.shape[0] * scale)))
    piece = cv2.resize(cut.image, size, interpolation=cv2.INTER_LINEAR)
    piece_codes = cv2.resize(cut.codes, size, interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(cut.mask, size, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        piece, piece_codes, mask = piece[:, ::-1], piece_codes[:, ::-1], mask[:, ::-1]
    width, height = size
    for _ in range(8):
        bottom = int(zoom * (cut.bottom + rng.normal(0, 10) + 20 * (stretch - 1)))
        left = int(rng.integers(-width // 3, max(1, codes.shape[1] - 2 * width // 3)))
        foot = left + width // 2
        if not (0 <= bottom < codes.shape[0] and 0 <= foot < codes.shape[1]) or codes[bottom, foot] not in ground:
            continue
        top = bottom - height
        y0, x0, y1, x1 = max(0, top), max(0, left), min(codes.shape[0], bottom), min(codes.shape[1], left + width)
        if y1 <= y0 or x1 <= x0:
            continue
        part = np.s_[y0 - top:y1 - top, x0 - left:x1 - left]
        hard = mask[part].astype(np.bool_)
        soft = cv2.GaussianBlur(mask[part].astype(np.float32), (3, 3), 0)[..., None]
        target = image[y0:y1, x0:x1]
        target[:] = (target * (1 - soft) + piece[part] * soft).astype(np.uint8)
        codes[y0:y1, x0:x1][hard] = piece_codes[part][hard]
        return


@dataclass(frozen=True)
class Request:
    """What a sample is asked for: its number in the run, its data set, and what the phase says of crop and look."""

    number: int
    source: int
    size: tuple[int, int]
    scales: tuple[float, float]
    look: float = 1.0


class Samples(TorchDataset):
    """Augmented samples (image (3, H, W) uint8, codes (H/2, W/2) uint8) by Request."""

    def __init__(self, sources: list[Source], table: ClassTable, recipe: Recipe, allowed: np.ndarray) -> None:
        """allowed: the code book's table."""
        self.sources, self.recipe = sources, recipe
        self._road = [c.id for c in table.classes if c.group is Group.ROAD]
        obstacle = np.array([c.group is Group.OBSTACLE for c in table.classes])
        codes = np.flatnonzero((allowed == obstacle).all(1))
        self._obstacle = int(codes[0]) if len(codes) else None
        self._ego = next((c.id for c in table.classes if c.ego), None)
        ids, families = {c.name: c.id for c in table.classes}, family(table)

        def codes_of(names: Sequence[str]) -> list[list[int]]:
            """By class: its code and the one of its family, where it heads one."""
            return [[code for code, row in enumerate(allowed) if row[ids[name]] and
                     (row.sum() == 1 or set(families[row]) == {ids[name]})] for name in names if name in ids]

        self._rare = codes_of(recipe.rare)
        pasted = [code for codes in codes_of(recipe.paste) for code in codes]
        self._ground = [code for code, row in enumerate(allowed)
                        if all(table.classes[c].group in (Group.ROAD, Group.PAVEMENT) for c in np.flatnonzero(row))]
        self._cuts = [cut for source in sources for cut in cut_outs(source, pasted)] if pasted else []
        self._showing = [[i for i, codes in enumerate(source.codes) if np.isin(codes, pasted).sum() > 150]
                         for source in sources]

    def __getitem__(self, request: Request) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([self.recipe.seed, request.source, request.number])
        recipe, source = self.recipe, self.sources[request.source]
        index = self._pick(rng, request)
        image, codes = source.images[index], source.codes[index]
        pastes = bool(self._cuts) and rng.random() < recipe.paste_share
        draws = rng.random() < recipe.thing_share
        bonnet = None  # the code that it gets
        if self._ego is not None and source.name not in recipe.ego_sets and rng.random() < recipe.bonnet_share:
            bonnet = self._ego
        if pastes or draws or bonnet is not None:
            image, codes = image.copy(), codes.copy()
        if pastes:
            for _ in range(int(rng.integers(1, 4))):
                paste(rng, image, codes, self._cuts[int(rng.integers(len(self._cuts)))], self._ground)
        if draws:
            self._draw_on_road(rng, image, codes)
        if bonnet is not None:
            synthetic_obstacles.add_bonnet(rng, image, codes, bonnet)
        focus = self._focus(rng, codes) if rng.random() < recipe.rare_share else None
        fill = augment.filling(rng, codes.shape, recipe.phases[-1].size)
        view = augment.random_view(rng, request.size, codes.shape, request.scales, focus, fill)
        image, codes = augment.apply_view(image, codes, view, request.size, IGNORE)
        other = self.sources[int(rng.integers(len(self.sources)))]
        look = other.look[int(rng.integers(len(other.look)))]
        image = augment.change_look(rng, image, codes, recipe.look_strength * request.look, look)
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1), torch.from_numpy(codes)

    def _draw_on_road(self, rng: np.random.Generator, image: np.ndarray, codes: np.ndarray) -> None:
        for _ in range(int(rng.integers(0, 3))):
            synthetic_obstacles.add_paint(rng, image, codes, self._road)
        if self._obstacle is None:
            return
        for _ in range(int(rng.integers(0, 4))):
            lender = self.sources[int(rng.integers(len(self.sources)))]
            other = lender.images[int(rng.integers(len(lender.images)))]
            wall = rng.random() < self.recipe.wall_share
            add = synthetic_obstacles.add_wall if wall else synthetic_obstacles.add_thing
            add(rng, image, codes, self._road, self._obstacle, other)

    def _pick(self, rng: np.random.Generator, request: Request) -> int:
        showing = self._showing[request.source]
        if showing and rng.random() < self.recipe.rare_image_share:
            return showing[int(rng.integers(len(showing)))]
        count = len(self.sources[request.source].images)
        epoch, place = divmod(request.number, count)
        order = np.random.default_rng([self.recipe.seed, 7, request.source, epoch]).permutation(count)
        return int(order[place])

    def _focus(self, rng: np.random.Generator, codes: np.ndarray) -> tuple[float, float] | None:
        for wanted in rng.permutation(len(self._rare)):
            spots = np.flatnonzero(np.isin(codes, self._rare[wanted]))
            if len(spots) > 20:
                y, x = divmod(int(spots[int(rng.integers(len(spots)))]), codes.shape[1])
                return float(x), float(y)
        return None


CYCLE = 240
"""Samples after which the order of the sources repeats."""


class Schedule:
    """The batches of a run from `step` on: what each sample of each batch is asked for."""

    def __init__(self, shares: Sequence[float], recipe: Recipe, step: int, progress: Callable[[int], float],
                 replica: int = 0) -> None:
        """shares: of the samples, for each source, sum 1. progress: share of the run that is over when step n begins.
        replica: whose batches, of recipe.replicas."""
        self._replica, self._recipe, self._step, self._progress = replica, recipe, step, progress
        counts = np.zeros(len(shares), np.int64)
        self._order: list[tuple[int, int]] = []  # of a cycle: source, and how often it came before
        for place in range(CYCLE):
            source = int(np.argmax(np.multiply(shares, place + 1) - counts))  # that lags most behind its share
            self._order.append((source, int(counts[source])))
            counts[source] += 1
        self._counts = counts.tolist()

    def __iter__(self) -> Iterator[list[Request]]:
        step = self._step
        while True:
            phase = self._recipe.phase(self._progress(step))
            first = (step * self._recipe.replicas + self._replica) * self._recipe.batch
            batch = []
            for place in range(first, first + self._recipe.batch):
                cycle, at = divmod(place, CYCLE)
                source, before = self._order[at]
                batch.append(Request(cycle * self._counts[source] + before, source, phase.size, phase.scales,
                                     phase.look))
            yield batch
            step += 1


def loader(samples: Samples, schedule: Schedule, device: torch.device) -> DataLoader:
    """Batches (images (N, 3, H, W) uint8, codes (N, H/2, W/2) uint8), prepared in worker processes.

    device: that trains on them, for the number of workers where the recipe has none. The batches do not depend on it.
    """
    cv2.setNumThreads(1)  # here too: a worker that is forked beside OpenCV's threads waits for them for ever
    workers = samples.recipe.workers
    if workers is None:
        workers = _workers_for_a_gpu(samples.recipe.replicas) if device.type == "cuda" else 1
    # In a replica, which is spawned itself, torch would spawn them too, each with a copy of all pictures.
    start = "fork" if workers and sys.platform == "linux" else None
    return DataLoader(samples, batch_sampler=schedule, num_workers=workers, worker_init_fn=_quiet_worker,
                      multiprocessing_context=start, prefetch_factor=2 if workers else None,
                      pin_memory=device.type == "cuda")


def _workers_for_a_gpu(replicas: int) -> int:
    """A GPU takes samples faster than a core prepares them: all cores but one for each training process, within what
    memory holds of their batches."""
    return min(16, max(1, len(os.sched_getaffinity(0)) // replicas - 1))


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
