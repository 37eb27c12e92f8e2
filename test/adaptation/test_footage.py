"""Is footage fit to adapt to? Said with numbers, before any training, without torch."""

import cv2
import numpy as np
import pytest
from colours import paint_scene, rgb

from drive_seg.adaptation import footage as module
from drive_seg.adaptation.flow import follow
from drive_seg.adaptation.footage import Footage, FootageError, collect
from drive_seg.core.segmenter import Segmenter
from drive_seg.labelling.pick import name_drives
from drive_seg.pipeline import Pipeline
from drive_seg.settings import Settings
from drive_seg.sources.clip import CLIPS
from drive_seg.sources.open import open_source
from drive_seg.sources.write import VideoWriter

SIZE = (96, 160)


@pytest.fixture(scope="module")
def segmenter(colour_engine, colour_network):
    return Segmenter(colour_engine, colour_network.table)


def turning(i):
    """A street that turns: another view each time."""
    return np.ascontiguousarray(np.roll(paint_scene(*SIZE), 7 * i, axis=1))


def black(i):
    return np.zeros((*SIZE, 3), np.uint8)


def sky(i):
    image = np.full((*SIZE, 3), rgb("sky")[::-1], np.uint8)
    image[10 + i % 40:20 + i % 40, i % 100:i % 100 + 50] = rgb("tree")[::-1]
    return image


def video(path, scene, count, rate=5.0):
    with VideoWriter(path, rate, quality=8) as writer:
        for i in range(count):
            writer.write(scene(i), round(i * 1e9 / rate))
    return path


def look(path, segmenter, folder, **options):
    return collect(name_drives([open_source(path)]), segmenter, folder, (96, 160), **options)


def test_a_good_drive(tmp_path, segmenter):
    footage = look(video(tmp_path / "yard.mp4", turning, 80), segmenter, tmp_path / "kept")
    assert footage.problems() == []
    assert (footage.seen, footage.unreadable, footage.blank) == (80, 0, 0)
    assert len(footage.training) == 64 and len(footage.held_back) == 16
    last = max(int(s.name.rpartition("_")[2]) for s in footage.training)
    assert all(int(s.name.rpartition("_")[2]) > last for s in footage.held_back), "the end is held back"
    assert footage.seconds == pytest.approx(15.8, abs=0.1) and footage.road_ahead > 0.9
    still = footage.training[3]
    assert still.follows and footage.read(still).shape == (*SIZE, 3)
    one, following = footage.read(still).astype(int), footage.read(still, True).astype(int)
    shifted = np.roll(one, 7, axis=1)
    assert np.abs(following - shifted).mean() < np.abs(following - one).mean(), "the next frame, not the same one"
    assert Footage.load(tmp_path / "kept") == footage
    assert "64 to train on, 16 held back" in "\n".join(footage.lines())


@pytest.mark.parametrize(("scene", "count", "words"), [
    (turning, 30, ["too short: 30 usable frames, at least 60"]),
    (lambda i: paint_scene(*SIZE), 80, ["too uniform: 1 frames", "parked car"]),
    (black, 80, ["broken: of 80 frames 0 are not images and 80 show nothing (100%"]),
    (sky, 80, ["not a road: the network sees road ahead in 0% of the frames"]),
])
def test_what_is_wrong_is_said_with_numbers(scene, count, words, tmp_path, segmenter):
    footage = look(video(tmp_path / "drive.mp4", scene, count), segmenter, tmp_path / "kept")
    with pytest.raises(FootageError) as caught:
        footage.check()
    for wanted in words:
        assert wanted in str(caught.value)
    assert "--anyway" in caught.value.fix


@pytest.mark.parametrize("fine", [True, False], ids=["white noise", "coloured blocks"])
def test_noise_is_no_road_for_the_network_that_ships(fine):
    rng = np.random.default_rng(0)
    with Pipeline.open(Settings(engine="openvino", input_height=192, input_width=256)) as pipeline:
        for _ in range(4):
            image = rng.integers(0, 255, (360, 480, 3) if fine else (6, 8, 3), np.uint8)
            image = cv2.resize(image, (480, 360), interpolation=cv2.INTER_NEAREST)
            assert not module._shows_road(pipeline.segment(image))


def test_only_a_folder_that_is_ours_is_emptied(tmp_path, segmenter):
    drive, folder = video(tmp_path / "drive.mp4", turning, 3), tmp_path / "kept"
    folder.mkdir()
    look(drive, segmenter, folder)
    (folder / "footage.json").unlink()  # as after a kill
    (folder / "left.jpg").touch()
    look(drive, segmenter, folder)
    assert not (folder / "left.jpg").exists()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "holiday.mp4").touch()
    with pytest.raises(FootageError, match="files that no adaptation made"):
        look(drive, segmenter, theirs)
    assert [path.name for path in theirs.iterdir()] == ["holiday.mp4"]


def test_seconds_count_too(tmp_path, segmenter):
    footage = look(video(tmp_path / "fast.mp4", turning, 90, rate=30.0), segmenter, tmp_path / "kept")
    assert [p for p in footage.problems() if p.startswith("too short: 3.0 s")]


def test_damaged_pictures_are_counted(tmp_path, segmenter):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(70):
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), turning(i))
    for i in range(0, 70, 4):
        data = (folder / f"{i:03d}.jpg").read_bytes()
        (folder / f"{i:03d}.jpg").write_bytes(data[: len(data) // 2])
    footage = look(folder, segmenter, tmp_path / "kept")
    assert footage.unreadable == 18 and footage.seconds is None
    assert any("18 are not images" in p and "(26%" in p for p in footage.problems())
    assert "000" in footage.first_fault


@pytest.mark.parametrize(("of_one_scene", "of_others"), [(5, 15), (15, 5)])
def test_photographs_of_which_a_few_look_alike_are_no_drive(of_one_scene, of_others, clips, drive, tmp_path,
                                                            segmenter):
    pictures = drive[0:4 * of_one_scene:4]
    for i in range(of_others):
        clip = sorted(set(CLIPS) - {"bridge"})[i % 5]
        video = cv2.VideoCapture(str(clips / CLIPS[clip].file))
        video.set(cv2.CAP_PROP_POS_FRAMES, 40 * (i // 5))
        pictures.append(video.read()[1])
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(pictures):
        small = cv2.resize(picture, SIZE[::-1], interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / f"pictures/{i:02d}.png"), small)
    footage = look(tmp_path / "pictures", segmenter, tmp_path / "kept")
    follows = [still.follows for still in footage.stills]
    assert all(follows[:14]) if of_one_scene == 15 else not any(follows)
    assert len(list((tmp_path / "kept").glob("*_next.jpg"))) == sum(follows)


@pytest.mark.parametrize("counted", [True, False])
def test_what_is_kept_is_bounded(counted, tmp_path, segmenter):
    drive = name_drives([open_source(video(tmp_path / "long.mp4", turning, 90))])
    if not counted:
        drive[0].source.count = None
    footage = collect(drive, segmenter, tmp_path / "kept", (96, 160), most=20)
    assert 10 <= len(footage.stills) <= 40
    files = {p.stem for p in (tmp_path / "kept").glob("*.jpg")}
    assert files == {s.name for s in footage.stills} | {f"{s.name}_next" for s in footage.stills if s.follows}


def test_an_index_that_is_lost_is_an_error(tmp_path):
    with pytest.raises(FootageError, match=module.INDEX):
        Footage.load(tmp_path)


def test_points_are_followed_in_a_scene_and_not_from_one_to_another():
    rng = np.random.default_rng(0)
    one, other = (cv2.resize(rng.integers(0, 255, (24, 32, 3), np.uint8), (256, 192), interpolation=cv2.INTER_CUBIC)
                  for _ in range(2))
    x, _, known = follow(one, np.roll(one, 6, axis=1), (96, 128))
    assert known.mean() > 0.8 and np.median((x - np.arange(128))[known]) == pytest.approx(3, abs=0.3)
    assert follow(one, other, (96, 128))[2].mean() < 0.3
