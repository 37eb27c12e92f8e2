"""The kernels' own source, built for the host, against the resize and decode of the CPU engines."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from host_gpu import HostGpu, to_hwc8

from drive_seg.core.classes import ClassTable
from drive_seg.core.decode import Decoder, TrustModel
from drive_seg.core.frame import ENCODINGS, Frame
from drive_seg.core.resize import network_input
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt.frame_path import FrameMemory, FramePath, NotFiniteError, Slot
from drive_seg.runtimes.tensorrt.intake import THREADS, Intake, decode_tiling, places, prepare_tiling, taps
from drive_seg.runtimes.tensorrt.kernels import PrepareArguments

SIZE = (96, 160)
CLASSES = 11


class Recorder:
    """Stands where the network is: keeps what it is given, gives the logits that the test wants."""

    batch, input_size = 1, SIZE

    def __init__(self, gpu: HostGpu, logits: np.ndarray) -> None:
        self.gpu = gpu
        self.logits_shape = logits.shape
        self.values = to_hwc8(logits)
        self.pixels = gpu.allocate(2 * 8 * SIZE[0] * SIZE[1])
        self.logits = gpu.allocate(self.values.nbytes)

    def enqueue(self) -> None:
        self.gpu.view(self.logits)[:] = self.values.reshape(-1).view(np.uint8)

    def seen(self) -> np.ndarray:
        """(H, W, 3) RGB, as the network was given it."""
        pixels = self.gpu.view(self.pixels).view(np.float16).reshape(*SIZE, 8)
        assert not pixels[..., 3:].any()
        return pixels[..., :3].astype(np.float32)


def network(classes: int = CLASSES, temperature: float = 1.0, trust: TrustModel | None = None) -> Network:
    groups = ["background", "road", "pavement", "obstacle"]
    table = ClassTable.from_dicts([{"id": i, "name": f"c{i}", "group": groups[i * 7 % 4], "colour": [i, i, i],
                                    "drivable": False} for i in range(classes)])
    return Network(Path("random.onnx"), "random", "", SIZE, table, temperature, trust)


def run(library, frame: Frame, logits: np.ndarray, net: Network, size: tuple[int, int]):
    """What the network saw, and the decoded images."""
    gpu = HostGpu(library)
    recorder = Recorder(gpu, logits)
    memory = FrameMemory(gpu)  # exactly what this frame needs, so that the guards are at its ends
    path = FramePath(gpu, recorder, [Slot(gpu, recorder, net, Intake.of(frame, SIZE), size, memory)])
    try:
        decoded = path.run([frame], [{}])[0]
        if isinstance(decoded, Exception):
            raise decoded
        return recorder.seen(), decoded
    finally:
        path.close()
        gpu.close()


def random_frame(rng: np.random.Generator, encoding: str, height: int, width: int, padding: int = 0) -> Frame:
    rows = height * 3 // 2 if encoding in ("nv12", "nv21") else height
    channels = {"bgr8": 3, "8UC3": 3, "rgb8": 3, "bgra8": 4, "8UC4": 4, "rgba8": 4, "yuv422": 2, "uyvy": 2,
                "yuv422_yuy2": 2, "yuyv": 2}.get(encoding, 1)
    step = width * channels + padding
    return Frame.from_bytes(rng.integers(0, 256, rows * step, np.uint8), encoding, height, width, step)


def smooth_logits(rng: np.random.Generator, shape: tuple[int, int, int], scale: float = 3.0) -> np.ndarray:
    """Random regions with borders, rounded to what fp16 holds."""
    noise = rng.normal(size=shape).astype(np.float32)
    return (np.stack([cv2.GaussianBlur(plane, (0, 0), 2) for plane in noise]) * scale * 4).astype(np.float16)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("height, width", [(96, 160), (240, 322), (480, 640), (130, 180), (64, 100)])
def test_prepares_every_encoding_as_the_cpu_does(host_kernels, rng, encoding, height, width):
    frame = random_frame(rng, encoding, height, width, padding=12)
    seen, _ = run(host_kernels, frame, smooth_logits(rng, (CLASSES, 12, 20)), network(), SIZE)
    difference = np.abs(seen - network_input(frame, SIZE))
    assert difference.max() <= 1  # OpenCV's own builds differ by that much
    assert (difference > 0).mean() < 0.02


@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "yuv422", "nv12"])
def test_prepares_camera_images_as_the_cpu_does(host_kernels, rng, street, encoding):
    for image in street:
        height, width = image.shape[:2]
        if encoding == "mono8":
            frame = Frame.from_array(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), encoding)
        elif encoding == "yuv422":
            frame = Frame.from_bytes(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_UYVY), encoding, height, width, 2 * width)
        elif encoding == "nv12":
            planar = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).reshape(-1)
            luma, chroma = planar[: height * width], planar[height * width:].reshape(2, -1)
            frame = Frame.from_bytes(np.concatenate([luma, chroma.T.reshape(-1)]), encoding, height, width, width)
        else:
            frame = Frame.from_array(image)
        seen, _ = run(host_kernels, frame, smooth_logits(rng, (CLASSES, 12, 20)), network(), SIZE)
        assert np.abs(seen - network_input(frame, SIZE)).max() <= 1


@pytest.mark.parametrize("height, width, on_host, on_gpu", [
    (191, 320, 0, 0), (192, 320, 0, 1), (193, 321, 1, 0), (386, 642, 2, 0), (388, 644, 0, 2), (768, 1280, 0, 3),
    (1536, 2560, 1, 3),
])
def test_halves_large_and_odd_frames(host_kernels, rng, height, width, on_host, on_gpu):
    frame = Frame.from_array(rng.integers(0, 256, (height, width, 3), np.uint8))
    intake = Intake.of(frame, SIZE)
    assert (intake.on_host, intake.halvings) == (on_host, on_gpu)
    seen, _ = run(host_kernels, frame, smooth_logits(rng, (CLASSES, 12, 20)), network(), SIZE)
    assert np.abs(seen - network_input(frame, SIZE)).max() <= 1


@pytest.mark.parametrize("shape", [(11, 12, 20), (11, 24, 40), (2, 1, 1), (19, 5, 1), (5, 1, 7)])
@pytest.mark.parametrize("size", [(96, 160), (480, 640), (97, 163), (360, 30), (12, 20), (3, 2)])
def test_decodes_as_the_cpu_does(host_kernels, rng, shape, size):
    classes = shape[0]
    trust = TrustModel(rng.normal(2, 1, classes).astype(np.float32), rng.uniform(0.5, 2, classes).astype(np.float32),
                       0.0)
    net = network(classes, 1.7, trust)
    logits = smooth_logits(rng, shape)
    frame = Frame.from_array(rng.integers(0, 256, (*SIZE, 3), np.uint8))
    _, found = run(host_kernels, frame, logits, net, size)
    decoder = Decoder(net.table, temperature=net.temperature, trust=trust, threads=1)
    wanted = decoder.decode(logits.astype(np.float32), size)
    np.testing.assert_array_equal(found.classes, wanted.classes)
    unknown = (found.labels == 255) != (wanted.labels == 255)
    assert unknown.mean() < 1e-3  # the last bit of exp and log decides at the very limit
    np.testing.assert_array_equal(found.labels[~unknown], wanted.labels[~unknown])
    assert np.abs(found.confidence.astype(int) - wanted.confidence).max() <= 1
    assert len(np.unique(wanted.labels)) > 1 or np.prod(shape[1:]) == 1


def test_ties_go_to_the_lowest_class(host_kernels, rng):
    logits = rng.integers(0, 3, (CLASSES, 12, 20)).astype(np.float16)
    net = network()
    frame = Frame.from_array(rng.integers(0, 256, (*SIZE, 3), np.uint8))
    _, found = run(host_kernels, frame, logits, net, (96, 160))
    wanted = Decoder(net.table, threads=1).decode(logits.astype(np.float32), (96, 160))
    np.testing.assert_array_equal(found.classes, wanted.classes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cell", [(0, 0), (11, 19), (5, 7), (4, 10)])
@pytest.mark.parametrize("size", [SIZE, (1, 1), (3, 2)])  # of the small ones no pixel needs the cells inside
def test_a_logit_that_is_no_number_is_an_error(host_kernels, rng, value, cell, size):
    logits = smooth_logits(rng, (CLASSES, 12, 20))
    logits[(CLASSES - 1, *cell)] = value
    with pytest.raises(NotFiniteError, match="not finite numbers"):
        run(host_kernels, Frame.from_array(rng.integers(0, 256, (*SIZE, 3), np.uint8)), logits, network(), size)


@pytest.mark.parametrize("shape, size, tile", [
    ((11, 96, 128), (720, 1280), (16, 128)),  # as of the network that ships
    ((11, 96, 128), (200, 300), (16, 32)),
    ((150, 12, 20), (96, 160), (16, 32)),
    ((254, 12, 20), (96, 161), (16, 8)),
    ((254, 12, 20), (15, 13), (1, 4)),
    ((60, 96, 160), (5, 3), (1, 1)),
])
def test_tiles_shrink_until_their_cells_fit_and_leave_no_seam(host_kernels, rng, shape, size, tile):
    logits = smooth_logits(rng, shape)
    net = network(shape[0])
    tiles = decode_tiling(places(size[1], shape[2]), places(size[0], shape[1]), shape[1:], shape[0])
    assert (tiles.height, tiles.width) == tile
    assert tiles.shared <= 16 << 10
    _, found = run(host_kernels, Frame.from_array(rng.integers(0, 256, (*SIZE, 3), np.uint8)), logits, net, size)
    wanted = Decoder(net.table, threads=1).decode(logits.astype(np.float32), size)
    np.testing.assert_array_equal(found.classes, wanted.classes)
    assert np.abs(found.confidence.astype(int) - wanted.confidence).max() <= 1


@pytest.mark.parametrize("height, width, network_size", [
    (360, 640, (384, 512)), (480, 640, (384, 512)), (720, 1280, (384, 512)), (1080, 1920, (384, 512)),
    (1440, 2560, (384, 512)), (2160, 3840, (384, 512)), (1536, 2560, (96, 160)),
])
@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "mono8", "yuv422", "nv12"])
def test_reads_each_byte_of_a_frame_about_once(host_kernels, rng, height, width, network_size, encoding):
    """A GPU fetches memory in sectors of 32 bytes. Counted for each block, as if nothing stayed in a cache."""
    frame = random_frame(rng, encoding, height, width)
    intake = Intake.of(frame, network_size)
    gpu = HostGpu(host_kernels)
    frame_bytes = gpu.allocate(intake.rows * intake.pitch)
    columns, rows = taps(network_size[1], intake.halved[1]), taps(network_size[0], intake.halved[0])
    tables = [gpu.allocate(table.nbytes) for table in (columns, rows)]
    for buffer, table in zip(tables, (columns, rows), strict=True):
        gpu.write(buffer, table)
    pixels = gpu.allocate(2 * 8 * network_size[0] * network_size[1])
    tiles = prepare_tiling(columns, rows, intake)
    host_kernels.count_sectors()
    gpu.launch("prepare", tiles.blocks, THREADS, PrepareArguments(
        frame_bytes.pointer, *(table.pointer for table in tables), pixels.pointer, intake.pitch,
        intake.layout.channels, *intake.layout.at, intake.layout.yuv, intake.chroma_row, intake.halvings,
        intake.halved[1], intake.halved[0], *reversed(network_size), tiles.width, tiles.height), tiles.shared)
    read = 32 * host_kernels.count_sectors()
    # Rows of the halved image that no pixel of the network's input needs are not read.
    assert 0.5 < read / (intake.rows * intake.row_bytes) <= 1.5
