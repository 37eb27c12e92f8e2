"""Kernels and frame path on the GPU against the CPU's resize, decode and engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from drive_seg.core.decode import Decoder, TrustModel
from drive_seg.core.engine import Engine
from drive_seg.core.frame import ENCODINGS, Frame
from drive_seg.core.resize import network_input
from drive_seg.gpu_check.findings import Findings
from drive_seg.gpu_check.runners import FixedLogits
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt.frame_path import FrameMemory, FramePath, Slot
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.intake import Intake

_SIZES = ((360, 640), (1080, 1920), (352, 480), (1081, 1923), (242, 322), (2160, 3840))

_REPEATS = 30

LEAST_IN_INT8 = 0.97
"""Share of a frame's labels; the file itself, computed without a GPU, keeps 99.6 % of the cells' classes."""


def random_frame(rng: np.random.Generator, encoding: str, height: int, width: int) -> Frame:
    """Random bytes as a frame of any encoding, rows padded."""
    rows = height * 3 // 2 if encoding in ("nv12", "nv21") else height
    channels = {"bgr8": 3, "8UC3": 3, "rgb8": 3, "bgra8": 4, "8UC4": 4, "rgba8": 4, "yuv422": 2, "uyvy": 2,
                "yuv422_yuy2": 2, "yuyv": 2}.get(encoding, 1)
    step = width * channels + 20
    return Frame.from_bytes(rng.integers(0, 256, rows * step, np.uint8), encoding, height, width, step)


def check_kernels(gpu: Gpu, network: Network, images: list[np.ndarray], findings: Findings, quick: bool,
                  kernels: str = "kernels") -> None:
    """Every encoding and several sizes: the planes, classes, labels and confidence must be the CPU's.

    Each frame is run twice: piece by piece, and as one CUDA graph. Results are poisoned before, with different bytes:
    an element that is not written shows. quick: fewer frames, for running under compute-sanitizer. kernels: what to
    call them in the findings.
    """
    rng = np.random.default_rng()
    classes = len(network.table)
    mean, deviation = rng.normal(2, 1, classes), rng.uniform(0.5, 2, classes)
    trust = TrustModel(mean.astype(np.float32), deviation.astype(np.float32), 0.0)
    network = replace(network, trust=trust, temperature=1.3)
    decoder = Decoder(network.table, temperature=network.temperature, trust=trust)
    sizes = _SIZES[3:5] if quick else _SIZES
    frames = [random_frame(rng, encoding, *size) for encoding in ENCODINGS for size in sizes
              if not (size[0] % 2 or size[1] % 2) or encoding in ("bgr8", "mono8", "rgba8")]
    frames += [Frame.from_array(image) for image in images[:2 if quick else 20]]
    planes, pixels, wrong, unknown, confidence, unwritten = 0.0, 0, 0, 0.0, 0, 0
    refused: set[str] = set()
    for i, frame in enumerate(frames):
        grid = tuple(side // (4, 8)[i % 2] for side in network.input_size)  # strides that networks have
        noise = rng.normal(size=(classes, *grid)).astype(np.float32)
        logits = np.stack([cv2.GaussianBlur(plane, (0, 0), 2) * 12 for plane in noise]).astype(np.float16)
        runner = FixedLogits(gpu, network.input_size, logits)
        memory = FrameMemory(gpu)
        slot = Slot(gpu, runner, network, Intake.of(frame, network.input_size), frame.size, memory)
        path = FramePath(gpu, runner, [slot])
        results = []
        for poison in (0x5A, 0xC3):
            slot.poison(poison)
            runner.pixels.host[:] = poison
            gpu.upload(runner.pixels, runner.pixels.nbytes)
            path.run([frame], [{}])
            results.append((slot.take(), runner.seen()))
            if len(results) == 1:
                path.capture()
        if path.graph_refused is not None:
            refused.add(path.graph_refused)
        (found, seen), (again, seen_again) = results
        unwritten += sum(int((a != b).sum()) for a, b in ((seen, seen_again), (found.classes, again.classes),
                         (found.labels, again.labels), (found.confidence, again.confidence)))
        planes = max(planes, float(np.abs(seen - network_input(frame, network.input_size)).max()))
        wanted = decoder.decode(logits.astype(np.float32), frame.size)
        differ = found.classes != wanted.classes
        doubtful = (found.labels == 255) != (wanted.labels == 255)
        unknown = max(unknown, float(doubtful.mean()))
        pixels += differ.size
        wrong += int((differ | (found.labels != wanted.labels) & ~doubtful).sum())
        confidence = max(confidence, int(np.abs(found.confidence.astype(int) - wanted.confidence)[~differ].max()))
        path.close()
        memory.close()
        runner.close()
    what = f"{kernels} on {len(frames)} frames, {len(ENCODINGS)} encodings"
    findings.must(f"{what}, as one CUDA graph", not refused, "; ".join(refused) or "captured, and run once that way")
    findings.must(f"{what}, every element written, the same with and without a graph", unwritten == 0,
                  f"{unwritten} depend on what was there before")
    findings.must(f"{what}, network input", planes <= 1, f"at most {planes:.0f} of 255 from the CPU's")
    findings.must(f"{what}, classes and labels", wrong <= 1e-5 * pixels,  # two may tie but for a float's last bit
                  f"{wrong} of {pixels} pixels differ from the CPU's")
    findings.must(f"{what}, unknown", unknown < 1e-3, f"at most {100 * unknown:.4f} % of a frame differ, at the limit")
    findings.must(f"{what}, confidence", confidence <= 1, f"at most {confidence} of 255 from the CPU's")


def check_frames(engine, cpu, images: list[np.ndarray], real: bool, findings: Findings) -> None:
    """The whole engine against a CPU engine in fp32. In int8 fewer labels have to be the same, and confidence only
    informs. real: camera images, not drawn ones, on which the network is unsure.
    """
    int8 = engine.precision == "int8"
    labels, confidence = [], []
    for image in images:
        frame = Frame.from_array(image)
        found, wanted = engine.decode(frame, frame.size, {}), cpu.decode(frame, frame.size, {})
        labels.append((found.labels == wanted.labels).mean())
        confidence.append((np.abs(found.confidence.astype(int) - wanted.confidence) <= 2).mean())
    findings.must(f"{'int8 ' * int8}labels equal {cpu.name}'s on {len(images)} images",
                  min(labels) >= (LEAST_IN_INT8 if int8 else 0.995),
                  f"{100 * min(labels):.3f} % in the worst image, {100 * np.mean(labels):.3f} % in all")
    findings.must(f"{'int8 ' * int8}confidence within 2/255 of {cpu.name}'s",
                  int8 or min(confidence) >= (0.995 if real else 0.98),
                  f"{100 * min(confidence):.3f} % of the worst image, {100 * np.mean(confidence):.3f} % in all")


def check_batches(engine: Engine, images: list[np.ndarray], findings: Findings) -> None:
    """Each batch against single frames: the labels, and the time of both with the copies on the processor.

    TensorRT may take other kernels for a batch, whose sums are rounded elsewhere: labels may differ where two classes
    tie. images: of any size; all take the first one's.
    """
    frames = [Frame.from_array(np.roll(cv2.resize(images[i % len(images)], images[0].shape[1::-1]), 16 * i, 1))
              for i in range(engine.batches[-1])]
    alone = [engine.decode(frame, frame.size, {}) for frame in frames]
    for batch in engine.batches[1:]:
        sizes = [frame.size for frame in frames[:batch]]
        stages: list[dict[str, float]] = [{} for _ in range(batch)]
        same = []
        errors = []
        for shift in range(batch):  # every frame at every place
            order = np.roll(np.arange(batch), shift)
            results = engine.decode_batch([frames[i] for i in order], sizes, stages)
            errors += [str(result) for result in results if isinstance(result, Exception)]
            same += [0.0 if isinstance(result, Exception) else float((result.labels == alone[i].labels).mean())
                     for i, result in zip(order, results, strict=True)]
        findings.must(f"labels in batches of {batch} equal those of single frames", min(same) >= 0.995,
                      errors[0] if errors else f"{100 * min(same):.3f} % in the worst image")
        together = _seconds(partial(engine.decode_batch, frames[:batch], sizes, stages))
        single = batch * _seconds(partial(engine.decode, frames[0], sizes[0], {}))
        findings.say(f"time of a batch of {batch}, wanted below that of {batch} single frames",
                     f"{1e3 * together:.3f} ms, one by one {1e3 * single:.3f} ms:"
                     f" {'yes' if together < single else 'NO'}")


def _seconds(work: Callable[[], object]) -> float:
    """Median time on the processor."""
    times = []
    for _ in range(_REPEATS + 5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[5:])
