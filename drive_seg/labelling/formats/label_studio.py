"""Label Studio's JSON (a list of tasks): brush masks and polygons over one picture each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from drive_seg.core.classes import ClassTable
from drive_seg.errors import reason_and_fix
from drive_seg.labelling import shapes
from drive_seg.labelling.record import UNLABELLED, LabelError, Names, Paint, Pictures, Record, naming
from drive_seg.labelling.rle import from_brush, to_brush
from drive_seg.labelling.streaming_json import JsonError, elements

TASKS, CONFIG = "tasks.json", "label_config.xml"

_AREAS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")


class LabelStudioWriter:
    """Writes tasks.json, and label_config.xml for the project's labelling interface. Use as a context manager."""

    def __init__(self, folder: Path, table: ClassTable, prefix: str, version: str) -> None:
        """prefix: what stands before a picture's name in a task. version: of the network, as the predictions name it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / TASKS).open("w", encoding="utf-8")
        self._names, self._prefix, self._version, self._count = table.names, prefix, version, 0
        labels = "\n".join(f'    <Label value={quoteattr(c.name)} background="rgb{c.colour}"/>' for c in table.classes)
        (folder / CONFIG).write_text(
            f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="brush" toName="image">\n{labels}\n  </BrushLabels>\n'
            f'  <PolygonLabels name="polygon" toName="image">\n{labels}\n  </PolygonLabels>\n</View>\n',
            encoding="utf-8")

    def add(self, name: str, classes: np.ndarray) -> None:
        """One picture. classes: (H, W) uint8 ids of the table, anything else where no label shall be."""
        height, width = classes.shape
        results = []
        for id_, mask in shapes.class_masks(classes, len(self._names)):
            value = {"format": "rle", "rle": to_brush(mask), "brushlabels": [self._names[id_]]}
            results.append({"id": f"{self._count}_{id_}", "type": "brushlabels", "from_name": "brush",
                            "to_name": "image", "original_width": width, "original_height": height,
                            "image_rotation": 0, "value": value})
        task = {"data": {"image": self._prefix + name},
                "predictions": [{"model_version": self._version, "result": results}]}
        self._file.write(("[\n" if self._count == 0 else ",\n") + json.dumps(task))
        self._count += 1

    def __enter__(self) -> LabelStudioWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        if kind is None:
            self._file.write("\n]\n" if self._count else "[]\n")
        self._file.close()


def is_task(element: Any) -> bool:
    """Whether the first element of a JSON array is a task."""
    return isinstance(element, dict) and isinstance(element.get("data"), dict) and (
        "annotations" in element or "predictions" in element or "completions" in element)


def read(files: Sequence[Path], pictures: Pictures, skipped: list[str]) -> Iterator[Record]:
    """The pictures of some exports that a person has labelled. skipped: gets the names of the others. Raises
    LabelError."""
    for path in files:
        try:
            for _, task in elements(path):
                if not is_task(task):
                    raise LabelError(f"{path} is not Label Studio's JSON", "export the project as JSON (not JSON-MIN)")
                name = _picture(task["data"], path)
                done = [a for a in task.get("annotations") or task.get("completions") or []
                        if not a.get("was_cancelled")]
                if not done:
                    skipped.append(f"{name}: nobody has labelled it")
                    continue
                results, image = done[-1].get("result", []), pictures.find(name)
                yield Record(image, _plain(pictures.inside(image), name), _size(results),
                             _painter(results, f"{path}, picture {name}"))
        except JsonError as error:
            raise LabelError(*reason_and_fix(error)) from error


def _plain(inside: str, name: str) -> str:
    """The picture's name without the 8 hexadecimal digits that uploading gave it, or each would be a drive."""
    folder, slash, base = inside.rpartition("/")
    if "upload/" in name and name.endswith(base):
        base = re.sub(r"^[0-9a-f]{8}-(?=.)", "", base)
    return folder + slash + base


def _picture(data: dict, path: Path) -> str:
    for value in data.values():
        if isinstance(value, str) and re.search(r"\.(jpe?g|png|bmp|tiff?|webp)\b", value, re.IGNORECASE):
            parts = urlsplit(value)
            local = parse_qs(parts.query).get("d")  # /data/local-files/?d=folder/name.jpg
            return local[0] if local else unquote(parts.path)
    raise LabelError(f"{path}: a task has no picture", f"its data is {json.dumps(data)[:200]}")


def _size(results: list[dict]) -> tuple[int, int] | None:
    for result in results:
        if "original_height" in result:
            return int(result["original_height"]), int(result["original_width"])
    return None


def _painter(results: list[dict], where: str) -> Paint:
    def paint(size: tuple[int, int], names: Names) -> np.ndarray:
        canvas = np.full(size, UNLABELLED, np.uint8)
        with naming(where):
            for result in results:
                kind, value = result.get("type"), result.get("value", {})
                if kind not in _AREAS or not value.get(kind):
                    names.skip(kind, ", ".join(map(str, value.get(kind) or ())))
                    continue
                id_ = names.id(str(value[kind][0]))
                if kind == "brushlabels":
                    canvas[from_brush(value["rle"], size)] = id_
                    continue
                scale = np.array([size[1], size[0]]) / 100  # they are percentages
                if kind == "polygonlabels":
                    ring = np.asarray(value["points"], float) * scale
                elif kind == "ellipselabels":
                    x, y = np.array([value["x"], value["y"]]) * scale
                    radius_x, radius_y = np.array([value["radiusX"], value["radiusY"]]) * scale
                    ring = shapes.circle(x, y, radius_x, radius_y, np.deg2rad(value.get("rotation", 0)))
                else:
                    ring = _turned(value, scale)
                shapes.fill_polygons(canvas, [ring], id_)
        return canvas

    return paint


def _turned(value: dict, scale: np.ndarray) -> np.ndarray:
    """The corners of a rectangle, turned clockwise about its upper left one."""
    corner = np.array([value["x"], value["y"]]) * scale
    wide, high = np.array([value["width"], value["height"]]) * scale
    angle = np.deg2rad(value.get("rotation", 0))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return shapes.rectangle(0, 0, wide, high) @ turn + corner
