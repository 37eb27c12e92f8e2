"""What half precision costs: mIoU of a run's network in fp32, bf16 and fp16 arithmetic, on this machine's CPU.

    python -m drive_seg.training.precision RUN --data DIR [--size HxW] [--every N]
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

from drive_seg.cli.options import size as parse_size
from drive_seg.evaluation.dataset import Dataset, DatasetError
from drive_seg.evaluation.metrics import confusion, iou
from drive_seg.training.export import fold
from drive_seg.training.model import Segmenter
from drive_seg.training.trainer import RunError, load_run

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@torch.no_grad()
def compare(network: Segmenter, dataset: Dataset, size: tuple[int, int], *, split: str = "val",
            every: int = 1) -> dict[str, float]:
    """mIoU by precision: weights and activations rounded to it, logits enlarged to the labels' size in fp32.

    size: (height, width) of the network's input. every: only every so many-th picture.
    """
    networks = {name: copy.deepcopy(fold(network)).to(dtype) for name, dtype in DTYPES.items()}
    classes = len(dataset.classes)
    counts = dict.fromkeys(DTYPES, 0)
    for pair in dataset.pairs(split)[::every]:
        image, truth = pair.read()
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)[..., ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None]
        for name, dtype in DTYPES.items():
            logits = networks[name](tensor.to(dtype)).float()
            found = F.interpolate(logits, truth.shape, mode="bilinear", align_corners=False).argmax(1)[0].byte().numpy()
            told = truth < classes
            counts[name] = counts[name] + confusion(truth[told], found[told], classes, classes)
    return {name: float(np.nanmean(iou(count))) for name, count in counts.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line a precision. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.training.precision", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, required=True, help="a fully told data set with val")
    parser.add_argument("--size", type=parse_size, help="input size HxW (default: the recipe's last crop size)")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th picture")
    args = parser.parse_args(argv)
    try:
        run = load_run(args.run)
        found = compare(run.network, Dataset.load(args.data), args.size or run.recipe.phases[-1].size,
                        every=args.every)
    except (DatasetError, RunError) as error:
        print(f"precision: {error}", file=sys.stderr)
        return 2
    for name, value in found.items():
        print(f"{name}  mIoU {100 * value:.2f}" + ("" if math.isclose(value, found["fp32"]) else
                                                  f"  ({100 * (value - found['fp32']):+.2f})"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
