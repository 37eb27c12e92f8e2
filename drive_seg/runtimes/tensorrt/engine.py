"""The TensorRT engine: opens GPU, kernels and plan, and keeps a frame path for the camera's layout."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from drive_seg.core.decode import Decoded
from drive_seg.core.engine import Engine, EngineError, Loaded, LogFunction
from drive_seg.core.frame import Frame, FrameError
from drive_seg.files import plan_folder as folder_for
from drive_seg.loading import fix_for_memory
from drive_seg.network import Network
from drive_seg.runtimes import sensors
from drive_seg.runtimes.cuda_driver import first_gpu
from drive_seg.runtimes.form import check_shape, check_values, shown
from drive_seg.runtimes.tensorrt.builder import Target, batch_sizes, obtain_plan
from drive_seg.runtimes.tensorrt.frame_path import FrameMemory, FramePath, NetworkRunner, Slot, channels
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.intake import Intake
from drive_seg.runtimes.tensorrt.kernels import load_kernels
from drive_seg.runtimes.tensorrt.library import Library, load_library
from drive_seg.runtimes.tensorrt.plan import StoredPlan
from drive_seg.runtimes.tensorrt.runner import PlanRefusedError, PlanRunner


def open_tensorrt(network: Network, input_size: tuple[int, int] | None = None, precision: str = "auto", *,
                  cameras: int = 1, plan_folder: Path | None = None, progress: LogFunction = lambda line: None,
                  library: Library | None = None) -> TensorRtEngine:
    """The network on this machine's GPU, warmed up; builds and stores its plans when none fit. For the arguments see
    runtimes.Options; library: the TensorRT to use, by default the one that is found. Raises EngineError naming the fix.

    precision: `fp16`, which `auto` takes, or `int8`, which loses some accuracy and so must be asked for. Where batches
    can't be had it does without, and says so.
    """
    start = time.monotonic()
    device, size, folder = first_gpu(), input_size or network.input_size, folder_for(plan_folder)
    target = Target(device.name, device.compute_capability)
    library = library or load_library()

    def obtain(batch: int, rebuild: bool = False) -> tuple[Path, StoredPlan]:
        return obtain_plan(network, size, library, target, folder, progress, rebuild=rebuild, batch=batch,
                           precision="fp16" if precision == "auto" else precision)

    plans, wanted = {1: obtain(1)}, batch_sizes(cameras)
    try:
        plans |= {batch: obtain(batch) for batch in wanted[1:]}
    except EngineError as error:
        progress(f"{_ONE_BY_ONE}: {error}")
    while True:
        try:
            engine = _open(network, library, plans, progress)
            break
        except EngineError as error:
            old = [batch for batch, (_, stored) in plans.items() if not stored.fresh]
            if isinstance(error, PlanRefusedError) and old:
                progress(f"{error}: building it again")
                plans |= {batch: obtain(batch, rebuild=True) for batch in old}
            elif len(plans) > 1:
                progress(f"{_ONE_BY_ONE}: {error}")
                plans = {1: plans[1]}
            else:
                raise
    at_once = f", for {' or '.join(map(str, engine.batches))} frames at once" if cameras > 1 else ""
    progress(f"{library.title} is ready after {time.monotonic() - start:.1f} s{at_once}")
    return engine


_ONE_BY_ONE = "frames of several cameras go through the GPU one by one"


def _open(network: Network, library: Library, plans: dict[int, tuple[Path, StoredPlan]], progress: LogFunction,
          ) -> TensorRtEngine:
    """plans: by their batch."""
    with bound(library.title):
        gpu = Gpu()
        try:
            runners: list[PlanRunner] = []
            with gpu.current():
                load_kernels(gpu)
                for _, (path, stored) in sorted(plans.items(), reverse=True):  # the largest has the buffers of all
                    runners.append(PlanRunner(gpu, library, stored.data, path.with_suffix(".jit"), *runners[:1]))
            path, single = plans[1]
            built, plan = single.sidecar["built"], single.sidecar["plan"]
            engine = TensorRtEngine(gpu, runners, network, built["precision"], library.title, progress)
            engine.loaded = Loaded(path.name, plan["sha256"], library.title)
            engine.warm_up(2)
            engine.decode(Frame.from_array(shown(engine.input_size)), engine.input_size, {})
            check_values(network, engine.logits())
            with gpu.current():
                for runner in runners:
                    runner.keep_compiled()
            return engine
        except BaseException:
            gpu.close()
            raise


@contextlib.contextmanager
def bound(what: str) -> Iterator[None]:
    """Make an EngineError of whatever a library's Python binding raises: only that falls back to the processor."""
    try:
        yield
    except (EngineError, FrameError):
        raise
    except Exception as error:
        raise EngineError(f"{what} failed ({type(error).__name__}: {error})",
                          fix_for_memory(error) or "please report it") from error


class TensorRtEngine(Engine):
    """See drive_seg.core.engine.Engine. Its memory is taken when it is made (see FrameMemory.reserve)."""

    name = "tensorrt"
    on_cpu = False

    def __init__(self, gpu: Gpu, runners: Sequence[NetworkRunner], network: Network, precision: str, library: str,
                 progress: LogFunction = lambda line: None) -> None:
        """Takes over `gpu`, once it is made. runners: of one network, one for each batch; they share their buffers, and
        one takes single frames. library: what runs the network. progress: takes a line when a frame is larger than
        memory was taken for. Raises EngineError."""
        self._runners = {runner.batch: runner for runner in sorted(runners, key=lambda runner: runner.batch)}
        self.batches = tuple(self._runners)
        runner = self._runners[1]
        check_shape(network, (1, *runner.logits_shape))
        self.network = network
        self.loaded = Loaded(network.path.name, network.sha256, library)
        self.precision = precision
        self.device = gpu.device.title
        self.input_size = runner.input_size
        self._gpu = gpu
        self._paths: dict[int, FramePath] = {}  # by batch; those of the slots as they are
        self._slots: list[Slot | None] = [None] * self.batches[-1]
        self._failed: str | None = None
        self._memory = [FrameMemory(gpu, progress) for _ in self._slots]
        with gpu.current():
            for memory in self._memory:
                memory.reserve(runner.input_size, runner.logits_shape[0])

    def decode(self, frame: Frame, size: tuple[int, int], stages: dict[str, float]) -> Decoded:
        """See drive_seg.core.engine.Engine.decode. After an error of the GPU every later frame fails too."""
        result = self.decode_batch([frame], [size], [stages])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def decode_batch(self, frames: Sequence[Frame], sizes: Sequence[tuple[int, int]],
                     stages: Sequence[dict[str, float]]) -> list[Decoded | Exception]:
        """See drive_seg.core.engine.Engine.decode_batch. After an error of the GPU every later frame fails too."""
        # Cameras that differ find their slots as they were, in whatever order they come.
        order = sorted(range(len(frames)), key=lambda i: (frames[i].encoding, frames[i].size, sizes[i]))
        try:
            with bound(self.loaded.runtime), self.on_gpu() as (gpu, _):
                path = self._path_for(gpu, [(Intake.of(frames[i], self.input_size), sizes[i]) for i in order])
                results = path.run([frames[i] for i in order], [stages[i] for i in order])
        except BaseException as error:
            self._failed = self._failed or str(error) or type(error).__name__
            raise
        return [results[order.index(i)] for i in range(len(frames))]

    def logits(self) -> np.ndarray:
        """What the network said of the last frame, the first of a batch, (C, gh, gw) float32. Raises EngineError."""
        with self.on_gpu() as (gpu, runner):
            classes, height, width = runner.logits_shape
            shape = height, width, channels(classes)
            staging = gpu.allocate(2 * prod(shape), host=True)  # for its page-locked half
            gpu.download(replace(runner.logits, host=staging.host), staging.nbytes)
            gpu.synchronise()
            found = staging.host.view(np.float16).reshape(shape)[..., :classes].transpose(2, 0, 1).astype(np.float32)
            gpu.free(staging)
        return found

    @contextlib.contextmanager
    def on_gpu(self) -> Iterator[tuple[Gpu, NetworkRunner]]:
        """Its GPU, made current, and its network, to measure them. Raises EngineError once it failed or was closed."""
        if self._failed:
            raise EngineError(f"the GPU engine stopped after an error ({self._failed})",
                              "configure the node again; where that fails too, start the program again (CUDA forgets"
                              " some errors only then)")
        with self._gpu.current():
            yield self._gpu, self._runners[1]

    def _path_for(self, gpu: Gpu, layouts: list[tuple[Intake, tuple[int, int]]]) -> FramePath:
        for place, (intake, size) in enumerate(layouts):
            slot = self._slots[place]
            if slot is None or (slot.intake, slot.size) != (intake, size):
                for batch in [batch for batch in self._paths if batch > place]:
                    self._paths.pop(batch).close()
                self._slots[place] = Slot(gpu, self._runners[1], self.network, intake, size, self._memory[place], place)
        batch = len(layouts)
        if batch not in self._paths:
            slots = [slot for slot in self._slots[:batch] if slot is not None]
            path = self._paths[batch] = FramePath(gpu, self._runners[batch], slots)
            path.enqueue()
            gpu.synchronise()
            path.capture()
        return self._paths[batch]

    @property
    def graph_refused(self) -> str | None:
        """Why frames of the last layouts aren't one CUDA graph; None when they are."""
        return next((path.graph_refused for path in self._paths.values() if path.graph_refused), None)

    def readings(self) -> dict[str, str]:
        """See drive_seg.core.engine.Engine.readings."""
        if self._failed:
            return {}
        with self.on_gpu() as (gpu, _):
            return sensors.readings(gpu=gpu.free_and_total(), degrees=gpu.temperature())

    def close(self) -> None:
        """Give back the GPU. Never fails: a GPU in error can't be tidied up."""
        self._failed = self._failed or "it was closed"
        self._gpu.close()
