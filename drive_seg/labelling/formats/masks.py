"""Folders of pictures and mask PNGs: palettes, colours or grey ids; Pascal VOC and Cityscapes are such folders."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from drive_seg.core.frame import FrameError, decode
from drive_seg.labelling.known_classes import CITYSCAPES_IDS, VOC_NAMES
from drive_seg.labelling.record import UNLABELLED, LabelError, Names, Pictures, Record

_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "rgb", "JPEGImages")
_MASK_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "SegmentationClass", "gt")
_PNG = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3  # colour types of PNG

Colour = tuple[int, int, int]


def colour_name(colour: Colour) -> str:
    """How a colour without a name is listed."""
    return "colour {} {} {}".format(*colour)


def id_name(value: int) -> str:
    """How a grey value without a name is listed."""
    return f"id {value}"


def voc_palette() -> np.ndarray:
    """Pascal VOC's colours by id, (256, 3) uint8 RGB: the bits of the id, three by three, from the highest down."""
    ids, colours = np.arange(256), np.zeros((256, 3), np.uint8)
    for shift in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * shift + channel) & 1) << (7 - shift)).astype(np.uint8)
    return colours


def read_label_map(path: Path) -> dict[Colour, str]:
    """Class names by colour from a text file: `name:r,g,b::` a line (CVAT's labelmap.txt), or `r g b name`
    (CamVid's label_colors.txt). Raises LabelError."""
    names: dict[Colour, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        cvat = re.fullmatch(r"([^:]+):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?::.*)?", text)
        camvid = re.fullmatch(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*)", text)
        if cvat:
            name, colour = cvat[1].strip(), (int(cvat[2]), int(cvat[3]), int(cvat[4]))
        elif camvid:
            name, colour = camvid[4].strip(), (int(camvid[1]), int(camvid[2]), int(camvid[3]))
        else:
            raise LabelError(f"{path}, line {number}: {text!r} is neither `name:r,g,b::` nor `r g b name`")
        if max(colour) > 255:
            raise LabelError(f"{path}, line {number}: a colour has three values of 0..255")
        names[colour] = name
    return names


class MaskReader:
    """Paints a mask file with class names."""

    def __init__(self, by_colour: dict[Colour, str], by_id: dict[int, str]) -> None:
        """by_colour: names of colours, RGB. by_id: names of the values of grey and palette masks."""
        self._by_colour = {red << 16 | green << 8 | blue: name for (red, green, blue), name in by_colour.items()}
        self._by_id = by_id

    def painter(self, path: Path) -> Callable[[tuple[int, int], Names], np.ndarray]:
        """See Record.paint."""
        def paint(size: tuple[int, int], names: Names) -> np.ndarray:
            ids, palette = read_mask(path)
            if ids.shape[:2] != size:
                raise LabelError(f"{path} is {ids.shape[1]}x{ids.shape[0]}, its picture {size[1]}x{size[0]}")
            if ids.ndim == 3:
                packed = ids[..., 0].astype(np.int32) << 16 | ids[..., 1].astype(np.int32) << 8 | ids[..., 2]
                return _renamed(packed, names, self._colour)
            if palette is not None and self._by_colour:  # the colours are named, the numbers may be any
                def name_of(value: int) -> str | None:
                    if value >= len(palette):
                        return id_name(value)
                    red, green, blue = (int(v) for v in palette[value])
                    return self._colour(red << 16 | green << 8 | blue)
                return _renamed(ids.astype(np.int32), names, name_of)
            return _renamed(ids.astype(np.int32), names, lambda value: self._by_id.get(value, id_name(value)))

        return paint

    def _colour(self, packed: int) -> str | None:
        return self._by_colour.get(packed, colour_name((packed >> 16, packed >> 8 & 255, packed & 255)))


def _renamed(values: np.ndarray, names: Names, name: Callable[[int], str | None]) -> np.ndarray:
    found, inverse = np.unique(values, return_inverse=True)
    table = np.empty(len(found), np.uint8)
    for i, value in enumerate(found):
        known = name(int(value))
        table[i] = UNLABELLED if known is None else names.id(known)
    return table[inverse].reshape(values.shape)


def read_mask(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(ids (H, W), palette (n, 3) RGB) of a palette PNG, (ids (H, W), None) of a grey one, ((H, W, 3) RGB, None) of a
    coloured one. Raises LabelError.

    OpenCV gives a palette PNG's colours, not its numbers, and stretches grey of less than 8 bits: both are read as what
    they are.
    """
    try:
        data = path.read_bytes()
        numbers = _numbers(data)
        pixels = decode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if numbers is None else numbers[0]
    except (OSError, FrameError, struct.error) as error:
        raise LabelError(f"{path} is missing or is not an image ({error})", "export it again") from error
    if numbers is not None:
        return numbers
    if pixels.ndim == 2:
        return pixels, None
    rgb = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    if rgb.dtype != np.uint8:
        raise LabelError(f"{path} has {8 * rgb.itemsize} bits a channel", "save the mask with 8")
    return rgb, None


def _numbers(data: bytes) -> tuple[np.ndarray, np.ndarray | None] | None:
    """The ids (H, W) uint8 and the palette (n, 3) uint8 RGB, if any, of a PNG with a palette or with grey of 1, 2 or 4
    bits; None for any other file. Raises FrameError or struct.error.

    OpenCV reads such a file's numbers where its header calls them grey, stretched to 0..255.
    """
    if not data.startswith(_PNG) or len(data) < 33:
        return None
    depth, kind = data[24], data[25]
    if kind != _PALETTE and not (kind == _GREY and depth < 8):
        return None
    palette, parts, at = None, [_PNG], len(_PNG)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        whole = data[at:at + 12 + length]
        if name == b"IHDR":
            body = name + whole[8:8 + 9] + bytes([_GREY]) + whole[18:8 + length]
            whole = whole[:4] + body + struct.pack(">I", zlib.crc32(body))
        elif name == b"PLTE" and kind == _PALETTE:
            palette = np.frombuffer(whole[8:8 + length], np.uint8).reshape(-1, 3)
        if name in (b"IHDR", b"IDAT", b"IEND"):
            parts.append(whole)
        at += 12 + length
    pixels = decode(np.frombuffer(b"".join(parts), np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels // np.uint8(255 // ((1 << depth) - 1)), palette


def find_masks(root: Path) -> list[tuple[Path, Path]]:
    """The folders of pictures and masks below a folder, whose files have the same names: one such pair, or one in each
    of its folders (train/images, train/masks, val/...); empty without."""
    here = _beside(root)
    if here is not None:
        return [here]
    return [pair for part in sorted(root.iterdir()) if part.is_dir() and (pair := _beside(part)) is not None]


def _beside(root: Path) -> tuple[Path, Path] | None:
    images = next((root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()), None)
    masks = next((root / name for name in _MASK_FOLDERS if (root / name).is_dir()
                  and next(_masks_below(root / name), None) is not None), None)
    return None if masks is None else (images or root, masks)


def _masks_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix.lower() == ".png" and not path.name.startswith("."))


def read_masks(masks: Path, pictures: Pictures, reader: MaskReader, prefix: str = "") -> Iterator[Record]:
    """A picture of the same name for each mask below a folder. prefix: of their names. Raises LabelError."""
    for path in sorted(_masks_below(masks)):
        inside = path.relative_to(masks).with_suffix("").as_posix()
        yield Record(_picture(pictures, inside), prefix + inside, None, reader.painter(path))


def _picture(pictures: Pictures, stem: str) -> Path:
    stems = dict.fromkeys([stem, *(stem.removesuffix(end) for end in ("_mask", "_label", "_labels", "_L", "_gt"))])
    for name in stems:
        for suffix in (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".webp", ".tif", ".tiff"):
            with suppress(LabelError):
                return pictures.find(name + suffix)
    raise LabelError(f"the mask {stem}.png has no picture of its name",
                     "put it beside, or name its folder with --images")


def is_voc(root: Path) -> bool:
    """Whether a folder is Pascal VOC's."""
    return (root / "SegmentationClass").is_dir()


def read_voc(root: Path, pictures: Pictures, by_colour: dict[Colour, str]) -> Iterator[Record]:
    """Pascal VOC: JPEGImages and SegmentationClass, with labelmap.txt where the classes are not VOC's own."""
    if not by_colour:
        label_map = root / "labelmap.txt"
        if label_map.is_file():
            by_colour = read_label_map(label_map)
        else:
            rows = voc_palette().tolist()
            by_colour = {(rows[i][0], rows[i][1], rows[i][2]): name for i, name in VOC_NAMES.items()}
    return read_masks(root / "SegmentationClass", pictures, MaskReader(by_colour, VOC_NAMES))


def is_cityscapes(root: Path) -> bool:
    """Whether a folder is Cityscapes'."""
    return (root / "leftImg8bit").is_dir() and any((root / name).is_dir() for name in ("gtFine", "gtCoarse"))


def read_cityscapes(root: Path) -> Iterator[Record]:
    """Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png. Its own splits
    stay: no city is in two of them; `test` has no labels. Raises LabelError."""
    reader = MaskReader({}, CITYSCAPES_IDS)
    kind = "gtFine" if (root / "gtFine").is_dir() else "gtCoarse"
    found = sorted((root / kind).glob(f"*/*/*_{kind}_labelIds.png"))
    if not found:
        raise LabelError(f"{root / kind} has no SPLIT/CITY/*_{kind}_labelIds.png",
                         "unpack them, or make them with cityscapesScripts: files of colours or train ids are not read")
    for path in found:
        city, split = path.parent.name, path.parent.parent.name
        if split == "test":
            continue
        stem = path.name.removesuffix(f"_{kind}_labelIds.png")
        folder = root / "leftImg8bit" / split / city
        image = next((p for s in (".png", ".jpg") if (p := folder / f"{stem}_leftImg8bit{s}").is_file()), None)
        if image is None:
            raise LabelError(f"{path} has no picture {folder / stem}_leftImg8bit.png",
                             f"unpack leftImg8bit beside {kind}")
        yield Record(image, f"{city}/{stem}", None, reader.painter(path), split, city)
