"""What half precision loses: mIoU of a run's network in fp32, bf16 and fp16 arithmetic, on this machine's CPU.

    python -m drive_seg.training.precision RUN --data DIR [--size HxW] [--every N]

The network is measured as `drive-seg export` ships it: with the class prior corrected on the run's training pictures.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from drive_seg.arguments import size as parse_size
from drive_seg.core.classes import ClassTable
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.evaluation.metrics import confusion, iou
from drive_seg.evaluation.relation import common_classes
from drive_seg.training.data import load_sources
from drive_seg.training.export import fold
from drive_seg.training.model import Segmenter
from drive_seg.training.prior import fit_prior
from drive_seg.training.run_folder import Run, RunError, load_run

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@torch.no_grad()
def compare(network: Segmenter, table: ClassTable, dataset: Dataset, size: tuple[int, int], *, split: str = "val",
            every: int = 1) -> tuple[dict[str, float], int]:
    """mIoU by precision: weights and activations rounded to it, logits enlarged to the labels' size in fp32. And the
    number of pictures.

    table: the network's. size: (height, width) of its input. every: only every so many-th picture. Raises DatasetError.
    """
    common = common_classes(dataset, table)
    if common is None:
        raise DatasetError(f"{dataset.name} does not have the network's classes ({', '.join(table.names)})",
                           "give --data the run's first data set")
    networks = {name: copy.deepcopy(fold(network)).to(dtype) for name, dtype in DTYPES.items()}
    classes = len(common.names)
    counts = {name: np.zeros((classes, classes + 1), np.int64) for name in DTYPES}
    pairs = dataset.pairs(split)[::every]
    for pair in pairs:
        image, labels = pair.read()
        truth = common.truth[labels]
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)[..., ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None]
        for name, dtype in DTYPES.items():
            logits = networks[name](tensor.to(dtype)).float()
            found = F.interpolate(logits, truth.shape, mode="bilinear", align_corners=False).argmax(1)[0].byte().numpy()
            labelled = truth < classes
            predicted = common.predicted[found][labelled]
            counts[name] = counts[name] + confusion(truth[labelled], predicted, classes, classes + 1)
    return {name: _mean_iou(count) for name, count in counts.items()}, len(pairs)


def _mean_iou(matrix: np.ndarray) -> float:
    """matrix: (n, n + 1), the last column for what is none of the classes."""
    return float(np.nanmean(iou(np.vstack([matrix, np.zeros_like(matrix[:1])]))[:-1]))


def as_exported(run: Run, dataset: Dataset, size: tuple[int, int]) -> Segmenter:
    """The run's network with the correction of the class prior that `drive-seg export` would make at this size of the
    first data set alone.

    dataset: taken for the run's first one where it has its name; else that is read where the run says it lies. Raises
    DatasetError.
    """
    first = dataset if dataset.name == run.data[0]["name"] else Dataset.load(run.folders[0])
    sources, allowed = load_sources([first], "train", run.table)
    network = copy.deepcopy(run.network)
    network.shift_logits(fit_prior(network, sources, allowed, run.table, size))
    return network


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line a precision. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.training.precision", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, required=True, help="a fully labelled data set with val")
    parser.add_argument("--size", type=parse_size, help="input size HxW (default: the recipe's last crop size)")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th picture")
    args = parser.parse_args(argv)
    if args.every < 1:
        parser.error(f"--every must be 1 or more, it is {args.every}")
    try:
        run = load_run(args.run)
        dataset, size = Dataset.load(args.data), args.size or run.recipe.phases[-1].size
        found, pictures = compare(as_exported(run, dataset, size), run.table, dataset, size, every=args.every)
    except (RunError, ValueError) as error:
        print(f"precision: {error}", file=sys.stderr)
        return 2
    print(f"{pictures} pictures of {dataset.name} val at {size[0]}x{size[1]}, class prior corrected as by export")
    for name, value in found.items():
        print(f"{name}  mIoU {100 * value:.2f}" + ("" if math.isclose(value, found["fp32"]) else
                                                  f"  ({100 * (value - found['fp32']):+.2f})"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
