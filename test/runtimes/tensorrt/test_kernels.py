"""The kernels' own source, built for the host, against the resize and decode of the CPU engines."""

from __future__ import annotations

import shutil
import subprocess

import cv2
import numpy as np
import pytest
from host_gpu import HostGpu

from drive_seg.core.classes import ClassTable
from drive_seg.core.decode import Decoder, TrustModel
from drive_seg.core.engine import EngineError
from drive_seg.core.frame import ENCODINGS, Frame
from drive_seg.core.resize import network_input
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt import kernels
from drive_seg.runtimes.tensorrt.frame_path import FramePath, NotFiniteError
from drive_seg.runtimes.tensorrt.intake import Intake, places
from drive_seg.runtimes.tensorrt.memory import FrameMemory
from drive_seg.runtimes.tensorrt.tiling import tiling

SIZE = (96, 160)
CLASSES = 11


class Recorder:
    """Stands where the network is: keeps what it is given, gives the logits that the test wants."""

    input_size = SIZE

    def __init__(self, gpu: HostGpu, logits: np.ndarray) -> None:
        self.gpu = gpu
        self.logits_shape = logits.shape
        self.values = logits.astype(np.float16)
        self.planes = gpu.allocate(2 * 3 * SIZE[0] * SIZE[1])
        self.logits = gpu.allocate(self.values.nbytes)

    def enqueue(self) -> None:
        self.gpu.view(self.logits)[:] = self.values.reshape(-1).view(np.uint8)

    def seen(self) -> np.ndarray:
        """(H, W, 3) RGB, as the network was given it."""
        planes = self.gpu.view(self.planes).view(np.float16).reshape(3, *SIZE)
        return planes.transpose(1, 2, 0).astype(np.float32)

    def close(self) -> None:
        self.gpu.free(self.planes)
        self.gpu.free(self.logits)


def network(classes: int = CLASSES, temperature: float = 1.0, trust: TrustModel | None = None) -> Network:
    groups = ["background", "road", "pavement", "obstacle"]
    table = ClassTable.from_dicts([{"id": i, "name": f"c{i}", "group": groups[i * 7 % 4], "colour": [i, i, i],
                                    "drivable": False} for i in range(classes)])
    return Network(None, "random", "", SIZE, table, temperature, trust)


def run(library, frame: Frame, logits: np.ndarray, net: Network, size: tuple[int, int], integrated: bool = False):
    """What the network saw, and the decoded images."""
    gpu = HostGpu(library, integrated)
    recorder = Recorder(gpu, logits)
    memory = FrameMemory(gpu)  # exactly what this frame needs, so that the guards are at its ends
    path = FramePath(gpu, recorder, net, Intake.of(frame, SIZE), size, memory)
    try:
        decoded = path.run(frame, {})
        return recorder.seen(), decoded
    finally:
        path.close()
        memory.close()
        recorder.close()
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
@pytest.mark.parametrize("integrated", [False, True])
def test_decodes_as_the_cpu_does(host_kernels, rng, shape, size, integrated):
    classes = shape[0]
    trust = TrustModel(rng.normal(2, 1, classes).astype(np.float32), rng.uniform(0.5, 2, classes).astype(np.float32),
                       0.0)
    net = network(classes, 1.7, trust)
    logits = smooth_logits(rng, shape)
    frame = Frame.from_array(rng.integers(0, 256, (*SIZE, 3), np.uint8))
    _, found = run(host_kernels, frame, logits, net, size, integrated)
    decoder = Decoder(net.table, temperature=net.temperature, trust=trust, threads=1)
    wanted = decoder.decode(logits.astype(np.float32), size)
    differ = found.classes != wanted.classes
    assert differ.sum() <= 2  # where two classes tie but for a float's last bit
    unknown = (found.labels == 255) != (wanted.labels == 255)
    assert unknown.mean() < 1e-3  # the last bit of exp and log decides at the very limit
    np.testing.assert_array_equal(found.labels[~unknown & ~differ], wanted.labels[~unknown & ~differ])
    assert np.abs(found.confidence.astype(int) - wanted.confidence)[~differ].max() <= 1
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
    with pytest.raises(NotFiniteError, match="no finite numbers"):
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
    tiles = tiling(places(size[1], shape[2]), places(size[0], shape[1]), shape[1:], shape[0])
    assert (tiles.height, tiles.width) == tile
    assert tiles.shared <= 16 << 10
    _, found = run(host_kernels, Frame.from_array(rng.integers(0, 256, (*SIZE, 3), np.uint8)), logits, net, size)
    wanted = Decoder(net.table, threads=1).decode(logits.astype(np.float32), size)
    differ = found.classes != wanted.classes
    assert differ.sum() <= 2
    assert np.abs(found.confidence.astype(int) - wanted.confidence)[~differ].max() <= 1


@pytest.mark.parametrize("architecture", [(8, 7), (8, 9), (9, 0), (11, 0)])
def test_compiles_for_gpus(tmp_path, architecture):
    nvcc = kernels.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc on this machine: the kernels can't be compiled for a GPU here")
    known = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout.split()
    if "compute_{}{}".format(*architecture) not in known:
        pytest.skip(f"this nvcc doesn't know compute capability {architecture}")
    cubin = kernels.compiled(architecture, tmp_path)
    assert cubin.read_bytes()[:4] == b"\x7fELF"
    for name in set(kernels.PREPARE.values()) | {"decode_tiles"}:
        assert name.encode() in cubin.read_bytes()
    written = cubin.stat().st_mtime_ns
    assert kernels.compiled(architecture, tmp_path).stat().st_mtime_ns == written, "compiled again"
    assert {p.suffix for p in tmp_path.iterdir()} == {".cubin", ".lock"}


def test_without_nvcc_the_error_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(EngineError, match="install the CUDA toolkit"):
        kernels.compiled((8, 7), tmp_path)


def test_an_unknown_gpu_names_the_fix(tmp_path):
    if kernels.find_nvcc() is None:
        pytest.skip("no nvcc on this machine")
    with pytest.raises(EngineError, match="compute capability 99.0.*knows this GPU"):
        kernels.compiled((99, 0), tmp_path)
    assert not list(tmp_path.glob("*.cubin")) and not list(tmp_path.glob(".*.part"))
