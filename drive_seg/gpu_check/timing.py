"""How long each piece of a frame takes on the GPU, and how long it would take if only bytes had to move."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame
from drive_seg.gpu_check.findings import Findings
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt.frame_path import FrameMemory, FramePath, NetworkRunner, Slot, channels
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.intake import Intake

SIZES = ((360, 640), (720, 1280), (1080, 1920))
_REPEATS = 50
_START_LIMIT = 300  # seconds: the plan is there


def milliseconds(gpu: Gpu, work: list[Callable[[], None]]) -> float:
    """Median time of one of these, enqueued one after the other as one graph, so that launch gaps stay out."""

    def all_of_it() -> None:
        for one in work:
            one()

    all_of_it()
    gpu.synchronise()
    graph, launch = None, all_of_it
    with contextlib.suppress(EngineError):  # then the gaps are in it
        graph = gpu.capture(all_of_it)
        launch = partial(gpu.replay, graph)
    times = [_milliseconds(gpu, launch) / len(work) for _ in range(_REPEATS + 5)]
    if graph is not None:
        gpu.give_back(graph)
    return statistics.median(times[5:])


def _milliseconds(gpu: Gpu, work: Callable[[], None]) -> float:
    """How long the GPU takes over what `work` enqueues."""
    events = [gpu.call("cuEventCreate", 0) for _ in range(2)]
    gpu.call("cuEventRecord", events[0], gpu.stream)
    work()
    gpu.call("cuEventRecord", events[1], gpu.stream)
    gpu.call("cuEventSynchronize", events[1])
    taken = float(gpu.call("cuEventElapsedTime", *events))
    for event in events:
        gpu.call("cuEventDestroy", event)
    return taken


def bandwidth(gpu: Gpu) -> float:
    """Bytes a millisecond that a large copy within the GPU's memory reads and writes."""
    nbytes = min(1 << 29, gpu.device.memory // 16)
    a, b = gpu.allocate(nbytes), gpu.allocate(nbytes)
    try:
        return 2 * nbytes / milliseconds(gpu, [lambda: gpu.call("cuMemcpyDtoDAsync", b.pointer, a.pointer, nbytes,
                                                                gpu.stream)] * 4)
    finally:
        gpu.free(a)
        gpu.free(b)


def time_frames(gpu: Gpu, runner: NetworkRunner, network: Network, findings: Findings, title: str) -> None:
    """The table, and what is wanted: kernels near their floor, the whole frame near network and copies.

    Wanted, not asked for: no device has set these limits yet.
    """
    rate = bandwidth(gpu)
    findings.say("memory bandwidth, read and written", f"{rate / 1e6:.0f} GB/s")
    network_ms = milliseconds(gpu, [runner.enqueue] * 5)
    rng = np.random.default_rng()
    for height, width in SIZES:
        frame = Frame.from_array(rng.integers(0, 256, (height, width, 3), np.uint8))
        # As many frames as don't fit into the cache together: a camera's pixels are not in it either.
        count = int(np.clip(2 * gpu.device.cache // (3 * height * width) + 1, 2, 64))
        memories = [FrameMemory(gpu) for _ in range(count)]
        slots = [Slot(gpu, runner, network, Intake.of(frame, runner.input_size), frame.size, memory)
                 for memory in memories]
        for slot in slots:
            slot.put(frame)
        path = FramePath(gpu, runner, slots[:1])
        path.enqueue()
        gpu.synchronise()
        steps = {name: milliseconds(gpu, [slot.steps[name] for slot in slots]) for name in slots[0].steps}
        copies = steps["upload"] + steps["download"]
        path.capture()
        stages: dict[str, list[float]] = {}
        for _ in range(_REPEATS + 5):
            one: dict[str, float] = {}
            path.run([frame], [one])
            for name, ms in one.items():
                stages.setdefault(name, []).append(ms)
        host = {name: statistics.median(ms[5:]) for name, ms in stages.items()}
        whole = milliseconds(gpu, [path.enqueue])
        classes, grid_height, grid_width = runner.logits_shape
        grid = channels(classes) * grid_height * grid_width
        floor_pre = (3 * height * width + 2 * channels(3) * prod(runner.input_size)) / rate
        floor_post = (2 * grid + 3 * height * width) / rate
        findings.row(size=f"{width}x{height}", runtime=title, pre=steps["pre"], pre_floor=floor_pre, network=network_ms,
                     post=steps["post"], post_floor=floor_post, copies=copies, whole=whole,
                     host_copy_in=host["copy_in"], host_gpu=host["gpu"], host_copy_out=host["copy_out"],
                     graph="yes" if path.graph_refused is None else "no")
        where = f"{width}x{height}"
        for name, floor in (("pre", floor_pre), ("post", floor_post)):
            near = steps[name] <= max(2 * floor, 0.02)
            findings.say(f"{name} kernel at {where}, wanted within 2x of its memory floor or under 20 us",
                         f"{1e3 * steps[name]:.1f} us, floor {1e3 * floor:.1f} us: {'yes' if near else 'NO'}")
        quick = whole <= 1.15 * network_ms + copies
        findings.say(f"whole frame at {where}, wanted at most 1.15x the network and the copies",
                     f"{whole:.3f} ms, network {network_ms:.3f} ms, copies {copies:.3f} ms: {'yes' if quick else 'NO'}")
        path.close()
        for memory in memories:
            memory.close()


_START = """
import sys, time
from pathlib import Path
from drive_seg.network import Network
start = time.monotonic()
from drive_seg.runtimes.tensorrt.engine import open_tensorrt
from drive_seg.runtimes.tensorrt.library import load_library
open_tensorrt(Network.load(Path(sys.argv[1])), plan_folder=Path(sys.argv[2]), library=load_library(sys.argv[3])).close()
print(time.monotonic() - start)
"""


def time_start(network: Path, plans: Path, flavour: str, findings: Findings) -> None:
    """A later start, in a process of its own that has yet to load TensorRT, is wanted in under two seconds.

    flavour: see load_library.
    """
    try:
        run = subprocess.run([sys.executable, "-c", _START, str(network), str(plans), flavour], capture_output=True,
                             text=True, check=False, timeout=_START_LIMIT)
    except subprocess.TimeoutExpired:
        findings.must("a later start works", False, f"it has not ended after {_START_LIMIT} s")
        return
    if run.returncode:
        said = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        findings.must("a later start works", False, said[-1])
        return
    seconds = float(run.stdout.split()[-1])
    findings.must("a later start works", True, f"{seconds:.2f} s, wanted under 2 s")
