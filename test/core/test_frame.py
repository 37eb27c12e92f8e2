"""Every encoding, padded rows and odd sizes; and bytes that are not an image."""

import contextlib
import functools
import struct
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_seg.core.frame import ENCODINGS, Frame, FrameError, TooLargeError, decode
from drive_seg.core.image_header import HeaderError, read_header
from drive_seg.core.resize import network_input

HEIGHT, WIDTH = 24, 32


def colourful() -> np.ndarray:
    """A BGR image that survives chroma subsampling: four flat quarters."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:12, :16], image[:12, 16:] = (200, 60, 20), (30, 180, 60)
    image[12:, :16], image[12:, 16:] = (40, 50, 220), 128
    return image


def bayer(bgr: np.ndarray, first_row: str, second_row: str) -> np.ndarray:
    """Mosaic as ROS names it: the colours of the first two pixels of the first two rows."""
    mosaic = np.empty(bgr.shape[:2], np.uint8)
    for y, row in enumerate((first_row, second_row)):
        for x, colour in enumerate(row):
            mosaic[y::2, x::2] = bgr[y::2, x::2, "bgr".index(colour)]
    return mosaic


def encode(encoding: str, bgr: np.ndarray) -> np.ndarray:
    """The bytes of an image in an encoding, rows of bytes (rows, row bytes)."""
    if encoding.startswith("bayer"):
        pattern = encoding.split("_")[1][:4]
        return bayer(bgr, pattern[:2], pattern[2:])
    yuv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)  # BT.601 limited range, as OpenCV's decoders expect
    y, u, v = yuv[:HEIGHT], yuv[HEIGHT:HEIGHT * 5 // 4].reshape(12, 16), yuv[HEIGHT * 5 // 4:].reshape(12, 16)
    if encoding in ("nv12", "nv21"):
        pair = (u, v) if encoding == "nv12" else (v, u)
        return np.vstack([y, np.dstack(pair).reshape(12, WIDTH)])
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        u, v = np.repeat(u, 2, 0), np.repeat(v, 2, 0)
        order = (u, y[:, ::2], v, y[:, 1::2]) if encoding in ("yuv422", "uyvy") else (y[:, ::2], u, y[:, 1::2], v)
        return np.dstack(order).reshape(HEIGHT, -1)
    convert = {"bgr8": None, "8UC3": None, "rgb8": cv2.COLOR_BGR2RGB, "bgra8": cv2.COLOR_BGR2BGRA,
               "8UC4": cv2.COLOR_BGR2BGRA, "rgba8": cv2.COLOR_BGR2RGBA, "mono8": cv2.COLOR_BGR2GRAY,
               "8UC1": cv2.COLOR_BGR2GRAY}[encoding]
    image = bgr if convert is None else cv2.cvtColor(bgr, convert)
    return image.reshape(HEIGHT, -1)


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_picture(encoding, padding):
    bgr = colourful()
    rows = encode(encoding, bgr)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    frame = Frame.from_bytes(padded.tobytes(), encoding, HEIGHT, WIDTH, padded.shape[1])
    expected = np.dstack([cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)] * 3) if encoding in ("mono8", "8UC1") else bgr
    got = frame.bgr()
    assert got.shape == (HEIGHT, WIDTH, 3)
    inner = np.zeros((HEIGHT, WIDTH), bool)  # demosaicing mixes colours along the quarters' borders
    for y, x in ((3, 3), (3, 19), (15, 3), (15, 19)):
        inner[y:y + 6, x:x + 10] = True
    assert np.abs(got[inner].astype(int) - expected[inner]).max() <= 6
    small = network_input(frame, (8, 16))
    np.testing.assert_allclose(small[1, 2], expected[4, 5][::-1], atol=6)


def test_raw_bytes_are_viewed_not_copied():
    data = np.zeros(HEIGHT * WIDTH * 3, np.uint8)
    frame = Frame.from_bytes(data, "bgr8", HEIGHT, WIDTH, WIDTH * 3)
    data[:] = 9
    assert (frame.bgr() == 9).all()
    assert np.shares_memory(frame.bgr(), data)


def test_a_last_row_without_its_padding_is_enough():
    step = WIDTH * 3 + 10
    data = np.zeros(step * (HEIGHT - 1) + WIDTH * 3, np.uint8)
    assert Frame.from_bytes(data, "rgb8", HEIGHT, WIDTH, step).bgr().shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(("change", "match"), [
    ({"encoding": "32FC1"}, "not supported"),
    ({"encoding": "bgr16"}, "not supported"),
    ({"height": 0}, "empty"),
    ({"width": 0}, "empty"),
    ({"step": 10}, "step is 10"),
    ({"data": b"abc"}, "data has 3 bytes"),
    ({"encoding": "nv12", "height": 23}, "must be even"),
    ({"encoding": "yuyv", "width": 31}, "must be even"),
])
def test_bytes_that_are_no_image(change, match):
    good = {"data": bytes(HEIGHT * WIDTH * 3), "encoding": "bgr8", "height": HEIGHT, "width": WIDTH, "step": WIDTH * 3}
    Frame.from_bytes(**good)
    with pytest.raises(FrameError, match=match):
        Frame.from_bytes(**(good | change))


def claiming(width: int, height: int) -> bytes:
    """A JPEG whose header claims this size."""
    data = bytearray(cv2.imencode(".jpg", colourful())[1])
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize("data", [b"", b"hello"], ids=["empty", "text"])
def test_compressed_bytes_that_are_no_image(data):
    with pytest.raises(FrameError, match="publish JPEG or PNG"):
        Frame.from_compressed(data, "jpeg")


@pytest.mark.parametrize("image", [
    np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8),
    np.zeros(4, np.uint8),
])
def test_arrays_that_are_no_bgr_image(image):
    with pytest.raises(FrameError):
        Frame.from_array(image)


def test_shrinking_keeps_a_thin_pole():
    # A pole of one pixel in five: plain bilinear sampling would see it in some columns and miss it in others.
    image = np.zeros((720, 1280, 3), np.uint8)
    image[:, ::5] = 255
    small = network_input(Frame.from_array(image), (352, 480))
    assert small[100].mean() == pytest.approx(51, abs=6)
    assert small[100, :, 0].max() < 200


@pytest.mark.parametrize("size", [(352, 480), (704, 960), (719, 1279), (97, 33), (1, 1)])
def test_any_frame_size_fits_the_network(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    out = network_input(Frame.from_array(image), (352, 480))
    assert out.shape == (352, 480, 3) and out.flags.c_contiguous


def test_channels_reach_the_network_as_rgb():
    image = np.full((352, 480, 3), (10, 20, 30), np.uint8)
    assert network_input(Frame.from_array(image), (352, 480))[0, 0].tolist() == [30, 20, 10]
    assert network_input(Frame.from_array(image, "rgb8"), (352, 480))[0, 0].tolist() == [10, 20, 30]


def with_thumbnail(data: bytes) -> bytes:
    """The JPEG with another one in its header, as phones write it."""
    small = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    return data[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + data[2:]


@pytest.fixture(scope="module")
def street_jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(noise, (640, 480)))[1].tobytes()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("dress", [lambda d: d, with_thumbnail], ids=["plain", "thumbnail"])
@pytest.mark.parametrize("padding", [b"", bytes(3000)], ids=["", "padded"])
def test_a_jpeg_without_its_end_is_refused(street_jpeg, dress, share, padding):
    whole = dress(street_jpeg)
    Frame.from_compressed(whole, "jpeg")
    with pytest.raises(FrameError, match=r"cut short or damaged.*: look for lost data"):
        Frame.from_compressed(whole[: int(len(whole) * share)] + padding, "jpeg")


@pytest.mark.parametrize("pixels", [0, 20, 300])
def test_a_thumbnail_just_before_the_pixels_is_no_end(street_jpeg, pixels):
    whole = with_thumbnail(street_jpeg)
    scan = whole.rindex(b"\xff\xda", 0, len(whole) - len(street_jpeg) + 700)
    with pytest.raises(FrameError, match="cut short"):
        Frame.from_compressed(whole[: scan + 14 + pixels], "jpeg")


@functools.cache
def two_whole_files(kind):
    files = [cv2.imencode(kind, cv2.resize(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8),
                                           (640, 480)))[1].tobytes() for seed in (0, 1)]
    for data in files:
        Frame.from_compressed(data)
    return files


LOST = {  # what transports and memories do to the bytes between the first and the last of a file
    "missing": lambda data, other, at, length: data[:at] + data[at + length :],
    "zeroed": lambda data, other, at, length: data[:at] + bytes(length) + data[at + length :],
    "old end": lambda data, other, at, length: data[:at] + other[at:],
}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("length", [1460, 4096])  # a packet, a page
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_data_lost_in_the_middle_is_seen_although_the_end_is_there(lost, length, share, kind):
    """OpenCV makes a picture of such a JPEG: grey, or shifted."""
    data, other = two_whole_files(kind)
    at = int(share * (len(data) - length - 4))
    damaged = LOST[lost](data, other, at, length)
    assert damaged[-2:] in (data[-2:], other[-2:])
    with pytest.raises(FrameError, match="CompressedImage"):
        Frame.from_compressed(damaged)


@pytest.mark.parametrize("options", [
    [], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4], [cv2.IMWRITE_JPEG_QUALITY, 100],
    [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422],
])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpegs_pixels_are_opencvs(options, channels):
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (131, 97))[..., :channels]
    data = cv2.imencode(".jpg", image, options)[1]
    assert np.array_equal(Frame.from_compressed(data).data, cv2.imdecode(data, cv2.IMREAD_COLOR))


def test_a_jpeg_of_very_many_scans_is_refused(street_jpeg):
    """Each makes the decoder go over the whole picture again: seconds of work in few bytes."""
    progressive = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    Frame.from_compressed(progressive)
    scan = progressive.rindex(b"\xff\xda")
    with pytest.raises(FrameError, match="more than 100 scans"):
        Frame.from_compressed(progressive[:-2] + progressive[scan:-2] * 200 + progressive[-2:])


KINDS = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "tiff": "TIFF", "webp": "WebP", "ppm": "PNM", "pgm": "PNM"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_known_before_anything_is_decoded(kind, monkeypatch):
    image = np.full((30, 50) if kind == "pgm" else (30, 50, 3), 90, np.uint8)
    data = cv2.imencode(f".{kind}", image)[1].reshape(-1)
    header = read_header(memoryview(data))
    assert (header.kind, header.height, header.width) == (KINDS[kind], 30, 50)
    assert decode(data, cv2.IMREAD_COLOR, 1500).shape == (30, 50, 3)
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(TooLargeError, match="50x30 pixels, more than 1499: .*raise max_image_pixels"):
        decode(data, cv2.IMREAD_COLOR, 1499)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 10, 12, 15, 16, 17, 20, 25])
def test_a_header_that_ends_early_is_refused(kind, size):
    image = np.full((30, 50) if kind == "pgm" else (30, 50, 3), 90, np.uint8)
    with pytest.raises(FrameError):
        decode(cv2.imencode(f".{kind}", image)[1].reshape(-1)[:size], cv2.IMREAD_COLOR)


@given(st.sampled_from(list(KINDS)), st.binary(max_size=400))
@settings(max_examples=300)
def test_a_header_of_any_bytes_is_a_size_or_an_error(kind, behind):
    start = cv2.imencode(f".{kind}", np.zeros((3, 4) if kind == "pgm" else (3, 4, 3), np.uint8))[1].tobytes()[:12]
    try:
        header = read_header(memoryview(start + behind))
    except HeaderError:
        return
    assert header.height > 0 and header.width > 0


@pytest.mark.parametrize("kind", ["bmp", "tiff", "webp", "ppm"])
def test_a_camera_may_not_send_kinds_in_which_lost_data_does_not_show(kind):
    data = cv2.imencode(f".{kind}", np.full((30, 50, 3), 90, np.uint8))[1]
    with pytest.raises(FrameError, match=f"is a {KINDS[kind]}, in which lost data does not show: publish JPEG or PNG"):
        Frame.from_compressed(data, kind)


@pytest.mark.parametrize("data", [claiming(65500, 65500), claiming(8000, 8000)], ids=["65500", "8000"])
def test_an_image_that_claims_to_be_huge_is_not_decoded(data, monkeypatch):
    monkeypatch.setattr(simplejpeg, "decode_jpeg", None)
    with pytest.raises(TooLargeError, match="00 pixels, more than 48000000"):
        Frame.from_compressed(data, "jpeg")


def test_a_raw_image_may_be_as_large_as_the_limit():
    data = bytes(6 * 5 * 3)
    assert Frame.from_bytes(data, "bgr8", 6, 5, 15, max_pixels=30).size == (6, 5)
    with pytest.raises(TooLargeError, match="5x6 pixels, more than 29"):
        Frame.from_bytes(data, "bgr8", 6, 5, 15, max_pixels=29)


@pytest.mark.parametrize("text", ["x" * 100_000, "bayer_" * 50_000])
def test_a_text_from_outside_is_cut(text):
    for make in (lambda: Frame.from_bytes(bytes(12), text, 2, 2, 6), lambda: Frame.from_compressed(b"", text)):
        with pytest.raises(FrameError) as error:
            make()
        assert len(str(error.value)) < 500


@pytest.mark.parametrize("behind", [bytes(1), bytes(9), bytes(5000), b"film" * 5000], ids=len)
@pytest.mark.parametrize("dress", [lambda d: d, with_thumbnail], ids=["plain", "thumbnail"])
def test_what_lies_behind_a_jpegs_end_does_no_harm(street_jpeg, dress, behind):
    assert Frame.from_compressed(dress(street_jpeg) + behind, "jpeg").size == (480, 640)


@pytest.mark.parametrize("data", [b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\xff\xd8" + b"\xff" * 3000,
                                  b"\xff\xd8\xff\xe0\0\0" * 500])
def test_a_damaged_jpeg_header_is_refused(data):
    with pytest.raises(FrameError, match="cut short"):
        Frame.from_compressed(data, "jpeg")


@pytest.mark.parametrize("data", [
    lambda png: png[: len(png) // 2], lambda png: png[:-4], lambda png: png[:40] + b"\0" * 8 + png[48:],
])
def test_a_png_that_is_not_whole_is_refused(data):
    png = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))[1].tobytes()
    Frame.from_compressed(png, "png")
    with pytest.raises(FrameError, match="PNG"):
        Frame.from_compressed(data(png), "png")


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_camera_is_not_turned_by_exif(street_jpeg, orientation):
    """The pixels stay where CameraInfo has them."""
    tag = b"MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation]) + b"\0\0\0\0\0\0"
    segment = b"Exif\0\0" + tag
    turned = street_jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + street_jpeg[2:]
    plain = cv2.imdecode(np.frombuffer(street_jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert not np.array_equal(cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR), plain), "the tag works"
    assert np.array_equal(Frame.from_compressed(turned, "jpeg").data, plain)


def test_what_a_png_has_besides_its_pixels_prints_nothing(capfd):
    """libpng has a line on stderr for each of these, with every image."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    png = cv2.imencode(".png", pixels)[1].tobytes()
    for name, body in ((b"iCCP", b"x\0\0short"), (b"zTXt", b"\0\0\0"), (b"tRNS", b"\0"), (b"pHYs", b"\0"),
                       (b"tIME", b"\xff" * 7), (b"eXIf", b"\xff" * 9)):
        chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for at in (33, len(png) - 12):  # behind IHDR, in front of IEND
            assert np.array_equal(Frame.from_compressed(png[:at] + chunk + png[at:], "png").bgr(), pixels)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", [
    lambda jpeg: jpeg[:300], lambda jpeg: jpeg[:300] + b"\xff\xd9", lambda jpeg: jpeg[:-2] + bytes(50) + jpeg[-2:],
    lambda jpeg: jpeg[:11] + b"\x09\x09" + jpeg[13:],
    lambda jpeg: jpeg.replace(b"\xff\xdb\x00\x43\x00", b"\xff\xdb\x00\x43\x0f"),
    lambda jpeg: jpeg[:400] + bytes(200) + jpeg[600:], lambda jpeg: jpeg + b"more"])
def test_a_damaged_jpeg_prints_nothing(damage, capfd):
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))[1].tobytes()
    with contextlib.suppress(FrameError):
        Frame.from_compressed(damage(jpeg), "jpeg")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("form", ["bayer_rggb8; png compressed ", "16UC1; compressedDepth", "32FC1; tiff compressed"])
def test_mosaics_and_depths_in_compressed_images_are_refused(form):
    _, png = cv2.imencode(".png", np.full((8, 8), 90, np.uint8))
    with pytest.raises(FrameError, match="not a colour image"):
        Frame.from_compressed(png, form)
    assert Frame.from_compressed(png, "mono8; png compressed").size == (8, 8)
