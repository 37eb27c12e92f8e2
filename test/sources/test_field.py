"""Bags as recorders, merge tools and people leave them: read, or one true sentence."""

import io
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from backports import zstd
from bags import DELAY_NS, IMAGE, JPEG, TYPES, header, jpeg, raw, stamp, street, write_bag, write_ros1_bag
from rosbags.rosbag2.enums import CompressionMode

from drive_seg.core.frame import FrameError
from drive_seg.sources.bag import Bag, BagError, BagSource
from drive_seg.sources.open import open_source

FIELD = Path(__file__).parents[2].resolve().parent / "shared" / "field"
FRAMES = 6


@pytest.fixture
def bag(tmp_path) -> Path:
    return write_bag(tmp_path / "drive", FRAMES, compressed=True)


def assert_whole(path: Path, frames: int = FRAMES) -> None:
    """Everything of `write_bag` is there, by every way in."""
    shots = list(open_source(path))
    assert [shot.stamp_ns for shot in shots] == [stamp(i) + DELAY_NS for i in range(frames)]
    assert {shot.frame.size for shot in shots} == {(120, 200)}
    assert BagSource(path).camera.width == 200
    with Bag(path) as opened:
        topic = opened.image_topic()
        assert topic.count == frames
        times = [image.log_ns for image in opened.images(topic)]
        assert [image.log_ns for image in opened.images_at(topic, times[2:4])] == times[2:4]
        assert (opened.start_ns, opened.end_ns) == (times[0], times[-1])


def edit_metadata(bag: Path, **changes) -> None:
    file = bag / "metadata.yaml"
    document = yaml.safe_load(file.read_text())
    document["rosbag2_bagfile_information"].update(changes)
    file.write_text(yaml.safe_dump(document))


class Mcap:
    """A small writer of MCAP files that leaves out what is asked for. topics: {name: (type, schema encoding)}."""

    def __init__(self, topics: dict[str, tuple[str, str]], profile: str = "ros2") -> None:
        self.topics, self.profile = topics, profile
        self.chunks: list[list[tuple[str, int, bytes]]] = []

    def write(self, path: Path, *, index: bool = True, channels: bool = True, crc: bool = True,
              damage: int | None = None, message_encoding: str = "cdr") -> Path:
        """damage: number of a chunk of which a byte is changed."""
        out = io.BytesIO()
        out.write(b"\x89MCAP0\r\n" + _record(1, _text(self.profile) + _text("test")))
        numbers = {name: number for number, name in enumerate(self.topics, 1)}
        schemas = b"".join(_record(3, struct.pack("<H", n) + _text(self.topics[t][0]) + _text(self.topics[t][1])
                                   + _text("")) for t, n in numbers.items())
        described = b"".join(_record(4, struct.pack("<HH", n, n) + _text(t) + _text(message_encoding)
                                     + struct.pack("<I", 0)) for t, n in numbers.items())
        infos, counts = b"", dict.fromkeys(numbers.values(), 0)
        for number, messages in enumerate(self.chunks):
            body, index_of = schemas + described, {}
            for topic, when, data in messages:
                index_of.setdefault(numbers[topic], []).append((when, len(body)))
                counts[numbers[topic]] += 1
                body += _record(5, struct.pack("<HIQQ", numbers[topic], 0, when, when) + data)
            first, last = messages[0][1], messages[-1][1]
            checksum = zlib.crc32(body) if crc else 0
            if number == damage:
                body = body[:-5] + bytes([body[-5] ^ 1]) + body[-4:]
            start = out.tell()
            out.write(_record(6, struct.pack("<QQQI", first, last, len(body), checksum) + _text("")
                              + struct.pack("<Q", len(body)) + body))
            length, offsets = out.tell() - start, b""
            for channel, places in index_of.items() if index else ():
                offsets += struct.pack("<HQ", channel, out.tell())
                out.write(_record(7, struct.pack("<HI", channel, 16 * len(places))
                                  + b"".join(struct.pack("<QQ", *place) for place in places)))
            infos += _record(8, struct.pack("<QQQQI", first, last, start, length, len(offsets)) + offsets
                             + struct.pack("<Q", out.tell() - start - length) + _text("")
                             + struct.pack("<QQ", len(body), len(body)))
        out.write(_record(15, bytes(4)))
        summary = out.tell()
        times = [when for messages in self.chunks for _, when, _ in messages]
        statistics = struct.pack("<QHIIIIQQI", len(times), len(numbers), len(numbers), 0, 0, len(self.chunks),
                                 min(times), max(times), 10 * len(counts))
        statistics += b"".join(struct.pack("<HQ", *count) for count in counts.items())
        out.write(schemas + (described if channels else b"") + infos + _record(11, statistics))
        out.write(_record(2, struct.pack("<QQI", summary, 0, 0)) + b"\x89MCAP0\r\n")
        path.write_bytes(out.getvalue())
        return path


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(body)) + body


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


@pytest.fixture
def mcap() -> Mcap:
    from bags import INFO, info

    made = Mcap({"/camera/image_raw/compressed": (JPEG, "ros2msg"), "/camera/camera_info": (INFO, "ros2msg")})
    for number in range(FRAMES):
        when = stamp(number) + DELAY_NS
        made.chunks.append([("/camera/camera_info", when, TYPES.serialize_cdr(info(number), INFO)),
                            ("/camera/image_raw/compressed", when,
                             TYPES.serialize_cdr(jpeg(number, street(number)), JPEG))])
    return made


@pytest.mark.parametrize("lacks", ["nothing", "index", "channels", "both", "crc"])
@pytest.mark.parametrize("profile", ["ros2", "", "merged by a tool"])
def test_an_mcap_that_lacks_part_of_its_index_is_read(mcap, tmp_path, lacks, profile):
    mcap.profile = profile
    assert_whole(mcap.write(tmp_path / "drive.mcap", index=lacks not in ("index", "both"),
                            channels=lacks not in ("channels", "both"), crc=lacks != "crc"))


@pytest.mark.parametrize("index", [True, False])
def test_a_damaged_chunk_is_not_read_as_if_whole(mcap, tmp_path, index):
    path = mcap.write(tmp_path / "drive.mcap", index=index, damage=3)
    with pytest.raises(BagError, match="hunk checksum mismatch: part of the file is damaged; `mcap recover`"):
        list(BagSource(path))


def test_ros_1_messages_in_an_mcap_are_named(mcap, tmp_path):
    for profile, encoding, words in (("ros1", "ros1msg", "messages of ROS 1 in an MCAP file: use the .bag"),
                                     ("", "ros1msg", "described in 'ros1msg', which is not ROS 2's"),
                                     ("", "jsonschema", "described in 'jsonschema', which is not ROS 2's")):
        mcap.profile = profile
        mcap.topics = {name: (kind, encoding) for name, (kind, _) in mcap.topics.items()}
        with pytest.raises(BagError, match=words):
            Bag(mcap.write(tmp_path / "drive.mcap"))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_zstd_is_read_without_metadata(tmp_path, storage, mode):
    bag = write_bag(tmp_path / "drive", FRAMES, compressed=True, storage=storage, compression=mode)
    assert_whole(bag)
    (bag / "metadata.yaml").unlink()
    assert_whole(bag)
    (file,) = bag.iterdir()
    assert (file.suffix == ".zstd") == (mode == CompressionMode.FILE)
    assert_whole(file)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_metadata_may_be_wrong_about_compression(tmp_path, storage):
    bag = write_bag(tmp_path / "drive", FRAMES, compressed=True, storage=storage, compression=CompressionMode.FILE)
    (packed,) = bag.glob("*.zstd")
    edit_metadata(bag, compression_mode="", compression_format="")
    assert_whole(bag)
    packed.with_suffix("").write_bytes(zstd.decompress(packed.read_bytes()))  # `unzstd`, as people do
    packed.unlink()
    edit_metadata(bag, compression_mode="FILE", compression_format="zstd")
    assert_whole(bag)
    edit_metadata(bag, compression_mode="MESSAGE", compression_format="zstd",
                  relative_file_paths=[packed.with_suffix("").name])
    assert_whole(bag)


def test_a_zstd_file_that_is_damaged_is_reported(tmp_path):
    bag = write_bag(tmp_path / "drive", FRAMES, compression=CompressionMode.FILE)
    (packed,) = bag.glob("*.zstd")
    short = tmp_path / "short.mcap.zstd"
    short.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    with pytest.raises(BagError, match="short.mcap.zstd can't be decompressed .*: copy it again"):
        Bag(short)


def test_a_compressed_message_that_is_damaged_is_an_error_of_its_frame(tmp_path):
    whole = zstd.compress(TYPES.serialize_cdr(raw(0, street(0)), IMAGE))
    bag = write_bag(tmp_path / "drive", 3, messages=[whole, whole[:-9], whole])
    shots = list(BagSource(bag))
    assert shots[0].frame.size == shots[2].frame.size == (120, 200)
    with pytest.raises(FrameError, match="not a sensor_msgs/msg/Image"):
        shots[1].frame  # noqa: B018


@pytest.mark.parametrize("metadata", [True, False])
def test_messages_come_decompressed(tmp_path, metadata):
    bag = write_bag(tmp_path / "drive", 2, storage="sqlite3", compression=CompressionMode.MESSAGE)
    if not metadata:
        (bag / "metadata.yaml").unlink()
    with Bag(bag) as opened:
        datas = [bytes(data) for topic, _, data in opened.messages() if topic.type == IMAGE]
    assert datas == [bytes(TYPES.serialize_cdr(raw(i, street(i)), IMAGE)) for i in range(2)]


def test_a_stamp_that_does_not_go_on_becomes_that_of_the_recording():
    from drive_seg.play.bag_player import header_stamp_ns, later_than

    data = bytes(TYPES.serialize_cdr(jpeg(3, street(3)), JPEG))
    assert later_than(data, stamp(3) - 1, 5) == data
    changed = later_than(data, stamp(3), stamp(4))
    assert header_stamp_ns(changed) == stamp(4)
    assert TYPES.deserialize_cdr(changed, JPEG).data.tobytes() == TYPES.deserialize_cdr(data, JPEG).data.tobytes()
    assert header_stamp_ns(later_than(data, stamp(9), stamp(4))) == stamp(9) + 1


@pytest.mark.parametrize("identifier", ["", "rosbag2_storage", None])
def test_a_storage_that_metadata_does_not_name_goes_by_the_suffix(bag, identifier):
    edit_metadata(bag, storage_identifier=identifier)
    assert_whole(bag)


def test_metadata_after_a_reindex_may_name_no_qos_and_no_format(bag):
    document = yaml.safe_load((bag / "metadata.yaml").read_text())
    for topic in document["rosbag2_bagfile_information"]["topics_with_message_count"]:
        topic["topic_metadata"].update(offered_qos_profiles="", serialization_format="")
    (bag / "metadata.yaml").write_text(yaml.safe_dump(document))
    assert_whole(bag)


def test_a_renamed_file_is_read(bag):
    (bag / "drive.mcap").rename(bag / "monday.mcap")
    assert_whole(bag)


def test_files_that_do_not_fit_the_metadata_are_both_named(bag):
    (bag / "drive.mcap").rename(bag / "monday.mcap")
    shutil.copy(bag / "monday.mcap", bag / "tuesday.mcap")
    with pytest.raises(BagError, match="misses drive.mcap, .* there is monday.mcap, tuesday.mcap: bring the missing"):
        Bag(bag)


@pytest.mark.parametrize("text", ["", "nonsense: [", "\0", "- a list", "rosbag2_bagfile_information: 3"])
def test_metadata_that_a_killed_recorder_left_is_passed_over(bag, text):
    (bag / "metadata.yaml").write_text(text)
    assert_whole(bag)


def test_metadata_that_lists_no_file_takes_those_that_are_there(bag):
    edit_metadata(bag, relative_file_paths=[])
    assert_whole(bag)


def test_a_folder_with_one_stray_ros_1_bag_is_that_bag(tmp_path):
    write_ros1_bag(tmp_path / "drive.bag", FRAMES)
    (tmp_path / "notes.txt").write_text("a drive")
    assert len(list(open_source(tmp_path))) == FRAMES
    write_ros1_bag(tmp_path / "other.bag", FRAMES)
    with pytest.raises(BagError, match="2 bag files: name one"):
        open_source(tmp_path)


def test_images_beside_a_bag_are_a_folder_of_images(tmp_path, bag):
    from cv2 import imwrite

    for number in range(2):
        imwrite(str(tmp_path / f"{number}.png"), street(number))
    shutil.move(bag / "drive.mcap", tmp_path)
    assert len(list(open_source(tmp_path))) == 2


def test_a_ros_1_bag_without_index_is_reported_its_fix(tmp_path):
    path = write_ros1_bag(tmp_path / "drive.bag", FRAMES)
    data = path.read_bytes()
    field = data.index(b"index_pos=") + len("index_pos=")
    path.write_bytes(data[:field] + bytes(8) + data[field + 8 :])
    with pytest.raises(BagError, match="not indexed.*`rosbag reindex`"):
        Bag(path)


STAMPS = {
    "boot, then UTC": lambda i: (100 + i / 10) * 1e9 if i < 3 else 1.7e18 + i * 1e8,
    "7 h back": lambda i: 1.7e18 + i * 1e8 - (i >= 3) * 7 * 3600e9,
    "constant": lambda i: 1.7e18, "zero": lambda i: 0, "backwards": lambda i: 1.7e18 - i * 1e8,
    "huge": lambda i: (2**31 - 1) * 1e9,
}


@pytest.mark.parametrize("stamps", STAMPS)
def test_time_is_that_of_recording_whatever_the_headers_say(tmp_path, stamps):
    messages = []
    for number in range(FRAMES):
        message = jpeg(number, street(number))
        seconds, nanoseconds = divmod(int(STAMPS[stamps](number)), 10**9)
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
        messages.append(message)
    bag = write_bag(tmp_path / "drive", FRAMES, compressed=True, messages=messages)
    assert_whole(bag)
    assert len(list(open_source(bag, duration=0.35))) == 4


def test_a_camera_info_without_a_size_is_not_calibrated(tmp_path):
    from bags import info

    assert BagSource(write_bag(tmp_path / "a", 2)).camera is not None
    assert BagSource(write_bag(tmp_path / "b", 2, make_info=lambda number, *size: info(number, 0, 0))).camera is None


@pytest.mark.parametrize("name", sorted(p.name for p in FIELD.glob("*") if p.name != "README.md") or [
    pytest.param("", marks=pytest.mark.skip(reason=f"there is no {FIELD}"))])
def test_recordings_from_the_field(name):
    source = open_source(FIELD / name)
    shots = list(source)
    assert len(shots) == source.count == 20
    assert {shot.frame.size for shot in shots} == {(54, 96)}
    assert np.all(np.diff([shot.stamp_ns for shot in shots]) == 40_000_000)
    assert source.rate == pytest.approx(25)
    with Bag(FIELD / name) as opened:
        topic = opened.image_topic()
        times = [image.log_ns for image in opened.images(topic)]
        assert [image.log_ns for image in opened.images_at(topic, times[5:7])] == times[5:7]


def test_the_frame_of_a_message_has_the_headers_stamp(tmp_path):
    bag = write_bag(tmp_path / "drive", 2, messages=[raw(7, street(0)), raw(3, street(1))])
    with Bag(bag) as opened:
        assert [i.stamp_ns for i in opened.images(opened.image_topic())] == [stamp(7), stamp(3)]
    assert header(7).stamp.sec == stamp(7) // 10**9
