"""labelme's JSON: one file a picture, with polygons and other shapes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from drive_seg.core.frame import decode
from drive_seg.labelling import shapes
from drive_seg.labelling.record import UNLABELLED, LabelError, Names, Paint, Pictures, Record, naming


def is_labelme(whole: Any) -> bool:
    """Whether a JSON object is labelme's."""
    return isinstance(whole, dict) and isinstance(whole.get("shapes"), list) and "imagePath" in whole


def read(files: Sequence[Path], pictures: Pictures, skipped: list[str]) -> Iterator[Record]:
    """The pictures of some labelme files. skipped: gets the names of damaged files. Raises LabelError."""
    for path in files:
        try:
            whole = json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            skipped.append(f"{path} is not JSON ({error}): save it again")
            continue
        if not is_labelme(whole):
            raise LabelError(f"{path} is not labelme's: it has no `shapes` and `imagePath`")
        name = str(whole["imagePath"]).replace("\\", "/").removeprefix("../")
        beside = path.parent / name
        size = None
        if whole.get("imageHeight") and whole.get("imageWidth"):
            size = int(whole["imageHeight"]), int(whole["imageWidth"])
        yield Record(beside if beside.is_file() else pictures.find(name), name, size, _painter(whole["shapes"], path))


def _painter(drawn: list[dict], path: Path) -> Paint:
    def paint(size: tuple[int, int], names: Names) -> np.ndarray:
        canvas = np.full(size, UNLABELLED, np.uint8)
        with naming(path, "save it again"):
            for shape in drawn:
                kind = shape.get("shape_type") or "polygon"
                points = np.asarray(shape["points"], float).reshape(-1, 2)
                if kind in ("point", "points", "line", "linestrip") or (kind == "polygon" and len(points) < 3):
                    names.skip(kind, shape.get("label", ""))
                    continue
                id_ = names.id(str(shape["label"]))
                if kind == "polygon":
                    shapes.fill_polygons(canvas, [points], id_)
                elif kind == "rectangle":
                    (left, top), (right, bottom) = points.min(0), points.max(0)
                    shapes.fill_polygons(canvas, [shapes.rectangle(left, top, right, bottom)], id_)
                elif kind == "circle":
                    radius = float(np.hypot(*(points[1] - points[0])))
                    shapes.fill_polygons(canvas, [shapes.circle(points[0, 0], points[0, 1], radius, radius)], id_)
                elif kind == "mask":
                    mask = decode(np.frombuffer(base64.b64decode(shape["mask"]), np.uint8), cv2.IMREAD_UNCHANGED)
                    left, top = (round(float(v)) for v in points[0])
                    shapes.paste_mask(canvas, mask > 0, left, top, id_)
                else:
                    raise LabelError(f"{path}: the shape {kind!r} is not an area", "draw polygons")
        return canvas

    return paint
