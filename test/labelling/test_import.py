"""Every format as its tool saves it, to a data set with the same labels."""

import base64
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from colours import COLOURS, paint_scene, rgb

from drive_seg.cli.main import main
from drive_seg.core.classes import ClassTable, Group
from drive_seg.evaluation.dataset import Dataset
from drive_seg.labelling import split
from drive_seg.labelling.class_map import IGNORE
from drive_seg.labelling.formats.coco import CocoWriter
from drive_seg.labelling.formats.cvat import CvatWriter
from drive_seg.labelling.formats.label_studio import LabelStudioWriter
from drive_seg.labelling.importer import UnknownClasses, detect, import_labels
from drive_seg.labelling.record import LabelError
from drive_seg.labelling.rle import run_lengths, to_brush

SIZE = (96, 160)
PICTURES = [f"{drive}_{number:04d}.png" for drive in ("north", "south") for number in range(3)]
TABLE = ClassTable.from_dicts([{"id": i, "name": name, "group": group, "colour": list(colour), "drivable": drivable}
                               for i, (name, (group, colour, drivable)) in enumerate(COLOURS.items())])


def polygons(truth):
    """(name, corners (n, 2) of pixel edges, largest first) that give the street again when they are filled in turn."""
    height, width = SIZE
    half = height // 2
    car = np.argwhere(truth == 3)
    (top, left), (bottom, right) = car.min(0), car.max(0) + 1
    yield "sky", [(0, 0), (width, 0), (width, half), (0, half)]
    yield "pavement", [(0, half), (width, half), (width, height), (0, height)]
    yield "road", [(width // 5, half), (width * 4 // 5, half), (width * 4 // 5, height), (width // 5, height)]
    yield "car", [(left, top), (right, top), (right, bottom), (left, bottom)]


def cvat_polygons(folder, truth):
    images = []
    for i, name in enumerate(PICTURES):
        drawn = "".join(f'<polygon label="{label}" source="manual" occluded="0" z_order="{z}" points="'
                        + ";".join(f"{x:.2f},{y:.2f}" for x, y in ring) + '"></polygon>'
                        for z, (label, ring) in reversed(list(enumerate(polygons(truth)))))
        images.append(f'<image id="{i}" name="{name}" width="160" height="96">{drawn}<tag label="wet"/></image>')
    (folder / "annotations.xml").write_text('<?xml version="1.0" encoding="utf-8"?>\n<annotations>'
                                            f"<version>1.1</version><meta><dumped>2026</dumped></meta>{''.join(images)}</annotations>")


def cvat_masks(folder, truth):
    with CvatWriter(folder / "annotations.xml", "task & co", TABLE, len(PICTURES)) as writer:
        for name in PICTURES:
            writer.add(name, truth)


def label_studio_polygons(folder, truth):
    tasks = []
    for name in PICTURES:
        result = [{"type": "polygonlabels", "original_width": 160, "original_height": 96,
                   "value": {"points": [[100 * x / 160, 100 * y / 96] for x, y in ring], "polygonlabels": [label]}}
                  for label, ring in polygons(truth)]
        tasks.append({"data": {"image": f"/data/upload/7/0a1b2c3d-{name}"}, "annotations": [{"result": result}]})
    tasks.append({"data": {"image": "/data/upload/7/0a1b2c3d-nobody.png"}, "annotations": []})
    (folder / "project-7.json").write_text(json.dumps(tasks, indent=1))


def label_studio_brush(folder, truth):
    tasks = []
    for name in PICTURES:
        result = [{"type": "brushlabels", "original_width": 160, "original_height": 96,
                   "value": {"format": "rle", "rle": to_brush(truth == i), "brushlabels": [label]}}
                  for i, label in enumerate(COLOURS) if (truth == i).any()]
        tasks.append({"data": {"image": f"/data/local-files/?d=pictures/{name}"}, "annotations": [{"result": result}]})
    (folder / "export.json").write_text(json.dumps(tasks))


def coco(folder, kind, truth):
    segmentation = {
        "polygons": lambda label, ring: [[float(v) for corner in ring for v in corner]],
        "rle": lambda label, ring: {"size": [96, 160], "counts": run_lengths(
            (truth == list(COLOURS).index(label)).ravel(order="F"))},
    }[kind]
    rows = [{"id": 100 * i + j, "image_id": i, "category_id": 10 + list(COLOURS).index(label), "iscrowd": 0,
             "segmentation": segmentation(label, ring)}
            for j, (label, ring) in enumerate(reversed(list(polygons(truth)))) for i in range(len(PICTURES))]
    whole = {"info": {}, "images": [{"id": i, "file_name": name, "width": 160, "height": 96}
                                    for i, name in enumerate(PICTURES)], "annotations": rows,
             "categories": [{"id": 10 + i, "name": name} for i, name in enumerate(COLOURS)]}
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_default.json").write_text(json.dumps(whole))


def coco_panoptic(folder, truth):
    with CocoWriter(folder / "annotations", TABLE) as writer:
        for name in PICTURES:
            writer.add(name, truth)
    (folder / "annotations" / "instances.json").unlink()


def labelme(folder, truth):
    for name in PICTURES:
        drawn = [{"label": label, "shape_type": "polygon", "points": [list(map(float, corner)) for corner in ring],
                  "group_id": None, "flags": {}} for label, ring in list(polygons(truth))[:3]]
        mask = truth == 3
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        part = mask[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1].astype(np.uint8) * 255
        drawn.append({"label": "car", "shape_type": "mask", "points": [
            [float(columns[0]), float(rows[0])], [float(columns[-1]), float(rows[-1])]],
            "mask": base64.b64encode(cv2.imencode(".png", part)[1]).decode()})
        (folder / f"{Path(name).stem}.json").write_text(json.dumps(
            {"version": "5.4.1", "flags": {}, "shapes": drawn, "imagePath": f"images\\{name}", "imageData": None,
             "imageHeight": 96, "imageWidth": 160}))


def palette_png(path, ids, palette, depth=8, kind=3):
    """OpenCV writes no palettes and no 4 bits: the PNG by hand. ids: its bytes."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in ids)
    header = struct.pack(">IIBBBBB", ids.shape[1] * 8 // depth, ids.shape[0], depth, kind, 0, 0, 0)
    colours = b"" if palette is None else chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + colours + chunk(b"IDAT", zlib.compress(rows))
                     + chunk(b"IEND", b""))


def voc(folder, truth):
    """As CVAT exports `Segmentation mask 1.1`."""
    (folder / "images").rename(folder / "JPEGImages")
    (folder / "SegmentationClass").mkdir()
    colours = np.zeros((256, 3), np.uint8)
    colours[1:6] = [rgb(name) for name in COLOURS]
    for name in PICTURES:
        palette_png(folder / "SegmentationClass" / name, truth + 1, colours)
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, rgb(name)))}::" for name in COLOURS]
    (folder / "labelmap.txt").write_text("\n".join(lines) + "\n")


def colour_masks(folder, truth):
    (folder / "masks").mkdir()
    for name in PICTURES:
        cv2.imwrite(str(folder / "masks" / name), paint_scene(*SIZE))
    (folder / "classes.yaml").write_text(yaml.safe_dump({"classes": TABLE.to_dicts()}))


def palette_masks(folder, truth):
    (folder / "labels").mkdir()
    for name in PICTURES:
        palette_png(folder / "labels" / name, truth, TABLE.colour_lut)
    (folder / "labelmap.txt").write_text("".join(f"{' '.join(map(str, rgb(n)))} {n}\n" for n in COLOURS))


def palette_of_one_colour(folder, truth):
    """Only the numbers tell the classes apart."""
    (folder / "labels").mkdir()
    for name in PICTURES:
        palette_png(folder / "labels" / name, truth, np.zeros((256, 3), np.uint8))
    (folder / "classes.yaml").write_text(yaml.safe_dump({"classes": [
        {"name": name, "group": group, "id": i} for i, (name, (group, _, _)) in enumerate(COLOURS.items())]}))


def grey_of_4_bits(folder, truth):
    palette_of_one_colour(folder, truth)
    for name in PICTURES:
        two = truth.reshape(len(truth), -1, 2)
        palette_png(folder / "labels" / name, two[..., 0] << 4 | two[..., 1], None, depth=4, kind=0)


def masks_by_split(folder, truth):
    """train/images and train/masks: the split is by drive all the same."""
    grey_masks(folder, truth)
    for name in PICTURES:
        place = folder / ("val" if "0001" in name else "train")
        for part, was in (("images", "images"), ("masks", "labels")):
            (place / part).mkdir(parents=True, exist_ok=True)
            (folder / was / name).rename(place / part / name)
    (folder / "labels").rmdir()
    (folder / "images").rmdir()


def grey_masks(folder, truth):
    (folder / "labels").mkdir()
    for name in PICTURES:
        cv2.imwrite(str(folder / "labels" / name), truth + 40)
    (folder / "classes.yaml").write_text(yaml.safe_dump({"ignore": 255, "classes": {
        40 + i: {"name": name, "group": group} for i, (name, (group, _, _)) in enumerate(COLOURS.items())}}))


def cityscapes(folder, truth):
    ids = np.array([23, 7, 8, 26, 21], np.uint8)  # sky, road, sidewalk, car, vegetation
    for name in PICTURES:
        city, split_ = name.partition("_")[0], "val" if name.startswith("south") else "train"
        stem = f"{city}_000000_{Path(name).stem.partition('_')[2]}"
        for kind in ("leftImg8bit", "gtFine"):
            (folder / kind / split_ / city).mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).rename(folder / "leftImg8bit" / split_ / city / f"{stem}_leftImg8bit.png")
        cv2.imwrite(str(folder / "gtFine" / split_ / city / f"{stem}_gtFine_labelIds.png"), ids[truth])


FORMATS = {
    "cvat polygons": (cvat_polygons, "cvat", False), "cvat masks": (cvat_masks, "cvat", True),
    "label studio polygons": (label_studio_polygons, "label-studio", False),
    "label studio brush": (label_studio_brush, "label-studio", True),
    "coco polygons": (lambda f, t: coco(f, "polygons", t), "coco", False),
    "coco run lengths": (lambda f, t: coco(f, "rle", t), "coco", True),
    "coco panoptic": (coco_panoptic, "coco", True), "labelme": (labelme, "labelme", False), "voc": (voc, "voc", True),
    "colour masks": (colour_masks, "masks", True), "palette masks": (palette_masks, "masks", True),
    "grey masks": (grey_masks, "masks", True), "grey of 4 bits": (grey_of_4_bits, "masks", True),
    "palette of one colour": (palette_of_one_colour, "masks", True), "masks by split": (masks_by_split, "masks", True),
    "cityscapes": (cityscapes, "cityscapes", True),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_labels(name, street_folder, truth, tmp_path, capsys):
    save, form, exact = FORMATS[name]
    save(street_folder, truth)
    assert detect(street_folder) == form
    assert main(["import", str(street_folder), "-o", str(tmp_path / "data"), "--val", "0.5"]) == 0
    dataset = Dataset.load(tmp_path / "data")
    groups = {c.id: c.groups for c in dataset.classes}
    pairs = [pair for part in dataset.splits for pair in dataset.pairs(part)]
    assert len(pairs) == 6
    expected = np.array([Group.BACKGROUND, Group.ROAD, Group.PAVEMENT, Group.OBSTACLE, Group.BACKGROUND])[truth]
    for pair in pairs:
        image, ids = pair.read()
        assert (image == paint_scene(*SIZE)).all()
        found = np.array([groups[i][0] if i in groups else IGNORE for i in range(256)])[ids]
        wrong = (found != expected).mean()
        assert wrong == 0 if exact else wrong < 0.03, "an outline may be drawn half a pixel wider"
    assert dataset.splits == ["train", "val"]
    drives = {part: {re.sub("gtFine_|train_|val_", "", pair.name).partition("_")[0] for pair in dataset.pairs(part)}
              for part in dataset.splits}
    assert {tuple(v) for v in drives.values()} == {("north",), ("south",)}, "a drive lies in one split alone"
    assert cv2.imread(str(tmp_path / "data" / "preview.jpg")) is not None
    assert "6" in str(sum(json.loads((tmp_path / "data" / "import.json").read_text())["pictures"].values()))
    assert "preview.jpg" in capsys.readouterr().out


def test_unknown_classes_are_all_listed_and_there_is_no_data_set(street_folder, truth, tmp_path):
    cvat_polygons(street_folder, truth)
    file = street_folder / "annotations.xml"
    file.write_text(file.read_text().replace('label="road"', 'label="Fahrbahn"').replace('label="car"', 'label="Gnu"'))
    with pytest.raises(UnknownClasses) as caught:
        import_labels(street_folder, tmp_path / "data")
    assert set(caught.value.pixels) == {"Fahrbahn", "Gnu"}
    assert "Fahrbahn: " in str(caught.value) and "north_0000.png" in str(caught.value)
    assert not (tmp_path / "data").exists() and not (tmp_path / "data.partial").exists()
    table = yaml.safe_load(caught.value.template.read_text())["classes"].values()
    assert {row["name"] for row in table if row["group"] == "FILL IN"} == {"Fahrbahn", "Gnu"}


def test_the_table_to_fill_in_is_whole_and_is_never_written_over(street_folder, truth, tmp_path):
    cvat_polygons(street_folder, truth)
    file = street_folder / "annotations.xml"
    file.write_text(file.read_text().replace('label="road"', 'label="Fahrbahn"'))
    with pytest.raises(UnknownClasses) as caught:
        import_labels(street_folder, tmp_path / "data")
    template = caught.value.template
    filled = template.read_text().replace("FILL IN", "road")
    template.write_text(filled)
    with pytest.raises(UnknownClasses) as again:
        import_labels(street_folder, tmp_path / "data")
    assert again.value.template != template and template.read_text() == filled
    result = import_labels(street_folder, tmp_path / "data", classes=template)
    assert set(result.pixels) >= {"Fahrbahn", "car", "pavement"}, "the classes that were known are in the table, too"


def test_grey_values_keep_their_meaning_in_the_table_to_fill_in(street_folder, truth, tmp_path):
    (street_folder / "labels").mkdir()
    swapped = np.array([3, 1, 0, 2, 4], np.uint8)[truth]
    for name in PICTURES:
        cv2.imwrite(str(street_folder / "labels" / name), swapped)
    with pytest.raises(UnknownClasses) as caught:
        import_labels(street_folder, tmp_path / "data")
    table = yaml.safe_load(caught.value.template.read_text())
    for row in table["classes"].values():
        row["group"] = "road"
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    result = import_labels(street_folder, tmp_path / "data", classes=tmp_path / "table.yaml")
    assert result.pixels == {f"class_{value}": 6 * int((swapped == value).sum()) for value in range(4)}


def test_a_class_table_says_what_they_are(street_folder, truth, tmp_path):
    cvat_polygons(street_folder, truth)
    file = street_folder / "annotations.xml"
    file.write_text(file.read_text().replace('label="road"', 'label="Fahrbahn"'))
    (tmp_path / "table.yaml").write_text(yaml.safe_dump({"ignore": 255, "classes": {
        0: {"name": "road", "group": "road", "also": ["Fahrbahn"]}, 1: {"name": "car", "group": "obstacle"},
        2: {"name": "sky", "group": "ignore"}, 3: {"name": "pavement", "group": ["pavement", "background"]}}}))
    result = import_labels(street_folder, tmp_path / "data", classes=tmp_path / "table.yaml")
    assert set(result.pixels) == {"road", "car", "pavement"} and set(result.ignored) == {"sky"}
    dataset = Dataset.load(tmp_path / "data")
    assert next(c for c in dataset.classes if c.id == 3).groups == (Group.PAVEMENT, Group.BACKGROUND)
    ids = dataset.pairs("train")[0].read()[1]
    assert (ids[:40] == IGNORE).all() and (ids[-5, 70:90] == 0).all()


def test_unknown_colours_are_listed_too(street_folder, truth, tmp_path):
    colour_masks(street_folder, truth)
    table = TABLE.to_dicts()
    table[1]["colour"] = [1, 2, 3]
    (street_folder / "classes.yaml").write_text(yaml.safe_dump({"classes": table}))
    with pytest.raises(UnknownClasses, match="colour 90 90 90"):
        import_labels(street_folder, tmp_path / "data")
    result = import_labels(street_folder, tmp_path / "data", ignore_unknown=True)
    assert result.ignored["colour 90 90 90"] == 6 * int((truth == 1).sum())


def test_an_unknown_cityscapes_id_can_be_named(street_folder, truth, tmp_path):
    cityscapes(street_folder, truth)
    file = next(street_folder.rglob("*labelIds.png"))
    ids = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    ids[:9] = 77
    cv2.imwrite(str(file), ids)
    with pytest.raises(UnknownClasses, match="id 77") as caught:
        import_labels(street_folder, tmp_path / "data")
    (tmp_path / "table.yaml").write_text(caught.value.template.read_text().replace("FILL IN", "background"))
    result = import_labels(street_folder, tmp_path / "data", classes=tmp_path / "table.yaml")
    assert result.pixels["class_77"] == 9 * SIZE[1] and result.pixels["road"] > 0


def test_folders_without_the_labels_that_are_read_say_what_to_do(street_folder, truth, tmp_path):
    cityscapes(street_folder, truth)
    for file in street_folder.rglob("*labelIds.png"):
        file.rename(file.with_name(file.name.replace("labelIds", "labelTrainIds")))
    with pytest.raises(LabelError, match=r"has no SPLIT/CITY/\*_gtFine_labelIds.png: unpack"):
        import_labels(street_folder, tmp_path / "data")
    (tmp_path / "devkit" / "VOC2012" / "SegmentationClass").mkdir(parents=True)
    with pytest.raises(LabelError, match="VOC2012: give one of them"):
        import_labels(tmp_path / "devkit", tmp_path / "data")


def test_masks_that_were_saved_as_jpeg_are_told(street_folder, tmp_path):
    (street_folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    for name in PICTURES:
        cv2.imwrite(str(street_folder / "masks" / name), rng.integers(0, 255, (*SIZE, 3), np.uint8))
    with pytest.raises(LabelError, match="PNG, not JPEG"):
        import_labels(street_folder, tmp_path / "data")


def test_a_damaged_picture_is_left_out_and_named(street_folder, truth, tmp_path, capsys):
    cvat_masks(street_folder, truth)
    (street_folder / "images" / "north_0001.png").write_bytes(b"nothing")
    cv2.imwrite(str(street_folder / "images" / "north_0002.png"), paint_scene(48, 80))
    result = import_labels(street_folder, tmp_path / "data")
    assert sum(result.pictures.values()) == 4
    assert len(result.left_out) == 2 and "damaged" in result.left_out[0] and "160x96" in result.left_out[1]


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda f: (f / "images" / "north_0000.png").unlink(), "north_0000.png is missing"),
    (lambda f: (f / "annotations.xml").write_text((f / "annotations.xml").read_text()[:900]), "not whole XML"),
    (lambda f: (f / "annotations.xml").unlink(), "holds no labels"),
    (lambda f: (f / "annotations.xml").write_text("<annotations><track></track></annotations>"), "CVAT for video"),
])
def test_what_is_wrong_is_one_clear_error(spoil, words, street_folder, truth, tmp_path, capsys):
    cvat_masks(street_folder, truth)
    spoil(street_folder)
    assert main(["import", str(street_folder), "-o", str(tmp_path / "data")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("write", "file", "pattern", "by", "words"), [
    (cvat_masks, "annotations.xml", r' left="\d+"', "", "a <mask> has no left"),
    (label_studio_brush, "export.json", '"rle": \\[', '"lengths": [', "'rle' is missing"),
    (coco_panoptic, "annotations/panoptic.json", r'"segments_info": \[{"id"', '"segments_info": [{"no"',
     "'id' is missing"),
    (labelme, "north_0000.json", '"label": "sky", ', "", "'label' is missing"),
])
def test_a_damaged_shape_leaves_its_picture_out_and_is_named(write, file, pattern, by, words, street_folder, truth,
                                                             tmp_path):
    write(street_folder, truth)
    text, spoilt = re.subn(pattern, by, (street_folder / file).read_text(), count=1)
    assert spoilt
    (street_folder / file).write_text(text)
    result = import_labels(street_folder, tmp_path / "data")
    assert sum(result.pictures.values()) == len(PICTURES) - 1
    assert len(result.left_out) == 1 and words in result.left_out[0]


def test_what_covers_no_pixel_and_what_nobody_labelled_is_told(street_folder, truth, tmp_path):
    cvat_polygons(street_folder, truth)
    file = street_folder / "annotations.xml"
    whole = ElementTree.parse(file)
    first, second, third = list(whole.getroot().iter("image"))[:3]
    for image in (first, second, third):
        for shape in list(image)[0 if image is not third else 1:]:
            image.remove(shape)
    ElementTree.SubElement(first, "polyline", label="Bordstein", points="0,0;9,9")
    ElementTree.SubElement(third, "polygon", label="car", points="1,1;5,5")
    whole.write(file)
    result = import_labels(street_folder, tmp_path / "data")
    assert sum(result.pictures.values()) == 4
    assert [line.partition(":")[2] for line in result.left_out] == [" nobody has labelled any of its pixels"] * 2
    assert '1 polyline "Bordstein"' in result.notes[0] and '1 polygon "car"' in result.notes[0]


@pytest.mark.parametrize("point", ["nan", "1e12"])
def test_a_corner_that_is_nowhere_leaves_its_picture_out(point, street_folder, truth, tmp_path):
    cvat_polygons(street_folder, truth)
    file = street_folder / "annotations.xml"
    file.write_text(re.sub(r'points="[\d.]+,', f'points="{point},', file.read_text(), count=1))
    result = import_labels(street_folder, tmp_path / "data")
    assert sum(result.pictures.values()) == 5 and "a corner is not a number" in result.left_out[0]


def test_pictures_of_one_name_in_several_folders(street_folder, truth, tmp_path):
    """CVAT gives the name below images/."""
    cvat_masks(street_folder, truth)
    file = street_folder / "annotations.xml"
    for name in PICTURES:
        drive, _, frame = name.partition("_")
        (street_folder / "images" / f"{drive} ä").mkdir(exist_ok=True)
        (street_folder / "images" / name).rename(street_folder / "images" / f"{drive} ä" / frame)
        file.write_text(file.read_text().replace(f'"{name}"', f'"{drive} ä/{frame}"'))
    result = import_labels(street_folder, tmp_path / "data")
    assert set(result.drives) == {"north ä", "south ä"} and sum(result.pictures.values()) == 6


def test_label_studio_keeps_folders_and_drops_the_digits_of_an_upload(street_folder, truth, tmp_path):
    label_studio_polygons(street_folder, truth)
    file = street_folder / "project-7.json"
    tasks = json.loads(file.read_text())
    for number, (task, name) in enumerate(zip(tasks, PICTURES, strict=False)):
        uploaded = f"{0xabcdef00 + number:08x}-{name}"
        next(street_folder.rglob(name)).rename(street_folder / uploaded)
        task["data"]["image"] = f"/data/upload/3/{uploaded}"
    file.write_text(json.dumps(tasks))
    assert set(import_labels(street_folder, tmp_path / "data").drives) == {"north", "south"}


def test_a_picture_counts_once(street_folder, truth, tmp_path):
    coco(street_folder, "rle", truth)
    first = street_folder / "annotations" / "instances_default.json"
    (street_folder / "annotations" / "keypoints.json").write_bytes(first.read_bytes())
    result = import_labels(street_folder, tmp_path / "data")
    assert sum(result.pictures.values()) == 6 and len(result.left_out) == 6
    assert "has labels already" in result.left_out[0]


def test_labels_of_pictures_that_are_not_listed_are_told(street_folder, truth, tmp_path):
    coco(street_folder, "rle", truth)
    file = street_folder / "annotations" / "instances_default.json"
    whole = json.loads(file.read_text())
    del whole["images"][-1]
    file.write_text(json.dumps(whole))
    result = import_labels(street_folder, tmp_path / "data")
    assert "4 labels are of pictures that it does not list" in result.left_out[0]


@pytest.mark.parametrize("text", ["", '{"version": "5.4.1", "shapes": [{"label": "ro'])
def test_a_damaged_file_among_whole_ones_is_named(text, street_folder, truth, tmp_path):
    labelme(street_folder, truth)
    (street_folder / "north_0000.json").write_text(text)
    result = import_labels(street_folder, tmp_path / "data")
    assert sum(result.pictures.values()) == 5 and "north_0000.json is not whole JSON" in result.left_out[0]


def test_a_packed_export_is_told(street_folder, truth, tmp_path, capsys):
    cvat_masks(street_folder, truth)
    packed = shutil.make_archive(str(tmp_path / "export"), "zip", street_folder)
    assert main(["import", packed, "-o", str(tmp_path / "data")]) == 2
    assert "unpack it" in capsys.readouterr().err


def test_a_folder_that_is_there_stays(street_folder, truth, tmp_path):
    cvat_masks(street_folder, truth)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    with pytest.raises(LabelError, match="is there already"):
        import_labels(street_folder, tmp_path / "data")
    assert (tmp_path / "data" / "mine.txt").read_text() == "mine"


def test_it_imports_into_the_present_folder(street_folder, truth, tmp_path, monkeypatch):
    cvat_polygons(street_folder, truth)
    file, text = street_folder / "annotations.xml", (street_folder / "annotations.xml").read_text()
    file.write_text(text.replace('label="road"', 'label="Fahrbahn"'))
    (tmp_path / "yard").mkdir()
    monkeypatch.chdir(tmp_path / "yard")
    with pytest.raises(UnknownClasses) as caught:
        import_labels(street_folder, Path())
    assert caught.value.template == tmp_path / "yard.classes.yaml"
    file.write_text(text)
    import_labels(street_folder, Path())
    assert Dataset.load(".").name == "yard" and Path("dataset.yaml").is_file(), "the folder is the same one"
    assert not (tmp_path / "yard.partial").exists()


def test_cvat_s_task_is_the_drive_where_the_names_tell_none(street_folder, truth, tmp_path):
    cvat_masks(street_folder, truth)
    file = street_folder / "annotations.xml"
    file.write_text(file.read_text().replace("<image ", '<image task_id="7" '))
    assert set(import_labels(street_folder, tmp_path / "named").drives) == {"north", "south"}
    for number, name in enumerate(PICTURES):
        (street_folder / "images" / name).rename(street_folder / "images" / f"frame_{number:06d}.png")
        file.write_text(file.read_text().replace(f'"{name}"', f'"frame_{number:06d}.png"'))
    file.write_text(file.read_text().replace('task_id="7"', 'task_id="9"', 3))
    assert set(import_labels(street_folder, tmp_path / "data").drives) == {"task 7", "task 9"}


def test_one_drive_is_cut_once(street_folder, truth, tmp_path):
    cvat_masks(street_folder, truth)
    result = import_labels(street_folder, tmp_path / "data", val_share=0.3, drive_pattern="h_")
    assert result.pictures == Counter(train=4, val=2)
    assert "one drive" in result.notes[0]
    names = [pair.name for pair in Dataset.load(tmp_path / "data").pairs("val")]
    assert names == ["south_0001", "south_0002"]


@pytest.mark.parametrize(("name", "drive"), [
    ("0016E5_07959.jpg", "0016E5"), ("a/run_3_000120.png", "a/run_3"), ("images/000012.jpg", ""),
    ("aachen/aachen_000000_000019_leftImg8bit.png", "aachen/aachen_000000"), ("yard-12.jpeg", "yard"),
    ("2026-05-01-10-00-00_000007.jpg", "2026-05-01-10-00-00"), ("1620000000.123456.png", ""),
    ("front_1620000000123456789.jpg", "front"), ("front_1620000000_5.jpg", "front"), ("0000000012.png", ""),
    ("a/20260501_100001.jpg", "a/20260501"), ("2026-05-01T10:00:01.250.jpg", "2026-05-01"),
    ("VID_20260501_100001_000012.jpg", "VID_20260501_100001"),
])
def test_drive_of_a_name(name, drive):
    assert split.drive_of(name) == drive


def test_split_is_fixed_and_never_one_sided():
    drives = [f"drive_{i}" for i in range(40)]
    val = split.in_val(drives, 0.2)
    assert 2 <= len(val) <= 16
    assert split.in_val([*drives, "another"], 0.2) - {"another"} == val, "more drives move none"
    assert split.in_val(list(reversed(drives)), 0.2) == val
    for share in (0.001, 0.999):
        assert len(split.in_val(["a", "b"], share)) == 1
    assert split.in_val(["a", "b"], 0) == set() and split.in_val(["a"], 0.5) == set()


def test_label_studio_config_and_tasks_are_whole(tmp_path, truth):
    with LabelStudioWriter(tmp_path, TABLE, "/data/local-files/?d=images/", "colours") as writer:
        writer.add("a.png", truth)
        writer.add("b.png", truth)
    labels = {e.get("value") for e in ElementTree.parse(tmp_path / "label_config.xml").iter("Label")}
    assert labels == set(COLOURS)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [t["data"]["image"] for t in tasks] == [f"/data/local-files/?d=images/{n}.png" for n in "ab"]
    assert all(r["to_name"] == "image" for t in tasks for r in t["predictions"][0]["result"])
