"""`drive-seg segment`: label PNGs, masks and a picture, for any footage."""

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml
from bags import jpeg, raw, street, write_bag
from colours import paint_scene, read_facts

from drive_seg.cli.main import main
from drive_seg.core.classes import Group
from drive_seg.core.engine import EngineError
from drive_seg.sources.open import open_source
from drive_seg.sources.write import VideoWriter

SIZE = (180, 320)


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def segment(tmp_path, colour_network_path, capsys):
    """Run the command on a source; returns its exit code, what it printed as JSON, its errors and its folder."""
    def run(source, *options):
        code = main(["segment", str(source), "-o", str(tmp_path / "out"), "--network", str(colour_network_path),
                     "--engine", "openvino", "--json", *options])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err, tmp_path / "out"

    return run


def test_image(segment, tmp_path):
    cv2.imwrite(str(tmp_path / "street.png"), paint_scene(*SIZE))
    code, summary, err, out = segment(tmp_path / "street.png", "--confidence")
    assert (code, err, summary["frames"]) == (0, "", 1)
    labels, drivable = read(out / "labels/street.png"), read(out / "drivable/street.png")
    assert labels.shape == drivable.shape == SIZE
    assert labels[10, 10] == Group.BACKGROUND and labels[170, 160] == Group.ROAD and labels[170, 10] == Group.PAVEMENT
    assert labels[110, 190] == Group.OBSTACLE
    assert drivable[170, 160] == 255 and not drivable[labels != Group.ROAD].any()
    assert read(out / "classes/street.png").max() < 5
    assert read(out / "confidence/street.png").shape == SIZE
    picture = read(out / "overlay.png")
    assert picture.shape == (*SIZE, 3)
    assert picture[150, 160, 1] > picture[150, 160, 2], "drivable road is green"
    assert summary["label_share"]["road"] == pytest.approx((labels == Group.ROAD).mean(), abs=1e-3)
    assert summary["drivable_share"] == pytest.approx((drivable == 255).mean(), abs=1e-3)


def test_video(segment, tmp_path):
    with VideoWriter(tmp_path / "drive.mp4", 10.0) as writer:
        for i in range(5):
            writer.write(paint_scene(*SIZE), i * 100_000_000)
    code, summary, _, out = segment(tmp_path / "drive.mp4", "--duration", "0.3")
    assert code == 0
    assert summary["frames"] == 3
    assert sorted(p.name for p in (out / "labels").iterdir()) == ["000000.png", "000001.png", "000002.png"]
    overlay = open_source(out / "overlay.mp4")
    assert (overlay.count, overlay.rate) == (3, 10.0)
    assert not (out / "confidence").exists()


def test_bag_and_ego_mask(segment, tmp_path):
    ego = np.zeros((12, 20), np.uint8)
    ego[9:] = 255
    cv2.imwrite(str(tmp_path / "ego.png"), ego)
    code, _, _, out = segment(write_bag(tmp_path / "bag", 2, compressed=True), "--ego-mask", str(tmp_path / "ego.png"))
    drivable = read(out / "drivable/000001.png")
    assert code == 0
    assert drivable.shape == (120, 200)
    assert drivable.any() and not drivable[90:].any()


def unreadable(message):
    return b"\x00\x01\x00\x00 cut"


def of_a_wrong_step(message):
    message.step = 5
    return message


def no_picture(message):
    message.data = np.zeros(9, np.uint8)
    return message


FAULTS = [(raw, unreadable, "bytes in"), (raw, of_a_wrong_step, "step is 5"), (jpeg, unreadable, "bytes in"),
          (jpeg, no_picture, "is not an image of a known kind")]


@pytest.mark.parametrize(("make", "spoil", "why"), FAULTS)
def test_a_frame_that_is_no_image_costs_only_itself(segment, tmp_path, make, spoil, why):
    messages = [make(i, street(i)) for i in range(12)]
    messages[4], messages[7] = spoil(messages[4]), spoil(messages[7])
    bag = write_bag(tmp_path / "bag", compressed=make is jpeg, messages=messages)
    code, summary, err, out = segment(bag)
    assert (code, summary["frames"], summary["skipped"]) == (0, 10, 2)
    assert err.startswith(f"warning: {bag}: 2 of 12 frames could not be segmented, frame 000004: ")
    assert why in err and err.count("\n") == 1
    names = [f"{i:06d}.png" for i in range(12) if i not in (4, 7)]
    assert sorted(p.name for p in (out / "labels").iterdir()) == names


@pytest.mark.parametrize(("make", "spoil", "why"), FAULTS)
def test_only_frames_that_are_no_images_are_one_clear_error(segment, tmp_path, make, spoil, why):
    messages = [spoil(make(i, street(i))) for i in range(3)]
    code, _, err, _ = segment(write_bag(tmp_path / "bag", 3, compressed=make is jpeg, messages=messages))
    assert code == 2
    assert "none of its 3 frames could be segmented, frame 000000: " in err
    assert why in err and err.count("\n") == 1


@pytest.mark.parametrize("make", [raw, jpeg])
def test_frames_that_are_too_large_name_what_takes_them(segment, tmp_path, capsys, make):
    message = make(0, street(0))
    if make is jpeg:
        size = message.data.tobytes().index(b"\xff\xc0") + 5
        message.data[size : size + 4] = 0xFF  # its header claims 65535x65535 pixels
    else:
        message.height = message.width = 65535
    code, _, err, _ = segment(write_bag(tmp_path / "bag", 1, compressed=make is jpeg, messages=[message]))
    assert code == 2
    assert "more than 48000000: `drive-seg replay` takes larger ones with --max-image-pixels" in err
    assert "max_image_pixels" not in err
    with pytest.raises(SystemExit, match="0"):
        main(["replay", "--help"])
    assert "--max-image-pixels" in capsys.readouterr().out


def test_a_video_that_ends_early_gets_a_warning(segment, tmp_path):
    whole = tmp_path / "whole.mp4"
    rng = np.random.default_rng(0)
    with VideoWriter(whole, 10.0) as writer:
        for i in range(20):
            writer.write(rng.integers(0, 256, (*SIZE, 3), np.uint8), i * 100_000_000)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, summary, err, _ = segment(tmp_path / "cut.mp4")
    assert code == 0
    assert 0 < summary["frames"] < 18
    assert f"ended after {summary['frames']} of 20 frames" in err


def test_errors_are_one_line_and_a_code(segment, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, words in ((tmp_path / "nowhere.mp4", "there is no"), (tmp_path / "empty", "has no images")):
        code, _, err, _ = segment(source)
        assert code == 2
        assert words in err
        assert err.startswith("drive-seg segment: ") and err.count("\n") == 1


def test_a_damaged_image_of_a_folder_costs_only_itself(segment, tmp_path):
    data = cv2.imencode(".jpg", paint_scene(*SIZE))[1].tobytes()
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        (tmp_path / "pictures" / f"{i}.jpg").write_bytes(data if i != 1 else data[: len(data) // 2])
    code, summary, err, out = segment(tmp_path / "pictures")
    assert (code, summary["frames"], summary["skipped"]) == (0, 3, 1)
    assert "1 of 4 frames could not be segmented, frame 1: " in err and "cut short" in err
    assert sorted(p.name for p in (out / "labels").iterdir()) == ["0.png", "2.png", "3.png"]


def test_an_input_size_that_does_not_fit_the_strides_is_reported(tmp_path, capsys, monkeypatch, colour_network_path):
    def refuse(*_, **__):
        raise EngineError("Argument shapes are inconsistent")

    monkeypatch.setattr("drive_seg.pipeline.open_engine", refuse)
    shutil.copy(colour_network_path, tmp_path)
    facts = read_facts(colour_network_path)
    sidecar = tmp_path / colour_network_path.with_suffix(".yaml").name
    cv2.imwrite(str(tmp_path / "street.png"), paint_scene(*SIZE))
    command = ["segment", str(tmp_path / "street.png"), "-o", str(tmp_path / "out"), "--network",
               str(tmp_path / colour_network_path.name), "--engine", "openvino"]
    for size, hint in (((350, 500), True), ((352, 512), False)):
        sidecar.write_text(yaml.safe_dump(facts | {"input": dict(zip(("height", "width"), size, strict=True))}))
        assert main(command) == 2
        err = capsys.readouterr().err
        assert ("is 350x500: most networks need multiples of 32" in err) == hint
        assert "Argument shapes are inconsistent" in err


def test_a_file_system_error_amid_the_work_is_one_line(segment, tmp_path):
    cv2.imwrite(str(tmp_path / "street.png"), paint_scene(*SIZE))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels").write_text("")
    code, _, err, out = segment(tmp_path / "street.png")
    assert code == 2
    assert err == f"drive-seg segment: {out / 'labels'}: File exists\n"
