"""Labels from elsewhere become a data set in our format. Pictures are read, painted and written one by one."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import yaml

from drive_seg.core.classes import UNKNOWN
from drive_seg.core.overlay import draw_overlay
from drive_seg.evaluation.dataset import LabelClass
from drive_seg.image_file import read_pixels
from drive_seg.labelling import class_map, split
from drive_seg.labelling.class_map import IGNORE, ClassMap
from drive_seg.labelling.formats import coco, cvat, label_studio, labelme, masks
from drive_seg.labelling.new_folder import named, new_folder
from drive_seg.labelling.record import UNLABELLED, LabelError, Names, Pictures, Record
from drive_seg.labelling.sheet import Cell, small, write_sheets
from drive_seg.labelling.streaming_json import JsonError, elements

FORMATS = ("cvat", "coco", "cityscapes", "voc", "labelme", "label-studio", "masks")

CLASS_TABLE = "classes.yaml"
"""A class table of this name beside the labels is used; `drive-seg pick` writes one."""

PICKED = "pick.json"
"""What `drive-seg pick` writes beside its pictures; it tells the drive of each."""

_DAMAGED = "damaged"
_PREVIEWS = 40
_LISTED = 20


@dataclass
class Imported:
    """What came of an import. pixels: by class name. left_out: pictures that could not be read or that nobody has
    labelled, with the reason. ignored: pixels by name that tell nothing. drives: pictures by drive. out: the folder.
    """

    format: str
    out: Path
    pictures: Counter[str] = field(default_factory=Counter)
    pixels: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    drives: dict[str, Counter[str]] = field(default_factory=dict)
    unlabelled: float = 0.0
    notes: list[str] = field(default_factory=list)


class UnknownClasses(LabelError):  # noqa: N818  it is what was found
    """Names or colours that nothing is known about. pixels: how many of each. template: a table to fill in."""

    def __init__(self, pixels: dict[str, int], shares: dict[str, float], examples: dict[str, str], template: Path,
                 ) -> None:
        rows = sorted(pixels, key=lambda name: -pixels[name])
        lines = [f"  {name}: {shares[name]:.2%} of the labelled pixels, first in {examples[name]}" for name in rows]
        super().__init__(f"{len(rows)} classes or colours are not known:\n" + "\n".join(lines) + "\nwhat to do",
                         f"say what they are in {template} (or any class table) and give it with --classes")
        self.pixels, self.template = pixels, template


def detect(root: Path) -> str:
    """The format of the labels in a folder, or of one file. Raises LabelError."""
    found = []
    if root.is_dir():
        if masks.is_cityscapes(root):
            return "cityscapes"
        if masks.is_voc(root):
            return "voc"
        if inside := [part for part in sorted(root.iterdir()) if part.is_dir() and masks.is_voc(part)]:
            raise LabelError(f"{root} is not a data set, but has some in it: {', '.join(map(str, inside))}",
                             "give one of them")
    files = [root] if root.is_file() else sorted([*root.rglob("*.xml"), *root.rglob("*.json")])[:200]
    for file in files:
        if file.name == PICKED:
            continue
        kind = _kind_of(file)
        if kind in FORMATS and kind not in found:
            found.append(kind)
    if len(found) > 1:
        raise LabelError(f"{root} holds labels in several formats ({', '.join(found)})",
                         "name the file, or give --format")
    if found:
        return found[0]
    if root.is_dir() and masks.find_masks(root):
        return "masks"
    raise LabelError(f"{root} holds no labels that are known", f"export as one of {', '.join(FORMATS)}; masks are PNGs"
                     " in a folder labels/ or masks/ beside images/")


def _kind_of(file: Path) -> str | None:
    """The format of a file's labels; None where it holds none, _DAMAGED where it can't be read."""
    if file.suffix == ".xml":
        try:
            return "cvat" if cvat.is_cvat(file) else None
        except ElementTree.ParseError:
            return _DAMAGED
    try:
        for key, element in elements(file):
            if key == "" and label_studio.is_task(element):
                return "label-studio"
            if key in ("images", "annotations", "categories"):
                return "coco"
            if key in ("shapes", "imagePath"):
                return "labelme"
            if key == "":
                return None
    except (JsonError, OSError):
        return _DAMAGED
    return None


def import_labels(root: Path, out: Path, *, form: str | None = None, classes: Path | None = None,
                  images: Path | None = None, name: str | None = None, licence: str = "not stated",
                  val_share: float = 0.2, drive_pattern: str | None = None, ignore_unknown: bool = False,
                  progress: Callable[[str], None] = lambda picture: None) -> Imported:
    """Read the labels in a folder (or one file) and write the data set `out`, which must not exist yet.

    form: one of FORMATS, None to find out. classes: a class table, see class_map.load. images: folder of the pictures
    where they are not beside the labels. val_share: of the drives, for val. drive_pattern: a regular expression that
    finds the drive in a picture's name. ignore_unknown: leave out pixels whose class is not known, instead of an error.
    progress: called with each picture's name. Raises LabelError, UnknownClasses or OSError; then there is no data set.
    """
    if not root.exists():
        raise LabelError(f"there is nothing at {root}", "give the folder of a labelling tool's export")
    if root.is_file() and zipfile.is_zipfile(root):
        raise LabelError(f"{root} is packed", "unpack it and give the folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LabelError(f"{out} is there already", "give a new folder; training takes several data sets")
    form = form or detect(root)
    table = _table(root, classes)
    result = Imported(form, out)
    with new_folder(out) as partial:
        writer = _Writer(partial, table, result, _pattern(drive_pattern), _picked(root))
        records = _records(root, form, table, images, result.left_out)
        while True:
            try:
                record = next(records, None)
            except LabelError as error:
                if not str(error).startswith(("the picture", "two pictures")):
                    raise
                raise LabelError(f"{root}: {error}") from error
            if record is None:
                break
            progress(record.name)
            writer.add(record)
        place = named(out)
        writer.finish(place, name or place.name, licence, val_share, ignore_unknown)
    return result


def _table(root: Path, classes: Path | None) -> ClassMap:
    if classes is not None:
        return class_map.load(classes)
    beside = (root if root.is_dir() else root.parent) / CLASS_TABLE
    return class_map.load(beside) if beside.is_file() else class_map.known()


def _pattern(text: str | None) -> re.Pattern | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise LabelError(f"{text!r} is not a regular expression: {error}") from error


def _picked(root: Path) -> dict[str, str]:
    """The drive of each picture by its file's name, where `drive-seg pick` chose them."""
    file = (root if root.is_dir() else root.parent) / PICKED
    if not file.is_file():
        return {}
    try:
        return {row["picture"]: row["drive"] for row in json.loads(file.read_text())["frames"]}
    except (ValueError, KeyError, TypeError) as error:
        raise LabelError(f"{file} is damaged ({error!r})", "delete it, or pick again") from error


def _records(root: Path, form: str, table: ClassMap, images: Path | None, left_out: list[str]) -> Iterator[Record]:
    folder = root if root.is_dir() else root.parent
    pictures = Pictures(*([images] if images else []), folder)

    def files(suffix: str, kind: str) -> list[Path]:
        kinds = {p: _kind_of(p) for p in sorted(root.rglob(f"*{suffix}")) if p.name != PICKED}
        left_out.extend(f"{p} is not whole {suffix[1:].upper()}: export it again"
                        for p, is_ in kinds.items() if is_ == _DAMAGED)
        found = [root] if root.is_file() else [p for p, is_ in kinds.items() if is_ == kind]
        if not found:
            raise LabelError(f"{root} has no {suffix} file of the format {kind}")
        return found

    if form == "cvat":
        return cvat.read(files(".xml", form), pictures)
    if form == "coco":
        found = files(".json", form)
        panoptic = [p for p in found if "panoptic" in p.name]
        if panoptic and len(panoptic) < len(found):  # of the same pictures: panoptic labels say more
            found = panoptic
        return coco.read(found, pictures, left_out)
    if form == "label-studio":
        return label_studio.read(files(".json", form), pictures, left_out)
    if form == "labelme":
        return labelme.read(files(".json", form), pictures, left_out)
    if form == "cityscapes":
        return masks.read_cityscapes(root)
    if form == "voc":
        return masks.read_voc(root, Pictures(*([images] if images else [folder / "JPEGImages"])), table.by_colour)
    if form != "masks":
        raise LabelError(f"no format is called {form!r}", f"use one of {', '.join(FORMATS)}")
    places = masks.find_masks(folder)
    if not places:
        raise LabelError(f"{folder} has no folder of mask PNGs (labels/ or masks/) beside images/")
    by_colour = table.by_colour
    label_map = next((p for n in ("labelmap.txt", "label_colors.txt") if (p := folder / n).is_file()), None)
    if not by_colour and label_map is not None:
        by_colour = masks.read_label_map(label_map)
    reader = masks.MaskReader(by_colour, table.by_id)
    return chain.from_iterable(
        masks.read_masks(labels, Pictures(images or beside), reader,
                         "" if labels.parent == folder else f"{labels.parent.name}/") for beside, labels in places)


class _Writer:
    """Writes pictures and class ids into a folder, and notes what is not known."""

    def __init__(self, folder: Path, table: ClassMap, result: Imported, pattern: re.Pattern | None,
                 picked: dict[str, str]) -> None:
        self._folder, self._table, self._result = folder, table, result
        self._pattern, self._picked = pattern, picked
        self._names = Names()
        self._raw: Counter[str] = Counter()
        self._unknown: dict[str, str] = {}  # picture where each was seen first
        self._written: list[tuple[str, str, str | None]] = []  # file stem, drive, split
        self._stems: set[str] = set()
        self._images: set[Path] = set()
        self._all = 0
        self._pool = folder / "all"
        for part in ("images", "labels"):
            (self._pool / part).mkdir(parents=True)

    def add(self, record: Record) -> None:
        """One picture; one that can't be read, has no label, or does not fit its labels, is noted."""
        if record.image in self._images:
            self._result.left_out.append(f"{record.name}: {record.image} has labels already, from another entry")
            return
        image = read_pixels(record.image, cv2.IMREAD_COLOR)
        if image is None:
            self._result.left_out.append(f"{record.name}: {record.image} is damaged or is not an image")
            return
        size = image.shape[:2]
        if record.size not in (None, size):
            self._result.left_out.append(f"{record.name}: its labels are for {record.size[1]}x{record.size[0]} pixels,"
                                         f" the picture has {size[1]}x{size[0]}")
            return
        try:
            raw = record.paint(size, self._names)
        except LabelError as error:
            if "more than" in str(error):
                raise
            self._result.left_out.append(str(error))
            return
        counts = np.bincount(raw.ravel(), minlength=256)
        if counts[UNLABELLED] == raw.size:
            self._result.left_out.append(f"{record.name}: nobody has labelled any of its pixels")
            return
        self._images.add(record.image)
        lut = np.full(256, IGNORE, np.uint8)
        for id_, name in enumerate(self._names):
            if not counts[id_]:
                continue
            self._raw[name] += int(counts[id_])
            code = self._table.id(name)
            if code is None:
                self._unknown.setdefault(name, record.name)
            else:
                lut[id_] = code
        self._all += raw.size
        self._result.unlabelled += float(counts[UNLABELLED])
        stem = self._stem(record.name)
        suffix = record.image.suffix.lower()
        if suffix in (".jpg", ".jpeg", ".png"):
            shutil.copyfile(record.image, self._pool / "images" / f"{stem}{suffix}")
        else:
            _write(self._pool / "images" / f"{stem}.png", image)
        _write(self._pool / "labels" / f"{stem}.png", lut[raw])
        self._written.append((stem, self._drive(record), record.split))

    def _drive(self, record: Record) -> str:
        try:
            named = split.drive_of(record.name, self._pattern)
        except ValueError as error:
            raise LabelError(str(error)) from error
        if self._pattern is not None:
            return named
        known = self._picked.get(record.image.name)
        if known is None and record.drive is not None and (record.split is not None or split.tells_nothing(named)):
            known = record.drive
        return known or named

    def _stem(self, name: str) -> str:
        stem = re.sub(r"\.[A-Za-z]+$", "", name.replace("\\", "/").strip("/"))
        stem = re.sub(r"[^\w.-]+", "_", stem.removeprefix("images/")) or "picture"
        unique, number = stem, 2
        while unique in self._stems:
            unique, number = f"{stem}_{number}", number + 1
        self._stems.add(unique)
        return unique

    def finish(self, out: Path, name: str, licence: str, val_share: float, ignore_unknown: bool) -> None:
        """Complain, or split, describe and draw."""
        result = self._result
        if not self._written:
            reasons = "; ".join(result.left_out[:3])
            raise LabelError("no labelled picture could be read" + (f": {reasons}" if reasons else ""),
                             "drive-seg import --help says what is read of each format")
        if self._unknown and not ignore_unknown:
            pixels = max(1, sum(self._raw.values()))
            template = class_map.template(self._raw, self._table, out.with_name(f"{out.name}.classes.yaml"))
            raise UnknownClasses({n: self._raw[n] for n in self._unknown},
                                 {n: self._raw[n] / pixels for n in self._unknown}, self._unknown, template)
        result.unlabelled /= max(1, self._all)
        if self._names.no_area:
            result.notes.append("shapes without area count for nothing: "
                                + ", ".join(f"{count} {what}" for what, count in self._names.no_area.most_common()))
        used: dict[int, LabelClass] = {}
        for raw_name, count in self._raw.items():
            id_ = self._table.id(raw_name)
            if id_ is None or id_ == IGNORE:
                result.ignored[raw_name] += count
            else:
                used[id_] = self._table.classes[id_]
                result.pixels[used[id_].name] += count
        if not used:
            raise LabelError("no labelled pixel has a class that counts: all are ignored",
                             "give their classes groups other than `ignore` in a table with --classes")
        if self._table.given:
            used = dict(self._table.classes)  # a class that is rare may only turn up later
        self._split(val_share)
        self._describe(used, name, licence)
        self._preview(used)
        shutil.rmtree(self._pool)

    def _split(self, val_share: float) -> None:
        given = [where for _, _, where in self._written if where is not None]
        own = len(given) == len(self._written)
        drives = sorted({drive for _, drive, _ in self._written})
        notes = self._result.notes
        if own:
            place = given
        elif len(drives) == 1 and val_share > 0 and len(self._written) > 1:
            order = sorted(range(len(self._written)), key=lambda i: self._written[i][0])
            first = min(len(order) - 1, max(1, round(len(order) * (1 - val_share))))
            later = set(order[first:])
            place = ["val" if i in later else "train" for i in range(len(self._written))]
            notes.append("all pictures are of one drive, so its last part is val: neighbours meet at the cut, and val"
                         " says little about other drives. Import several drives, or name them with --drives")
        else:
            val = split.in_val(drives, val_share)
            place = ["val" if drive in val else "train" for _, drive, _ in self._written]
        if not own and len(drives) > 20 and len(drives) > 0.5 * len(self._written):
            notes.append(f"{len(drives)} drives for {len(self._written)} pictures: the names hardly tell drives apart,"
                         " so neighbours may lie on both sides. Give --drives with a pattern that finds the drive")
        for (stem, drive, _), where in zip(self._written, place, strict=True):
            self._result.pictures[where] += 1
            self._result.drives.setdefault(drive, Counter())[where] += 1
            for part in ("images", "labels"):
                target = self._folder / where / part
                target.mkdir(parents=True, exist_ok=True)
            for suffix in (".jpg", ".jpeg", ".png"):
                source = self._pool / "images" / f"{stem}{suffix}"
                if source.is_file():
                    source.rename(self._folder / where / "images" / source.name)
            (self._pool / "labels" / f"{stem}.png").rename(self._folder / where / "labels" / f"{stem}.png")

    def _describe(self, used: dict[int, LabelClass], name: str, licence: str) -> None:
        classes = {}
        for id_ in sorted(used):
            groups = [g.name.lower() for g in used[id_].groups]
            classes[id_] = {"name": used[id_].name, "group": groups[0] if len(groups) == 1 else groups}
        (self._folder / "dataset.yaml").write_text(yaml.safe_dump(
            {"name": name, "licence": licence, "ignore": IGNORE, "classes": classes}, sort_keys=False))
        result = self._result
        facts = {"format": result.format, "pictures": dict(result.pictures), "pixels": dict(result.pixels),
                 "ignored": dict(result.ignored), "unlabelled": round(result.unlabelled, 6),
                 "left_out": result.left_out,
                 "drives": {drive: dict(counts) for drive, counts in sorted(result.drives.items())},
                 "notes": result.notes}
        (self._folder / "import.json").write_text(json.dumps(facts, indent=1) + "\n")

    def _preview(self, used: dict[int, LabelClass]) -> None:
        lut = np.full(256, UNKNOWN, np.uint8)
        for id_, label in used.items():
            if len(label.groups) == 1:
                lut[id_] = label.groups[0]
        cells = []
        for index in np.unique(np.linspace(0, len(self._written) - 1, min(_PREVIEWS, len(self._written))).astype(int)):
            stem, drive, _ = self._written[index]
            labels = next(self._folder.glob(f"*/labels/{stem}.png"))
            image = next(p for s in (".jpg", ".jpeg", ".png")
                         if (p := labels.parents[1] / "images" / f"{stem}{s}").is_file())
            picture, ids = _read(image, cv2.IMREAD_COLOR), _read(labels, cv2.IMREAD_UNCHANGED)
            drawn = draw_overlay(picture, lut[ids], legend=index == 0)
            names = ", ".join(used[i].name for i in np.unique(ids).tolist() if i in used)
            cells.append(Cell(small(drawn), (f"{labels.parents[1].name}: {stem}", f"drive {drive or '-'}", names)))
        write_sheets(self._folder / "preview.jpg", cells)


def _read(path: Path, flags: int) -> np.ndarray:
    """What was written a moment ago."""
    pixels = read_pixels(path, flags)
    if pixels is None:
        raise OSError(f"can't read {path}, which was just written: is the disk sound?")
    return pixels


def _write(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise OSError(f"can't write {path}: is there space, and may you write there?")


def lines(result: Imported) -> Iterator[str]:
    """What a person reads."""
    total = max(1, sum(result.pixels.values()))
    pictures = ", ".join(f"{count} {where}" for where, count in sorted(result.pictures.items()))
    yield f"{result.out}: {pictures} from {result.format} labels, {len(result.drives)} drives"
    for name, count in result.pixels.most_common():
        yield f"  {name:24} {count / total:7.2%} of the labelled pixels"
    for name, count in result.ignored.most_common():
        yield f"  {name:24} ignored ({count} pixels)"
    if result.unlabelled:
        yield f"  {'(no label)':24} {result.unlabelled:7.2%} of all pixels, ignored"
    for note in result.notes:
        yield f"note: {note}"
    for reason in result.left_out[:_LISTED]:
        yield f"left out: {reason}"
    if len(result.left_out) > _LISTED:
        yield f"left out: {len(result.left_out) - _LISTED} more, see import.json"
