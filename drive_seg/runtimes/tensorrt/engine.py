"""The TensorRT engine: opens GPU, kernels and plan, and keeps a frame path for the camera's layout."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
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
from drive_seg.runtimes.tensorrt.builder import Target, obtain_plan
from drive_seg.runtimes.tensorrt.frame_path import FrameMemory, FramePath, NetworkRunner, NotFiniteError, channels
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.intake import Intake
from drive_seg.runtimes.tensorrt.kernels import load_kernels
from drive_seg.runtimes.tensorrt.library import Library, load_library
from drive_seg.runtimes.tensorrt.plan import StoredPlan
from drive_seg.runtimes.tensorrt.runner import PlanRefusedError, PlanRunner


def open_tensorrt(network: Network, input_size: tuple[int, int] | None = None, precision: str = "auto", *,
                  plan_folder: Path | None = None, progress: LogFunction = lambda line: None,
                  library: Library | None = None) -> TensorRtEngine:
    """The network on this machine's GPU, warmed up; builds and stores its plan when none fits. For the arguments see
    runtimes.Options; library: the TensorRT to use, by default the one that is found. Raises EngineError naming the fix.

    precision: `fp16`, which `auto` takes, or `int8`, which loses some accuracy and so must be asked for.
    """
    start = time.monotonic()
    device = first_gpu()
    target = Target(device.name, device.compute_capability)
    library = library or load_library()
    for rebuild in (False, True):
        path, stored = obtain_plan(network, input_size or network.input_size, library, target, folder_for(plan_folder),
                                   progress, precision="fp16" if precision == "auto" else precision, rebuild=rebuild)
        try:
            engine = _open(network, library, path, stored, progress)
            break
        except PlanRefusedError as error:
            if stored.fresh or rebuild:
                raise
            progress(f"{error}: building it again")
    progress(f"{library.title} is ready after {time.monotonic() - start:.1f} s")
    return engine


def _open(network: Network, library: Library, path: Path, stored: StoredPlan, progress: LogFunction) -> TensorRtEngine:
    with bound(library.title):
        gpu = Gpu()
        try:
            with gpu.current():
                load_kernels(gpu)
                runner = PlanRunner(gpu, library, stored.data, path.with_suffix(".jit"))
            engine = TensorRtEngine(gpu, runner, network, stored.sidecar["built"]["precision"], library.title, progress)
            engine.loaded = Loaded(path.name, stored.sidecar["plan"]["sha256"], library.title)
            engine.warm_up(2)
            engine.decode(Frame.from_array(shown(engine.input_size)), engine.input_size, {})
            check_values(network, engine.logits())
            with gpu.current():
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

    def __init__(self, gpu: Gpu, runner: NetworkRunner, network: Network, precision: str, library: str,
                 progress: LogFunction = lambda line: None) -> None:
        """Takes over `gpu`, once it is made. library: what runs the network. progress: takes a line when a frame is
        larger than memory was taken for. Raises EngineError."""
        check_shape(network, (1, *runner.logits_shape))
        self.network = network
        self.loaded = Loaded(network.path.name, network.sha256, library)
        self.precision = precision
        self.device = gpu.device.title
        self.input_size = runner.input_size
        self._gpu = gpu
        self._runner = runner
        self._path: FramePath | None = None
        self._failed: str | None = None
        self._memory = FrameMemory(gpu, progress)
        with gpu.current():
            self._memory.reserve(runner.input_size, runner.logits_shape[0])

    def decode(self, frame: Frame, size: tuple[int, int], stages: dict[str, float]) -> Decoded:
        """See drive_seg.core.engine.Engine.decode. After an error of the GPU every later frame fails too."""
        try:
            with bound(self.loaded.runtime), self.on_gpu() as (gpu, _):
                return self._path_for(gpu, Intake.of(frame, self.input_size), size).run(frame, stages)
        except (NotFiniteError, FrameError):  # of this frame alone
            raise
        except BaseException as error:
            self._failed = self._failed or str(error) or type(error).__name__
            raise

    def logits(self) -> np.ndarray:
        """What the network said of the last frame, (C, gh, gw) float32. Raises EngineError."""
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
            yield self._gpu, self._runner

    def _path_for(self, gpu: Gpu, intake: Intake, size: tuple[int, int]) -> FramePath:
        path = self._path
        if path is None or path.intake != intake or path.size != size:
            if path is not None:
                self._path = None
                path.close()
            path = self._path = FramePath(gpu, self._runner, self.network, intake, size, self._memory)
            path.enqueue()
            gpu.synchronise()
            path.capture()
        return path

    @property
    def graph_refused(self) -> str | None:
        """Why the last layout's frame isn't one CUDA graph; None when it is."""
        return self._path.graph_refused if self._path is not None else None

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
