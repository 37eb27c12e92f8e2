"""COCO (cocodataset.org): instances with polygons or run lengths, and panoptic PNGs."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from drive_seg.core.classes import ClassTable, Group
from drive_seg.errors import reason_and_fix
from drive_seg.image_file import read_pixels
from drive_seg.labelling import shapes
from drive_seg.labelling.record import UNLABELLED, LabelError, Names, Paint, Pictures, Record, naming
from drive_seg.labelling.rle import from_coco_text, from_run_lengths, run_lengths
from drive_seg.labelling.streaming_json import JsonError, elements

INSTANCES, PANOPTIC = "instances.json", "panoptic.json"


class CocoWriter:
    """Writes instances.json (a mask a class, in run lengths), panoptic.json and panoptic/*.png. Use as a context
    manager."""

    def __init__(self, folder: Path, table: ClassTable) -> None:
        self._folder = folder
        (folder / "panoptic").mkdir(parents=True, exist_ok=True)
        self._table = table
        self._images: list[dict] = []
        self._instances: list[dict] = []
        self._panoptic: list[dict] = []

    def add(self, name: str, classes: np.ndarray) -> None:
        """One picture. classes: (H, W) uint8 ids of the table, anything else where no label shall be."""
        number = len(self._images) + 1
        height, width = classes.shape
        self._images.append({"id": number, "file_name": name, "width": width, "height": height})
        segments, segment_ids = [], np.zeros(classes.shape, np.uint8)
        for id_, mask in shapes.class_masks(classes, len(self._table)):
            category, area = id_ + 1, int(mask.sum())
            box = list(shapes.bounds(mask))
            counts = run_lengths(mask.ravel(order="F"))
            self._instances.append({
                "id": len(self._instances) + 1, "image_id": number, "category_id": category, "area": area, "bbox": box,
                "iscrowd": 1, "segmentation": {"size": [height, width], "counts": counts}})
            segments.append({"id": category, "category_id": category, "area": area, "bbox": box, "iscrowd": 0})
            segment_ids[mask] = category
        file = f"{Path(name).stem}.png"
        picture = np.zeros((height, width, 3), np.uint8)
        picture[..., 2] = segment_ids  # id = R + 256 G + 65536 B, and OpenCV writes BGR
        cv2.imwrite(str(self._folder / "panoptic" / file), picture)
        self._panoptic.append({"image_id": number, "file_name": file, "segments_info": segments})

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        if kind is not None:
            return
        categories = [{"id": c.id + 1, "name": c.name, "supercategory": c.group.name.lower(), "color": list(c.colour),
                       "isthing": int(c.group is Group.OBSTACLE)} for c in self._table.classes]
        for file, rows in ((INSTANCES, self._instances), (PANOPTIC, self._panoptic)):
            whole = {"info": {"description": "first draft of the labels by drive_seg"}, "licenses": [],
                     "images": self._images, "categories": categories, "annotations": rows}
            (self._folder / file).write_text(json.dumps(whole))


def read(files: Sequence[Path], pictures: Pictures, skipped: list[str]) -> Iterator[Record]:
    """The pictures of some COCO files. skipped: gets the names of those without a label. Raises LabelError."""
    for path in files:
        try:
            with tempfile.TemporaryDirectory() as scratch:
                yield from _read(path, pictures, Path(scratch), skipped)
        except JsonError as error:
            raise LabelError(*reason_and_fix(error)) from error


def _read(path: Path, pictures: Pictures, scratch: Path, skipped: list[str]) -> Iterator[Record]:
    """COCO lists the labels of all pictures in any order, so they are sorted on disk first."""
    database = sqlite3.connect(scratch / "coco.sqlite")
    categories: dict[int, str] = {}
    try:
        database.execute("CREATE TABLE image (id TEXT, row TEXT)")
        database.execute("CREATE TABLE label (image TEXT, row TEXT)")
        for key, element in elements(path):
            if key == "categories":
                categories[_field(element, "id", path)] = str(_field(element, "name", path))
            elif key == "images":
                database.execute("INSERT INTO image VALUES (?, ?)", (str(_field(element, "id", path)),
                                                                     json.dumps(element)))
            elif key == "annotations":
                database.execute("INSERT INTO label VALUES (?, ?)", (str(_field(element, "image_id", path)),
                                                                     json.dumps(element)))
        database.execute("CREATE INDEX by_image ON label (image)")
        database.commit()
        (lost,), = database.execute("SELECT count(*) FROM label WHERE image NOT IN (SELECT id FROM image)")
        if lost:
            skipped.append(f"{path}: {lost} labels are of pictures that it does not list")
        for id_, row in database.execute("SELECT id, row FROM image ORDER BY rowid"):
            image = json.loads(row)
            name = str(_field(image, "file_name", path))
            labels = [json.loads(one) for (one,) in
                      database.execute("SELECT row FROM label WHERE image = ? ORDER BY rowid", (id_,))]
            if not labels:
                skipped.append(f"{name}: nobody has labelled it")
                continue
            size = (int(_field(image, "height", path)), int(_field(image, "width", path)))
            where = f"{path}, picture {name}"
            if any("segments_info" in label for label in labels):
                paint = _panoptic_painter(labels[0], categories, path, where)
            else:
                paint = _instance_painter(labels, categories, where)
            yield Record(pictures.find(name), name, size, paint)
    finally:
        database.close()


def _field(element: Any, key: str, path: Path) -> Any:
    if not isinstance(element, dict) or key not in element:
        raise LabelError(f"{path} is not COCO: an entry has no {key!r}", "export it again")
    return element[key]


def _category(categories: dict[int, str], id_: Any) -> str:
    return categories.get(id_, f"category {id_}")  # one that the file does not name is listed as unknown


def _instance_painter(labels: list[dict], categories: dict[int, str], where: str) -> Paint:
    def paint(size: tuple[int, int], names: Names) -> np.ndarray:
        canvas = np.full(size, UNLABELLED, np.uint8)
        with naming(where):
            drawn = []
            for label in labels:
                mask, category = _mask(label, size), _category(categories, label.get("category_id"))
                if mask.any():
                    drawn.append((mask, names.id(category)))
                else:
                    names.skip("shape without area", category)
        for mask, id_ in sorted(drawn, key=lambda one: -int(one[0].sum())):  # small things lie on large areas
            canvas[mask] = id_
        return canvas

    return paint


def _mask(label: dict, size: tuple[int, int]) -> np.ndarray:
    shape = label.get("segmentation") or []
    if isinstance(shape, dict):
        counts = shape["counts"]
        lengths = from_coco_text(counts) if isinstance(counts, str) else counts
        if list(shape["size"]) != list(size):
            raise ValueError(f"a mask is {shape['size']}, its picture {list(size)}")
        return from_run_lengths(lengths, size[0] * size[1]).reshape(size, order="F")
    canvas = np.zeros(size, np.uint8)
    if shape:
        rings = [np.asarray(ring, float).reshape(-1, 2) for ring in shape]
    else:  # a box is all that there is
        left, top, wide, high = (float(v) for v in label["bbox"])
        rings = [shapes.rectangle(left, top, left + wide, top + high)]
    shapes.fill_polygons(canvas, rings, 1)
    return canvas > 0


def _panoptic_painter(label: dict, categories: dict[int, str], path: Path, where: str) -> Paint:
    def paint(size: tuple[int, int], names: Names) -> np.ndarray:
        file = _panoptic_file(path, label.get("file_name", ""))
        picture = read_pixels(file, cv2.IMREAD_COLOR)
        if picture is None or picture.shape[:2] != size:
            raise LabelError(f"{where}: {file} is missing, not a PNG or of another size", "export it again")
        blue, green, red = (picture[..., i].astype(np.int32) for i in range(3))
        segments = red + 256 * green + 65536 * blue
        canvas = np.full(size, UNLABELLED, np.uint8)
        listed = {0}
        with naming(where):
            for segment in label["segments_info"]:
                listed.add(int(segment["id"]))
                canvas[segments == int(segment["id"])] = names.id(_category(categories, segment.get("category_id")))
        for id_ in np.unique(segments):
            if int(id_) not in listed:
                canvas[segments == id_] = names.id(f"segment {int(id_)} (not in {path.name})")
        return canvas

    return paint


def _panoptic_file(path: Path, name: str) -> Path:
    """The PNGs lie in a folder of the JSON's name, or beside it, or in `panoptic`."""
    places = [path.with_suffix("") / name, path.parent / name, path.parent / "panoptic" / name]
    places += [p / name for p in sorted(path.parent.glob("*panoptic*")) if p.is_dir()]
    return next((place for place in places if place.is_file()), places[0])
