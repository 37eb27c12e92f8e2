"""What free energy is normal for each class of a network: what tells cells that it never saw the like of."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from drive_seg.core.classes import UNKNOWN, ClassTable, Group
from drive_seg.core.decode import TrustModel
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.evaluation.relation import possible_classes
from drive_seg.network import Network
from drive_seg.runtimes import open_engine
from drive_seg.training import augment
from drive_seg.training.recipe import Recipe

SHARE = 0.005
"""Share of the true road cells that may turn unknown."""


def fit_energy(network: Network, dataset: Dataset, *, engine: str = "auto", images: int = 80,
               seed: int = 1) -> TrustModel:
    """Fits it with the ONNX file on training pictures changed by the recipe's augmentation, on a CPU engine.

    A network is surer of the very pictures that it was trained on than of any others: hence the changes. Raises
    DatasetError or EngineError.
    """
    runtime = open_engine("openvino" if engine in ("auto", "tensorrt") else engine, replace(network, int8=None))
    fits, codes = _codes(dataset, network.table)
    pairs = dataset.pairs("train")
    rng, strength, look = np.random.default_rng(seed), Recipe().look_strength, None
    logits, truth = [], []
    try:
        for index in np.linspace(0, len(pairs) - 1, min(images, len(pairs))).astype(int):
            image, labels = pairs[index].read()
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            own = tuple(value.T for value in cv2.meanStdDev(rgb))
            crop, crop_codes = _view(rng, rgb, codes[labels], runtime.input_size)
            out = runtime.infer(augment.change_look(rng, crop, crop_codes, strength, look or own))
            logits.append(out.transpose(1, 2, 0).reshape(-1, len(network.table)).copy())
            truth.append(cv2.resize(crop_codes, out.shape[:0:-1], interpolation=cv2.INTER_NEAREST).ravel())
            look = own
    finally:
        runtime.close()
    cells, truths = np.concatenate(logits), np.concatenate(truth)
    cells, truths = cells[truths != UNKNOWN], truths[truths != UNKNOWN]
    groups = [c.groups for c in dataset.classes if c.id != dataset.ignore]
    road = np.isin(truths, [code for code, of in enumerate(groups) if of == (Group.ROAD,)])
    if not road.any():
        raise DatasetError(f"{dataset.name}'s train split shows no road", "give a data set that does")
    mean, std, limit = normal_energy(cells, fits[truths, cells.argmax(1)], road, network.temperature)
    return TrustModel(mean.astype(np.float32), std.astype(np.float32), limit)


def normal_energy(cells: np.ndarray, right: np.ndarray, road: np.ndarray, temperature: float,
                  share: float = SHARE) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and standard deviation (C,) of the free energy of rightly predicted cells by class, and the standardised
    free energy under which `share` of the road cells lie.

    cells: logits (P, C). right, road: (P,) bool, whether the greatest logit's class is right, and whether it is road.
    Raises ValueError where none is.
    """
    if not road.any():
        raise ValueError("the training pictures show no road: give a data set that does")
    energy = temperature * log_sum_exp(cells / temperature)
    predicted, classes = cells.argmax(1), cells.shape[1]
    mean, std = np.zeros(classes), np.ones(classes)
    for c in range(classes):
        of_class = energy[right & (predicted == c)]
        if len(of_class) > 1:
            mean[c], std[c] = of_class.mean(), max(float(of_class.std()), 1e-3)
    score = (energy - mean[predicted]) / std[predicted]
    return mean, std, float(np.quantile(score[road], share))


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """(P, C) -> (P,)."""
    highest = logits.max(1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(1))


def _codes(dataset: Dataset, table: ClassTable) -> tuple[np.ndarray, np.ndarray]:
    """Whether a network class is right for a code, (codes, classes) bool, and the codes by id, (256,) uint8."""
    declared = [c for c in dataset.classes if c.id != dataset.ignore]
    codes = np.full(256, UNKNOWN, np.uint8)
    fits = np.zeros((len(declared), len(table)), np.bool_)
    possible = possible_classes(dataset, table)
    for code, c in enumerate(declared):
        codes[c.id] = code
        fits[code, list(possible[c.id])] = True
    return fits, codes


def _view(rng: np.random.Generator, image: np.ndarray, codes: np.ndarray,
          size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A crop of nearly the whole picture at the network's input size, and its codes at half of it."""
    least = max(size[0] / image.shape[0], size[1] / image.shape[1])
    view = augment.random_view(rng, size, codes.shape, (least, 1.3 * least), None)
    return augment.apply_view(image, codes, view, size, UNKNOWN)
