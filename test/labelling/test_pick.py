"""`drive-seg pick`, and the whole loop: pick, label as a tool would save it, import, evaluate."""

import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bags import write_bag
from colours import COLOURS, paint_scene, rgb

from drive_seg.cli.main import main
from drive_seg.core.classes import UNKNOWN
from drive_seg.evaluation.dataset import Dataset
from drive_seg.image_file import read_pixels
from drive_seg.labelling.formats.label_studio import TASKS
from drive_seg.network import Network
from drive_seg.sources.write import VideoWriter

SIZE = (96, 160)


def scene(shift: int, *, mist: bool = False) -> np.ndarray:
    """A street that turns: its columns rolled. mist: colours half way between road and pavement, where the network is
    in doubt."""
    image = np.roll(paint_scene(*SIZE), shift, axis=1)
    if mist:
        half = [(a + b) // 2 for a, b in zip(rgb("road"), rgb("pavement"), strict=True)]
        image[60:90] = half[::-1]
    return np.ascontiguousarray(image)


@pytest.fixture
def video(tmp_path):
    """Six seconds at 10 Hz: a parked second, a turn, and one moment of mist."""
    with VideoWriter(tmp_path / "yard drive.mp4", 10.0, quality=5) as writer:
        for i in range(60):
            writer.write(scene(0 if i < 20 else 3 * (i - 20), mist=i == 45), i * 100_000_000)
    return tmp_path / "yard drive.mp4"


def run(*arguments, network):
    return main(["pick", *map(str, arguments), "--network", str(network), "--engine", "openvino"])


def test_pick(video, tmp_path, colour_network_path, capsys):
    out = tmp_path / "picked"
    assert run(video, "-o", out, "-n", 6, network=colour_network_path) == 0
    said = capsys.readouterr().out
    facts = json.loads((out / "pick.json").read_text())
    frames = facts["frames"]
    assert facts["seen"] == 60 and f"{len(frames)} of 60 frames picked" in said
    assert frames[0]["frame"] == "000045", "the moment of doubt is first"
    assert "low confidence" in frames[0]["reasons"][0]
    assert 3 <= len(frames) <= 6
    stamps = sorted(f["stamp_ns"] for f in frames)
    assert min(np.diff(stamps)) >= 10**9
    assert sum(f["stamp_ns"] < 1.9e9 for f in frames) <= 1, "the parked second is one picture"
    names = [f["picture"] for f in frames]
    assert sorted(p.name for p in (out / "images").iterdir()) == sorted(names)
    assert all(re.fullmatch(r"yard_drive_\d{6}\.png", name) for name in names)
    assert cv2.imread(str(out / "contact_sheet.jpg")) is not None
    assert {p.name for p in out.iterdir()} == {"annotations.xml", "classes.yaml", "coco", "contact_sheet.jpg", "images",
                                               "label_studio", "pick.json"}
    assert Network.load(colour_network_path).table.to_dicts() == yaml.safe_load(
        (out / "classes.yaml").read_text())["classes"]


def test_it_picks_into_the_present_folder(video, tmp_path, monkeypatch, colour_network_path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run(video, "-o", ".", "-n", 2, "--every", 6, network=colour_network_path) == 0
    assert Path("pick.json").is_file(), "the folder is the same one"
    assert {path.name for path in tmp_path.iterdir()} == {"here", video.name}


def test_recorded_bytes_are_kept_and_several_inputs_named(tmp_path, colour_network_path):
    bag = write_bag(tmp_path / "bag", 3, compressed=True)
    shutil.copytree(bag, tmp_path / "other" / "bag")
    out = tmp_path / "picked"
    assert run(bag, tmp_path / "other" / "bag", "-o", out, "-n", 2, "--near", 0, "--apart", 0,
               network=colour_network_path) == 0
    frames = json.loads((out / "pick.json").read_text())["frames"]
    assert {f["drive"] for f in frames} <= {"bag", "bag_2"}
    assert all(f["picture"].endswith(".jpg") for f in frames)


def cvat(out, export):
    """As CVAT saves the task: the draft with its own ids and sources, pictures not included."""
    export.mkdir()
    text = (out / "annotations.xml").read_text().replace('source="auto"', 'source="semi-auto" group_id="1"')
    (export / "annotations.xml").write_text(text.replace("<meta>", "<meta>\n<dumped>2026-05-01</dumped>\n"))
    return export, ["--images", str(out / "images")]


def label_studio(out, export):
    """As Label Studio saves the project: predictions accepted as annotations, uploads renamed."""
    export.mkdir()
    tasks = json.loads((out / "label_studio" / TASKS).read_text())
    for i, task in enumerate(tasks):
        name = task["data"]["image"].rpartition("/")[2]
        task |= {"id": i, "data": {"image": f"/data/upload/1/{i:08x}-{name}"}, "file_upload": f"{i:08x}-{name}",
                 "annotations": [{"id": i, "was_cancelled": False, "result": task["predictions"][0]["result"]}],
                 "predictions": []}
    (export / "project-1-at-2026-05-01.json").write_text(json.dumps(tasks))
    return export, ["--images", str(out / "images")]


def coco(out, export):
    return out / "coco", ["--images", str(out / "images")]


def as_it_is(out, export):
    return out, ["--format", "cvat"]


@pytest.mark.parametrize("tool", [cvat, label_studio, coco, as_it_is])
def test_pick_label_import_evaluate(tool, video, tmp_path, colour_network_path, capsys):
    out, data = tmp_path / "picked", tmp_path / "data"
    assert run(video, "-o", out, "-n", 4, network=colour_network_path) == 0
    labels, options = tool(out, tmp_path / "export")
    assert main(["import", str(labels), "-o", str(data), "--val", "0.5", *options]) == 0
    dataset = Dataset.load(data)
    pairs = [pair for part in dataset.splits for pair in dataset.pairs(part)]
    assert len(pairs) == len(list((out / "images").iterdir()))
    names = {c.id: c.name for c in dataset.classes}
    assert set(names.values()) <= set(COLOURS)
    for pair in pairs:
        image, ids = pair.read()
        assert (image == read_pixels(out / "images" / pair.image.name, cv2.IMREAD_COLOR)).all()
        assert (ids != UNKNOWN).mean() > 0.9
    capsys.readouterr()
    assert main(["evaluate", "--data", str(data), "--split", "val", "--network", str(colour_network_path), "--engine",
                 "openvino", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pixel_accuracy"] == 1.0, "the draft, accepted, is what the network says"


def test_what_is_not_a_drive_is_one_clear_error(tmp_path, colour_network_path, capsys):
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((*SIZE, 3), np.uint8))
    assert run(tmp_path / "black.png", "-o", tmp_path / "picked", network=colour_network_path) == 2
    assert "show nothing" in capsys.readouterr().err
    assert not (tmp_path / "picked").exists()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    cv2.imwrite(str(tmp_path / "street.png"), paint_scene(*SIZE))
    assert run(tmp_path / "street.png", "-o", tmp_path / "there", network=colour_network_path) == 2
    assert "is there already" in capsys.readouterr().err


def test_frames_of_drives_whose_names_run_together_are_two(tmp_path, colour_network_path):
    for folder, name, shift in (("a", "b_1", 0), ("a_b", "1", 80)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / f"{name}.png"), scene(shift))
    assert run(tmp_path / "a", tmp_path / "a_b", "-o", tmp_path / "picked", "-n", 2, network=colour_network_path) == 0
    frames = json.loads((tmp_path / "picked" / "pick.json").read_text())["frames"]
    assert len({frame["picture"] for frame in frames}) == 2
    for frame in frames:
        shown = cv2.imread(str(tmp_path / "picked" / "images" / frame["picture"]))
        assert (shown == scene(0 if frame["drive"] == "a" else 80)).all()


@pytest.mark.parametrize("name", ["pick", "import", "compare"])
def test_no_torch(name):
    import subprocess

    code = ("import sys; sys.modules['torch'] = None; from drive_seg.cli.main import main\n"
            f"try: main([{name!r}, '--help'])\nexcept SystemExit as e: sys.exit(e.code)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
