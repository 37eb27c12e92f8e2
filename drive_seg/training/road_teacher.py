"""Footage without labels to a data set of road and not road, by another network that knows road better.

    python -m drive_seg.training.road_teacher MODEL.xml INPUT... --out DIR [--background drive_seg.onnx]

MODEL: OpenVINO's road-segmentation-adas-0001 (Apache-2.0: background, road, kerb, marking), or another network of four
such classes, in OpenVINO's format. Where it is sure the pixel is `road` or `not_road`, which says nothing of what else
it is; in between, and on the vehicle itself, nothing is said. Networks of this package (--background) say where that is
sky, trees or other background, or the learner may take slopes and clouds for obstacles. The last part of each input is
its val split. What ships learnt from drives on motorways so, see the card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from drive_seg.core.frame import FrameError
from drive_seg.errors import DriveSegError
from drive_seg.openvino_core import CORE
from drive_seg.sources.open import open_source
from drive_seg.training.former_networks import FormerNetworks

ROAD, NOT_ROAD, BACKGROUND, IGNORE = 0, 1, 2, 255
_CLASSES = {ROAD: {"name": "road", "group": "road"},
            NOT_ROAD: {"name": "not_road", "group": ["pavement", "obstacle", "background"]},
            BACKGROUND: {"name": "background", "group": "background"}}
_ROAD_CLASSES = (1, 3)  # road and its markings
_LEAST_ROAD, _MOST_OTHER = 0.8, 0.1  # probability of road from which a pixel is road, and up to which it is not
_LEAST_BACKGROUND = 0.85  # probability from which what is not road is background
_BESIDE = 5  # pixels around the vehicle itself that nothing is said of
_SIZE = (360, 640)


class RoadTeacherError(DriveSegError, ValueError):
    """A network that can't teach road."""


class RoadTeacher:
    """The other network."""

    def __init__(self, model: Path) -> None:
        """Raises RoadTeacherError."""
        try:
            self._model = CORE.compile_model(CORE.read_model(model), "CPU")
            self._size = tuple(self._model.input(0).shape)[2:]
            outputs = tuple(self._model.output(0).shape)
        except RuntimeError as error:
            raise RoadTeacherError(f"OpenVINO can't load {model} ({str(error).strip().splitlines()[-1]})",
                                   "give the .xml of road-segmentation-adas-0001, with its .bin beside it") from error
        if len(outputs) != 4 or outputs[1] != 4:
            raise RoadTeacherError(f"{model} gives {outputs}, not (1, 4, height, width)",
                                   "give road-segmentation-adas-0001")

    def road(self, bgr: np.ndarray) -> np.ndarray:
        """The probability of road, (H, W) float32, for an image (H, W, 3) uint8 BGR."""
        height, width = self._size
        image = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
        scores = self._model(image.transpose(2, 0, 1)[None].astype(np.float32))[0][0]
        if not np.allclose(scores.sum(0), 1, atol=0.01):  # logits
            scores = np.exp(scores - scores.max(0))
            scores /= scores.sum(0)
        return cv2.resize(scores[list(_ROAD_CLASSES)].sum(0), bgr.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def label(probability: np.ndarray, ego: np.ndarray | None, background: np.ndarray | None = None) -> np.ndarray:
    """ROAD, NOT_ROAD, BACKGROUND, IGNORE: (H, W) uint8. probability: (H, W) of road. ego: non-zero on the vehicle
    itself. background: (H, W), its probability."""
    labels = np.full(probability.shape, IGNORE, np.uint8)
    labels[probability >= _LEAST_ROAD] = ROAD
    labels[probability <= _MOST_OTHER] = NOT_ROAD
    if background is not None:
        labels[(labels == NOT_ROAD) & (background >= _LEAST_BACKGROUND)] = BACKGROUND
    if ego is not None:
        near = cv2.resize((ego != 0).astype(np.uint8), labels.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        labels[cv2.dilate(near, np.ones((_BESIDE, _BESIDE), np.uint8)) != 0] = IGNORE
    return labels


def build(teacher: RoadTeacher, inputs: Sequence[str], out: Path, *, every: int, held_back: float = 0.15,
          others: FormerNetworks | None = None, licence: str = "not stated") -> int:
    """Write the data set; returns the number of pictures. every: so many-th frame. held_back: share of each input, at
    its end, that becomes val. others: say what is background. licence: of footage and labels. Raises SourceError,
    OSError."""
    number = 0
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (out / split / part).mkdir(parents=True)
    for name in inputs:
        source = open_source(name)
        kept = []
        for index, shot in enumerate(source):
            if index % every:
                continue
            try:
                bgr = shot.frame.bgr()
            except FrameError:
                continue
            small = cv2.resize(bgr, _SIZE[::-1], interpolation=cv2.INTER_AREA)
            stem = f"{number:05d}"
            number += 1
            kept.append(stem)
            cv2.imwrite(str(out / "train/images" / f"{stem}.jpg"), small, (cv2.IMWRITE_JPEG_QUALITY, 95))
            background = None if others is None else others.background(small)
            labels = label(teacher.road(small), source.ego_mask, background)
            cv2.imwrite(str(out / "train/labels" / f"{stem}.png"), labels)
        for stem in kept[len(kept) - round(held_back * len(kept)):]:
            for file in (f"images/{stem}.jpg", f"labels/{stem}.png"):
                (out / "train" / file).rename(out / "val" / file)
    facts = {"name": out.name, "licence": licence, "ignore": IGNORE, "classes": _CLASSES}
    (out / "dataset.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """The command above; 2 when it can't run."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.training.road_teacher", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.xml")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="video, bag, folder of images, or clip:NAME")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set, a new one")
    parser.add_argument("--background", type=Path, action="append", default=[], metavar="NETWORK.onnx",
                        help="a network of this package that says what is background; may be repeated")
    parser.add_argument("--every", type=int, default=5, metavar="N", help="only every so many-th frame (default: 5)")
    parser.add_argument("--licence", default="not stated", help="of the footage and the network's labels")
    args = parser.parse_args(argv)
    try:
        others = FormerNetworks(args.background) if args.background else None
        number = build(RoadTeacher(args.model), args.inputs, args.out, every=max(1, args.every), others=others,
                       licence=args.licence)
        print(f"{number} pictures in {args.out}")
    except (DriveSegError, OSError) as error:
        print(f"road_teacher: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
