"""Whatever a user points at becomes footage, or one error that names the fix."""

import os
from fractions import Fraction
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from bags import write_bag
from colours import paint_scene

from drive_seg.core.frame import FrameError
from drive_seg.sources.frame_source import SourceError
from drive_seg.sources.open import open_source
from drive_seg.sources.video import VideoSource
from drive_seg.sources.write import VideoWriter


def flat(value: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def video(tmp_path):
    """Ten frames at 20 a second, each brighter by 20."""
    path = tmp_path / "drive.mp4"
    with VideoWriter(path, 20.0) as writer:
        for i in range(10):
            writer.write(flat(20 + 20 * i), i * 50_000_000)
    return path


def brightness(footage):
    return [int(shot.frame.bgr().mean().round()) for shot in footage]


def test_video(video):
    footage = open_source(video)
    assert (footage.rate, footage.count) == (20.0, 10)
    shots = list(footage)
    assert [shot.name for shot in shots] == [f"{i:06d}" for i in range(10)]
    assert [shot.stamp_ns for shot in shots] == [i * 50_000_000 for i in range(10)]
    assert brightness(footage) == pytest.approx([20 + 20 * i for i in range(10)], abs=6)
    assert [shot.stamp_ns for shot in footage] == [shot.stamp_ns for shot in shots], "iterating starts over"


def test_video_from_its_middle_keeps_names_and_stamps(video):
    shots = list(VideoSource(video, start=0.3))
    assert [shot.name for shot in shots] == ["000006", "000007", "000008", "000009"]
    assert shots[0].stamp_ns == 300_000_000
    with pytest.raises(SourceError, match="0.5 s long, it has nothing at 3 s"):
        VideoSource(video, start=3)


def test_duration_bounds_any_footage(video):
    footage = open_source(video, duration=0.2)
    assert footage.count == len(list(footage)) == 4
    assert open_source(video, duration=60).count == 10


def test_folder_in_natural_order_with_names_that_differ(tmp_path):
    for name, value in (("img10.png", 100), ("img2.PNG", 20), ("img1.png", 10), ("img1.bmp", 5)):
        encoded = cv2.imencode(".png", flat(value))[1]
        (tmp_path / name).write_bytes(encoded.tobytes())
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not an image")
    footage = open_source(tmp_path, rate=4.0)
    assert footage.count == 4
    assert brightness(footage) == [5, 10, 20, 100]
    assert [shot.name for shot in footage] == ["img1_bmp", "img1_png", "img2", "img10"]
    assert [shot.stamp_ns for shot in footage] == [0, 250_000_000, 500_000_000, 750_000_000]


def test_single_image_with_a_name_outside_ascii(tmp_path):
    path = tmp_path / "Straße 1.jpg"
    path.write_bytes(cv2.imencode(".jpg", flat(60))[1].tobytes())
    footage = open_source(path)
    assert footage.count == 1
    assert brightness(footage) == [60]


@pytest.mark.parametrize("compressed", [False, True])
def test_bag(tmp_path, compressed):
    footage = open_source(write_bag(tmp_path / "bag", 5, compressed=compressed))
    shots = list(footage)
    assert footage.count == len(shots) == 5
    assert footage.camera is not None
    assert (shots[0].encoded is not None) == footage.compressed == compressed
    assert shots[0].frame.size == (120, 200)


def test_nonsense_gets_one_error_that_names_the_fix(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "drives" / "one").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "drives" / "one" / "1.png"), flat(90))
    (tmp_path / "text.mp4").write_text("this is not a video")
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    for source, words in (
        ("missing.mp4", "there is no .*missing.mp4: give a video"),
        ("empty", "has no images .*give a folder of images"),
        ("drives", "images only in folders inside it: give those, such as .*drives/one"),
        ("text.mp4", "is not a video that OpenCV reads"),
        ("zero.mp4", "is not a video that OpenCV reads"),
        ("broken.png", "is not an image of a known kind"),
    ):
        with pytest.raises(SourceError, match=words):
            list(open_source(tmp_path / source))
    with pytest.raises(SourceError, match="no camera /dev/video99: plug it in"):
        open_source("/dev/video99")
    with pytest.raises(SourceError, match="more than 0 s"):
        open_source(tmp_path / "broken.png", duration=0)


def test_an_image_whose_header_claims_a_huge_picture_is_reported(tmp_path):
    data = bytearray(cv2.imencode(".jpg", flat(90))[1])
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = b"\xff\xdc\xff\xdc"  # height and width
    (tmp_path / "huge.jpg").write_bytes(data)
    with pytest.raises(SourceError, match="huge.jpg is too large: .* 65500x65500 pixels, more than .*: make it sm"):
        list(open_source(tmp_path / "huge.jpg"))


@pytest.mark.parametrize("size", [(96, 128), (95, 127), (1, 1)])
def test_written_videos_play_in_browsers(tmp_path, size):
    av = pytest.importorskip("av")
    path = tmp_path / "out.mp4"
    stamps = [7_000_000_000, 7_040_000_000, 7_120_000_000]  # a frame is missing
    with VideoWriter(path, 25.0) as writer:
        for stamp in stamps:
            writer.write(cv2.resize(paint_scene(), size[::-1]), stamp)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.height, stream.width) == tuple(side + side % 2 for side in size)
        times = [float(frame.pts * stream.time_base) for frame in container.decode(stream)]
    assert times == pytest.approx([0.0, 0.04, 0.12], abs=1e-3)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index is in front"


def test_a_video_that_is_not_finished_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "out.mp4", 25.0) as writer:
        writer.write(flat(0), 0)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("homes", [(), ("cv2",), ("cv2.utils.logging",)], ids=str)
def test_a_video_is_read_wherever_opencv_keeps_its_log_level(monkeypatch, video, homes):
    levels = []

    def set_level(level):
        levels.append(level)
        return 3

    monkeypatch.delattr(cv2, "setLogLevel", raising=False)
    monkeypatch.delattr(cv2, "utils", raising=False)
    if "cv2" in homes:  # OpenCV 4
        monkeypatch.setattr(cv2, "setLogLevel", set_level, raising=False)
    if "cv2.utils.logging" in homes:  # OpenCV 5
        utils = SimpleNamespace(logging=SimpleNamespace(setLogLevel=set_level))
        monkeypatch.setattr(cv2, "utils", utils, raising=False)
    assert len(list(open_source(video))) == 10
    assert levels == [0, 3] * (len(levels) // 2) and bool(levels) == bool(homes), "it is set back"


def test_a_damaged_image_of_a_folder_costs_only_itself(tmp_path):
    data = cv2.imencode(".jpg", flat(60))[1].tobytes()
    for name, part in (("1.jpg", data), ("2.jpg", data[:-20]), ("3.png", b"no image"), ("4.jpg", data)):
        (tmp_path / name).write_bytes(part)
    shots = list(open_source(tmp_path))
    assert [shot.name for shot in shots] == ["1", "2", "3", "4"]
    assert shots[0].frame.size == shots[3].frame.size == (48, 64)
    for shot, words in ((shots[1], "2.jpg is a JPEG that is cut short"), (shots[2], "3.png is not an image")):
        with pytest.raises(FrameError, match=words):
            _ = shot.frame


@pytest.mark.parametrize("duration", [float("inf"), float("nan"), 1e300, -1])
def test_a_duration_is_a_finite_time(tmp_path, duration):
    (tmp_path / "1.png").write_bytes(cv2.imencode(".png", flat(1))[1].tobytes())
    with pytest.raises(SourceError, match="more than 0 s and finite, .*give seconds"):
        open_source(tmp_path, duration=duration)


def encode(path, codec: str, first_ms: int = 0, frames: int = 12):
    """A 10 Hz video whose first frame is shown at first_ms."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 15 * number, np.uint8), format="bgr24")
            frame.pts, frame.time_base = first_ms + 100 * number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("first_ms", [0, 60_000])
def test_a_video_that_starts_late_is_whole(tmp_path, suffix, first_ms):
    source = open_source(encode(tmp_path / f"late{suffix}", "libx264", first_ms))
    shots = list(source)
    assert source.count == len(shots) == 12
    assert [shot.stamp_ns - shots[0].stamp_ns for shot in shots] == [i * 100_000_000 for i in range(12)]
    assert len(list(open_source(tmp_path / f"late{suffix}", duration=0.5))) == 5


def test_a_codec_that_opencv_lacks_is_named(tmp_path):
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("PyAV has no AV1 encoder here")
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    path = encode(tmp_path / "film.mkv", "libsvtav1")
    os.sched_setscheduler(0, policy, priority)  # as root, SVT-AV1 leaves its caller with real-time priority
    if cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).grab():
        pytest.skip("this OpenCV decodes AV1")
    with pytest.raises(SourceError, match="is AV1 video, which OpenCV does not decode here: convert it: ffmpeg -i"):
        open_source(path)


def test_images_whose_names_differ_only_in_their_suffix_get_results_of_their_own(tmp_path):
    for name in ("a.png", "a.jpg", "a_jpg.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), flat(90))
    names = [shot.name for shot in open_source(tmp_path)]
    assert len(set(names)) == 4 and "b" in names


GAPS = {"a clock that is set": (8, 3600.0), "a clock that goes back": (8, -25_200.0), "all the same": (None, 0.0)}


@pytest.mark.parametrize("kind", GAPS)
def test_a_written_video_neither_waits_nor_flies_over_a_gap(tmp_path, kind):
    at, jump = GAPS[kind]
    with VideoWriter(tmp_path / "out.mp4", 10) as video:
        for number in range(16):
            seconds = number / 10 + (jump if at is not None and number >= at else 0) if at is not None else 5.0
            video.write(flat(10 * number), round(seconds * 1e9))
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 16
    steps = np.diff(times)
    usual = [step for number, step in enumerate(steps, 1) if number != at]
    assert usual == pytest.approx([0.1] * len(usual), abs=0.002)
    if at is not None:
        assert steps[at - 1] == pytest.approx(2.0 if jump > 0 else 0.1, abs=0.002)
