"""CVAT for images 1.1 (docs.cvat.ai, XML annotation format): one XML file, read and written picture by picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from drive_seg.core.classes import ClassTable
from drive_seg.labelling import shapes
from drive_seg.labelling.record import UNLABELLED, LabelError, Names, Paint, Pictures, Record, naming
from drive_seg.labelling.rle import from_run_lengths, run_lengths

_NOT_AREAS = ("points", "polyline", "cuboid", "skeleton")


class CvatWriter:
    """Writes the XML. Use as a context manager."""

    def __init__(self, path: Path, task: str, table: ClassTable, pictures: int) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._names, self._count = table.names, 0
        labels = "".join(
            f"<label><name>{escape(c.name)}</name><color>#{c.colour[0]:02x}{c.colour[1]:02x}{c.colour[2]:02x}</color>"
            "<type>any</type><attributes></attributes></label>\n" for c in table.classes)
        self._file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
                         f"<name>{escape(task)}</name><size>{pictures}</size><mode>annotation</mode><labels>\n{labels}"
                         "</labels></task></meta>\n")

    def add(self, name: str, classes: np.ndarray) -> None:
        """One picture. classes: (H, W) uint8 ids of the table, anything else where no label shall be."""
        height, width = classes.shape
        self._file.write(f'<image id="{self._count}" name={quoteattr(name)} width="{width}" height="{height}">\n')
        for id_, mask in shapes.class_masks(classes, len(self._names)):
            left, top, wide, high = shapes.bounds(mask)
            rle = ", ".join(map(str, run_lengths(mask[top:top + high, left:left + wide].ravel())))
            label = quoteattr(self._names[id_])
            self._file.write(f'<mask label={label} source="auto" occluded="0" rle="{rle}" left="{left}"'
                             f' top="{top}" width="{wide}" height="{high}" z_order="0"></mask>\n')
        self._file.write("</image>\n")
        self._count += 1

    def __enter__(self) -> CvatWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        if kind is None:
            self._file.write("</annotations>\n")
        self._file.close()


def is_cvat(path: Path) -> bool:
    """Whether a file is XML whose outermost element is CVAT's. Raises ParseError for what is not XML."""
    with suppress(OSError, UnicodeDecodeError):
        return next(ElementTree.iterparse(path, ("start",)))[1].tag == "annotations"
    return False


def read(files: Sequence[Path], pictures: Pictures) -> Iterator[Record]:
    """The pictures of some CVAT files. Raises LabelError."""
    for path in files:
        try:
            yield from _read(path, pictures)
        except ElementTree.ParseError as error:
            raise LabelError(f"{path} is not whole XML ({error})", "export it again") from error


def _read(path: Path, pictures: Pictures) -> Iterator[Record]:
    above: list[ElementTree.Element] = []
    for event, element in ElementTree.iterparse(path, ("start", "end")):
        if event == "start":
            if element.tag == "track":
                raise LabelError(f"{path} is CVAT for video (it has tracks)",
                                 "export the task as `CVAT for images 1.1`")
            above.append(element)
            continue
        above.pop()
        if element.tag != "image":
            continue
        name = element.get("name", "")
        size = (_whole(element, "height", path), _whole(element, "width", path))
        drawn = [child for child in element if child.tag != "tag"]  # which is of the whole picture
        task = element.get("task_id")  # in the export of a project
        yield Record(pictures.find(name), name, size, _painter(drawn, f"{path}, picture {name}"),
                     drive=None if task is None else f"task {task}")
        if above:
            above[-1].remove(element)  # what has been read is not kept


def _painter(elements: list[ElementTree.Element], where: str) -> Paint:
    def paint(size: tuple[int, int], names: Names) -> np.ndarray:
        canvas = np.full(size, UNLABELLED, np.uint8)
        with naming(where):
            for element in sorted(elements, key=lambda e: int(e.get("z_order", 0))):
                if element.tag in _NOT_AREAS or not _has_area(element):
                    names.skip(element.tag, element.get("label", ""))
                    continue
                value = names.id(element.get("label", ""))
                if element.tag == "polygon":
                    shapes.fill_polygons(canvas, [_corners(element.get("points", ""))], value)
                elif element.tag == "box":
                    corners = shapes.rectangle(*(_number(element, k) for k in ("xtl", "ytl", "xbr", "ybr")))
                    shapes.fill_polygons(canvas, [corners], value)
                elif element.tag == "ellipse":
                    x, y, rx, ry = (_number(element, k) for k in ("cx", "cy", "rx", "ry"))
                    turn = np.deg2rad(float(element.get("rotation", 0)))
                    shapes.fill_polygons(canvas, [shapes.circle(x, y, rx, ry, turn)], value)
                elif element.tag == "mask":
                    left, top, wide, high = (int(_number(element, k)) for k in ("left", "top", "width", "height"))
                    lengths = [int(part) for part in element.get("rle", "").split(",")]
                    mask = from_run_lengths(lengths, wide * high).reshape(high, wide)
                    shapes.paste_mask(canvas, mask, left, top, value)
                else:
                    raise LabelError(f"{where}: <{element.tag}> is not an area", "draw polygons or masks")
        return canvas

    return paint


def _has_area(element: ElementTree.Element) -> bool:
    return element.tag != "polygon" or len(_corners(element.get("points", ""))) >= 3


def _number(element: ElementTree.Element, key: str) -> float:
    text = element.get(key)
    if text is None:
        raise ValueError(f"a <{element.tag}> has no {key}")
    return float(text)


def _corners(text: str) -> np.ndarray:
    """The points (N, 2) of a text `x1,y1;x2,y2`."""
    return np.array([[float(v) for v in point.split(",")] for point in text.split(";") if point.strip()])


def _whole(element: ElementTree.Element, key: str, path: Path) -> int:
    try:
        return int(element.get(key, ""))
    except ValueError:
        raise LabelError(f"{path}: picture {element.get('name')!r} has no {key}", "export it again") from None
