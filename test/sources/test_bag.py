"""Bags of every kind give the same frames; damaged and unfit ones give one clear error."""

import shutil

import numpy as np
import pytest
from bags import (
    DELAY_NS,
    IMAGE,
    INFO,
    JPEG,
    TYPES,
    cut,
    header,
    info,
    jpeg,
    raw,
    stamp,
    street,
    write_bag,
    write_ros1_bag,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode

from drive_seg.core.frame import FrameError
from drive_seg.sources.bag import Bag, BagError, BagSource
from drive_seg.sources.open import open_source


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / "drive")


@pytest.mark.parametrize("options", [
    {"storage": "mcap"},
    {"storage": "sqlite3"},
    {"storage": "mcap", "compression": CompressionMode.STORAGE},
    {"storage": "mcap", "compression": CompressionMode.FILE},
    {"storage": "sqlite3", "compression": CompressionMode.MESSAGE},
    {"storage": "sqlite3", "compression": CompressionMode.FILE},
], ids=lambda options: "-".join(str(getattr(v, "name", v)) for v in options.values()))
def test_every_storage_gives_the_recorded_frames(tmp_path, options):
    footage = open_source(write_bag(tmp_path / "drive", 5, **options))
    shots = list(footage)
    assert [s.stamp_ns for s in shots] == [stamp(i) + DELAY_NS for i in range(5)]
    assert all(np.array_equal(s.frame.bgr(), street(i)) for i, s in enumerate(shots))
    assert (footage.count, footage.rate) == (5, pytest.approx(10))
    assert (footage.camera.width, footage.camera.height, footage.camera.matrix[0]) == (200, 120, 150.0)
    assert len(list(footage)) == 5, "it can be read again"


def test_a_ros1_bag_gives_the_recorded_frames(tmp_path):
    shots = list(open_source(write_ros1_bag(tmp_path / "drive.bag")))
    assert [s.stamp_ns for s in shots] == [stamp(i) + DELAY_NS for i in range(5)]
    assert np.array_equal(shots[3].frame.bgr(), street(3))


def test_compressed_images_keep_their_bytes(tmp_path):
    footage = open_source(write_bag(tmp_path / "drive", 3, compressed=True))
    shot = next(iter(footage))
    assert (footage.compressed, shot.encoded_format, bytes(shot.encoded[:2])) == (True, "jpeg", b"\xff\xd8")
    assert np.abs(shot.frame.bgr().astype(int) - street(0)).mean() < 3


def test_a_file_inside_the_folder_is_the_same_bag(bag):
    assert len(list(BagSource(bag / "drive.mcap"))) == 12


def test_a_folder_without_metadata_is_read_by_its_one_file(bag):
    (bag / "metadata.yaml").unlink()
    assert len(list(open_source(bag))) == 12


def test_times_of_recording_and_stamps_are_told_apart(bag):
    with Bag(bag) as opened:
        images = list(opened.images(opened.image_topic()))
        assert [i.log_ns - i.stamp_ns for i in images] == [DELAY_NS] * 12
        assert images[0].frame_id == "camera_front"


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_images_at_given_times(tmp_path, storage):
    with Bag(write_bag(tmp_path / "drive", storage=storage)) as opened:
        wanted = [stamp(i) + DELAY_NS for i in (7, 2)]
        found = list(opened.images_at(opened.image_topic(), [*wanted, 5]))
        assert [i.stamp_ns for i in found] == [stamp(2), stamp(7)]
        assert np.array_equal(found[1].frame().bgr(), street(7))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_last_image(tmp_path, storage):
    with Bag(write_bag(tmp_path / "drive", storage=storage)) as opened:
        assert opened.last_image(opened.image_topic()).stamp_ns == stamp(11)


def _bag_with(path, topics):
    """topics: (name, type, message) with one message each."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for name, kind, message in topics:
            connection = writer.add_connection(name, kind, typestore=TYPES)
            writer.write(connection, stamp(0), TYPES.serialize_cdr(message, kind))
    return path


DEPTH = raw(0, np.zeros((8, 16), np.uint8), "16UC1")


@pytest.mark.parametrize(("topics", "chosen"), [
    # a depth image is not a picture
    ([("/depth/image", IMAGE, DEPTH), ("/rgb/image", IMAGE, raw(0, street(0)))], "/rgb/image"),
    # the camera goes before an image without camera_info
    ([("/debug", IMAGE, raw(0, street(0))), ("/cam/image", IMAGE, raw(0, street(0))),
      ("/cam/camera_info", INFO, info(0))], "/cam/image"),
    # one camera, raw and compressed
    ([("/cam/image/compressed", JPEG, jpeg(0, street(0))), ("/cam/image", IMAGE, raw(0, street(0)))], "/cam/image"),
], ids=["depth", "camera-info", "raw-first"])
def test_the_camera_is_found(tmp_path, topics, chosen):
    with Bag(_bag_with(tmp_path / "drive", topics)) as opened:
        assert opened.image_topic().name == chosen


def test_two_cameras_must_be_told_apart(tmp_path):
    path = _bag_with(tmp_path / "drive", [("/left/image", IMAGE, raw(0, street(0))),
                                          ("/right/image", IMAGE, raw(0, street(1)))])
    with pytest.raises(BagError, match="--topic, of /left/image, /right/image"):
        BagSource(path)
    assert np.array_equal(next(iter(BagSource(path, "/right/image"))).frame.bgr(), street(1))


@pytest.mark.parametrize(("topic", "message"), [
    ("/nope", "no topic /nope; images are on /camera/image_raw"),
    ("/camera/camera_info", "CameraInfo, not an image; images are on /camera/image_raw"),
])
def test_a_topic_that_does_not_fit_lists_those_that_do(bag, topic, message):
    with pytest.raises(BagError, match=message):
        BagSource(bag, topic)


@pytest.mark.parametrize(("topic", "words"), [(None, "has no camera images"), ("/camera/image_raw", "no messages")])
def test_a_camera_that_recorded_nothing_is_reported(tmp_path, topic, words):
    bag = write_bag(tmp_path / "drive", 0)
    with pytest.raises(BagError, match=f"{words}; nothing was recorded on /camera/image_raw: record again while"):
        BagSource(bag, topic)


def test_a_bag_without_images_says_what_it_has(tmp_path):
    path = _bag_with(tmp_path / "drive", [("/cam/camera_info", INFO, info(0))])
    with pytest.raises(BagError, match=r"no camera images; it has no images, only /cam/camera_info \(sensor_msgs"):
        BagSource(path)


def test_unknown_messages_beside_the_camera_do_not_matter(tmp_path):
    path = tmp_path / "drive"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        secret = writer.add_connection("/secret", "maker_msgs/msg/Secret", msgdef="no such syntax !!",
                                       rihs01="RIHS01_0")
        images = writer.add_connection("/image", IMAGE, typestore=TYPES)
        writer.write(secret, stamp(0), b"\x00\x01\x00\x00 whatever")
        writer.write(images, stamp(0), TYPES.serialize_cdr(raw(0, street(0)), IMAGE))
    assert len(list(BagSource(path))) == 1


def test_a_message_that_is_no_image_is_an_error_of_that_frame(tmp_path):
    broken = TYPES.types[JPEG](header(0), "jpeg", np.zeros(9, np.uint8))
    path = write_bag(tmp_path / "drive", 1, compressed=True, messages=[broken])
    shot = next(iter(BagSource(path, "/camera/image_raw/compressed")))
    with pytest.raises(FrameError):
        shot.frame  # noqa: B018


def test_a_camera_whose_first_message_is_no_image_is_found(tmp_path):
    broken = TYPES.types[JPEG](header(0), "jpeg", np.zeros(0, np.uint8))
    messages = [broken, broken, *(jpeg(i, street(i)) for i in (2, 3))]
    with Bag(write_bag(tmp_path / "drive", 4, compressed=True, messages=messages)) as opened:
        assert opened.image_topic().name == "/camera/image_raw/compressed"


@pytest.mark.parametrize(("message", "why"), [
    (raw(0, np.zeros((120, 200, 2), np.uint8), "mono16"), "encoding 'mono16' is not supported"),
    (b"", "0 bytes in .* are not a sensor_msgs/msg/Image"),
], ids=["mono16", "nothing"])
def test_the_only_camera_is_taken_so_that_its_frames_say_what_is_wrong(tmp_path, message, why):
    with Bag(write_bag(tmp_path / "drive", 2, messages=[message] * 2)) as opened:
        for image in opened.images(opened.image_topic()):
            with pytest.raises(FrameError, match=why):
                image.frame()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("data", [b"", b"\x00\x01\x00\x00 cut"], ids=["empty", "cut"])
def test_a_message_that_can_t_be_read_costs_only_its_frame(tmp_path, compressed, data):
    make = jpeg if compressed else raw
    messages = [make(i, street(i)) for i in range(4)]
    messages[1] = data
    path = write_bag(tmp_path / "drive", 4, compressed=compressed, messages=messages)
    with Bag(path) as opened:
        images = list(opened.images(opened.image_topic()))
    assert [i.stamp_ns for i in images] == [stamp(0), 0, stamp(2), stamp(3)]
    assert [i.index for i in images] == [0, 1, 2, 3]
    with pytest.raises(FrameError, match="are not a sensor_msgs/msg"):
        images[1].frame()
    shots = list(BagSource(path))
    assert [s.stamp_ns for s in shots] == [stamp(i) + DELAY_NS for i in range(4)]
    with pytest.raises(FrameError):
        shots[1].frame  # noqa: B018


def test_a_camera_info_that_can_t_be_read_is_passed_over(tmp_path):
    path = write_bag(tmp_path / "drive", 3, make_info=lambda number, *size: info(number, *size) if number else b"")
    assert BagSource(path).camera.width == 200


@pytest.mark.parametrize(("storage", "fix"), [("mcap", "mcap recover"), ("sqlite3", "recover")])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.6, 0.999])
def test_a_bag_that_is_cut_short_is_one_clear_error(tmp_path, storage, fix, share):
    whole = write_bag(tmp_path / "drive", storage=storage)
    file = next(p for p in whole.iterdir() if p.suffix in (".mcap", ".db3"))
    short = cut(file, tmp_path / f"short{file.suffix}", share)
    with pytest.raises(BagError, match="can't be read: ") as error:
        list(BagSource(short))
    assert "\n" not in str(error.value)
    if share == 0.6:
        assert fix in str(error.value)


def test_an_mcap_without_index_is_read(tmp_path):
    whole = (write_bag(tmp_path / "drive") / "drive.mcap").read_bytes()
    # Everything up to the chunk indices, then a footer that says there is no summary.
    end = whole.index(b"\x0f\x04\x00\x00\x00\x00\x00\x00\x00")
    footer = b"\x02" + (20).to_bytes(8, "little") + bytes(20)
    path = tmp_path / "unindexed.mcap"
    path.write_bytes(whole[: end + 13] + footer + whole[-8:])
    with Bag(path) as opened:
        topic = opened.image_topic()
        assert [i.stamp_ns for i in opened.images(topic)] == [stamp(i) for i in range(12)]
        assert [i.stamp_ns for i in opened.images_at(topic, [stamp(4) + DELAY_NS])] == [stamp(4)]
        assert opened.last_image(topic) is None, "it would take reading all of it"


@pytest.mark.parametrize("name", ["notes.txt", "empty"])
def test_what_is_no_bag_is_reported(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name == "empty" else path.write_text("hello")
    with pytest.raises(BagError, match="not a bag"):
        Bag(path)


def test_a_bag_that_lost_a_file_is_reported(bag, tmp_path):
    shutil.move(bag / "drive.mcap", tmp_path / "moved.mcap")
    with pytest.raises(BagError, match="misses drive.mcap, which its metadata.yaml names; nothing else is there"):
        Bag(bag)
