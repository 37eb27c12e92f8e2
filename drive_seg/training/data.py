"""Training samples: data sets in memory, target codes, and a sampler whose every sample depends on its number alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from drive_seg.core.classes import ClassTable, Group, SegClass
from drive_seg.evaluation.dataset import Dataset, DatasetError, possible_classes
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
                               "name a fully told data set first")
        hue = np.uint8([[[index * 180 // len(classes), 200, 220]]])
        colour = COLOURS.get(c.name) or tuple(int(v) for v in cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0])
        rows.append(SegClass(index, c.name, c.groups[0], colour, c.groups[0] is Group.ROAD))
    return ClassTable(rows)


def allowed_classes(dataset: Dataset, table: ClassTable) -> dict[int, tuple[int, ...]]:
    """For each class id of a data set that is not ignored, the network classes that it may be. Raises DatasetError
    where there is none."""
    told = [c for c in dataset.classes if c.id != dataset.ignore]
    allowed = {c.id: possible_classes(c, table) for c in told}
    for c in told:
        if not allowed[c.id]:
            raise DatasetError(f"{dataset.name}: class {c.name!r} fits no class of the network")
    return allowed


@dataclass
class Source:
    """One data set in memory.

    images: RGB uint8. codes: target codes uint8, IGNORE where untold. look: (mean, deviation) of each image's channels,
    (1, 3) each.
    """

    name: str
    images: list[np.ndarray]
    codes: list[np.ndarray]
    look: list[tuple[np.ndarray, np.ndarray]]


def load_sources(datasets: list[Dataset], split: str, table: ClassTable) -> tuple[list[Source], np.ndarray]:
    """Reads whole splits into memory.

    Returns the sources and the code book's table (codes, classes) bool. Codes 0..C-1 are the network's classes.
    """
    sets = [(c,) for c in range(len(table))]
    obstacles = tuple(c.id for c in table.classes if c.group is Group.OBSTACLE)
    if obstacles and obstacles not in sets:
        sets.append(obstacles)  # what a thing that no class covers is told as
    sources = []
    for dataset in datasets:
        lut = np.full(256, IGNORE, np.uint8)
        for id_, allowed in allowed_classes(dataset, table).items():
            if allowed not in sets:
                sets.append(allowed)
            lut[id_] = sets.index(allowed)
        source = Source(dataset.name, [], [], [])
        for pair in dataset.pairs(split):
            image, labels = pair.read()
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            source.images.append(rgb)
            source.codes.append(_without_seams(lut[labels], len(table)))
            mean, deviation = cv2.meanStdDev(rgb)
            source.look.append((mean.T, deviation.T))
        sources.append(source)
    book = np.zeros((len(sets), len(table)), np.bool_)
    for code, classes in enumerate(sets):
        book[code, list(classes)] = True
    return sources, book


def _without_seams(codes: np.ndarray, classes: int, width: int = 7) -> np.ndarray:
    """Leaves out slivers of partly told codes narrower than `width` pixels: the seams between hand-drawn regions."""
    for code in np.unique(codes[(codes >= classes) & (codes != IGNORE)]):
        vague = (codes == code).astype(np.uint8)
        kept = cv2.morphologyEx(vague, cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
        codes[(vague == 1) & (kept == 0)] = IGNORE
    return codes


def code_book(source: Source, allowed: np.ndarray, recipe: Recipe) -> CodeBook:
    """The code book with loss weights by the classes' share of the pixels of `source`."""
    classes = allowed.shape[1]
    counts = sum(np.bincount(codes.ravel(), minlength=256)[:classes] for codes in source.codes)
    share = np.maximum(counts / max(1, counts.sum()), 1e-4)
    weights = share ** -recipe.class_weight_power
    weights /= (weights * share).sum() / share.sum()
    return CodeBook(torch.from_numpy(allowed), torch.from_numpy(weights))


@dataclass(frozen=True)
class CutOut:
    """A person or cyclist cut from a training picture. mask: uint8, 1 on it; bottom: row below it in its picture."""

    image: np.ndarray
    codes: np.ndarray
    mask: np.ndarray
    bottom: int


def cut_outs(source: Source, classes: list[int], least_pixels: int = 80) -> list[CutOut]:
    """Every connected piece of these classes that is large enough and not cut by the picture's edge."""
    found = []
    for image, codes in zip(source.images, source.codes, strict=True):
        wanted = np.isin(codes, classes).astype(np.uint8)
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(wanted, connectivity=8)
        for index in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[index])
            if area < least_pixels or x <= 1 or x + w >= codes.shape[1] - 1 or y + h >= codes.shape[0] - 1:
                continue
            box = np.s_[max(0, y - 2):y + h + 2, x - 2 if x > 2 else 0:x + w + 2]
            mask = (pieces[box] == index).astype(np.uint8)
            found.append(CutOut(image[box].copy(), codes[box].copy(), mask, y + h))
    return found


def paste(rng: np.random.Generator, image: np.ndarray, codes: np.ndarray, cut: CutOut, ground: list[int]) -> None:
    """Pastes a cut-out in place, standing on ground near the height at which it stood, so that its size fits."""
    scale = float(rng.uniform(0.8, 1.25))
    size = (max(3, round(cut.mask.shape[1] * scale)), max(3, round(cut.mask.shape[0] * scale)))
    piece = cv2.resize(cut.image, size, interpolation=cv2.INTER_LINEAR)
    piece_codes = cv2.resize(cut.codes, size, interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(cut.mask, size, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        piece, piece_codes, mask = piece[:, ::-1], piece_codes[:, ::-1], mask[:, ::-1]
    width, height = size
    for _ in range(8):
        bottom = int(cut.bottom + rng.normal(0, 10) + 20 * (scale - 1))
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
        ids = {c.name: c.id for c in table.classes}
        self._rare = [ids[name] for name in recipe.rare if name in ids]
        pasted = [ids[name] for name in recipe.paste if name in ids]
        self._ground = [c.id for c in table.classes if c.group in (Group.ROAD, Group.PAVEMENT)]
        self._cuts = cut_outs(sources[0], pasted) if pasted else []
        self._showing = [i for i, codes in enumerate(sources[0].codes) if np.isin(codes, pasted).sum() > 150]

    def __getitem__(self, request: Request) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([self.recipe.seed, request.source, request.number])
        source = self.sources[request.source]
        index = self._pick(rng, request)
        image, codes = source.images[index], source.codes[index]
        if request.source == 0 and self._cuts and rng.random() < self.recipe.paste_share:
            image, codes = image.copy(), codes.copy()
            for _ in range(int(rng.integers(1, 4))):
                paste(rng, image, codes, self._cuts[int(rng.integers(len(self._cuts)))], self._ground)
        if rng.random() < self.recipe.thing_share:
            image, codes = image.copy(), codes.copy()
            self._draw_on_road(rng, image, codes)
        focus = self._focus(rng, codes) if rng.random() < self.recipe.rare_share else None
        view = augment.random_view(rng, request.size, codes.shape, request.scales, focus)
        image, codes = augment.apply_view(image, codes, view, request.size, IGNORE)
        other = self.sources[int(rng.integers(len(self.sources)))]
        look = other.look[int(rng.integers(len(other.look)))]
        image = augment.change_look(rng, image, codes, self.recipe.look_strength * request.look, look)
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1), torch.from_numpy(codes)

    def _draw_on_road(self, rng: np.random.Generator, image: np.ndarray, codes: np.ndarray) -> None:
        for _ in range(int(rng.integers(0, 3))):
            synthetic_obstacles.add_paint(rng, image, codes, self._road)
        for _ in range(int(rng.integers(0, 4)) if self._obstacle is not None else 0):
            lender = self.sources[int(rng.integers(len(self.sources)))]
            other = lender.images[int(rng.integers(len(lender.images)))]
            wall = rng.random() < self.recipe.wall_share
            add = synthetic_obstacles.add_wall if wall else synthetic_obstacles.add_thing
            add(rng, image, codes, self._road, self._obstacle, other)

    def _pick(self, rng: np.random.Generator, request: Request) -> int:
        if request.source == 0 and self._showing and rng.random() < self.recipe.rare_image_share:
            return self._showing[int(rng.integers(len(self._showing)))]
        count = len(self.sources[request.source].images)
        epoch, place = divmod(request.number, count)
        order = np.random.default_rng([self.recipe.seed, 7, request.source, epoch]).permutation(count)
        return int(order[place])

    def _focus(self, rng: np.random.Generator, codes: np.ndarray) -> tuple[float, float] | None:
        for wanted in rng.permutation(self._rare):
            spots = np.flatnonzero(codes == wanted)
            if len(spots) > 20:
                y, x = divmod(int(spots[int(rng.integers(len(spots)))]), codes.shape[1])
                return float(x), float(y)
        return None


class Schedule:
    """The batches of a run from `step` on: what each sample of each batch is asked for."""

    def __init__(self, sources: int, recipe: Recipe, step: int, progress: Callable[[int], float],
                 replica: int = 0) -> None:
        """progress: share of the run that is over when step n begins. replica: whose batches, of recipe.replicas."""
        self._replica = replica
        self._extra = round(recipe.batch * recipe.extra_share) if sources > 1 else 0
        self._sources, self._recipe, self._step, self._progress = sources, recipe, step, progress

    def __iter__(self) -> Iterator[list[Request]]:
        step = self._step
        while True:
            phase = self._recipe.phase(self._progress(step))
            first = self._recipe.batch - self._extra
            place = step * self._recipe.replicas + self._replica
            batch = [Request(place * first + i, 0, phase.size, phase.scales, phase.look) for i in range(first)]
            for i in range(self._extra):
                number = place * self._extra + i
                source = 1 + number % (self._sources - 1)
                batch.append(Request(number // (self._sources - 1), source, phase.size, phase.scales, phase.look))
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
    return DataLoader(samples, batch_sampler=schedule, num_workers=workers, worker_init_fn=_quiet_worker,
                      prefetch_factor=2 if workers else None, pin_memory=device.type == "cuda")


def _workers_for_a_gpu(replicas: int) -> int:
    """A GPU takes samples faster than a core prepares them: all cores but one for each training process, within what
    memory holds of their batches."""
    return min(16, max(1, len(os.sched_getaffinity(0)) // replicas - 1))


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
