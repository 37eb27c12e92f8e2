"""A TensorRT plan, ready to run on one GPU."""

from __future__ import annotations

import contextlib
from math import prod
from pathlib import Path
from typing import Any

from drive_seg.core.engine import EngineError
from drive_seg.files import write_whole
from drive_seg.runtimes.tensorrt.frame_path import channels
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.library import Library, check_driver


class PlanRefusedError(EngineError):
    """TensorRT doesn't load this plan here; building it again may help."""


class PlanRunner:
    """See frame_path.NetworkRunner. Use it inside `gpu.current()`."""

    def __init__(self, gpu: Gpu, library: Library, plan: bytes, jit_cache: Path, larger: PlanRunner | None = None,
                 ) -> None:
        """jit_cache: where TensorRT for RTX may keep what it compiles here. larger: the same network at a larger batch,
        whose buffers this one uses too; by default it has its own. Raises PlanRefusedError and EngineError."""
        trt: Any = library.module
        title = library.title
        self._gpu = gpu
        self._errors = recorder(trt)
        self._jit: JitCache | None = None
        gpu.on_close(self._close)
        try:
            self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        except TypeError as error:  # pybind11's word for a null pointer
            check_driver(library)
            raise EngineError(f"{title} doesn't start; it said why on stderr") from error
        self._runtime.error_recorder = self._errors
        self._engine = engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanRefusedError(f"{title} doesn't load the plan: {self._errors.reason()}")
        engine.error_recorder = self._errors
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        names.sort(key=lambda name: engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT)
        shapes = [tuple(engine.get_tensor_shape(name)) for name in names]
        found = [(engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT, engine.get_tensor_dtype(name),
                  engine.get_tensor_format(name)) for name in names]
        if (found != [(is_input, trt.float16, trt.TensorFormat.HWC8) for is_input in (True, False)]
                or any(len(shape) != 4 or min(shape) < 1 for shape in shapes)):
            raise PlanRefusedError(f"the plan has {found} of {shapes}, expected image and logits, static fp16 as HWC8")
        self.batch: int = shapes[0][0]
        self.input_size: tuple[int, int] = shapes[0][2:]
        self.logits_shape: tuple[int, int, int] = shapes[1][1:]
        if library.is_rtx:
            self._jit = JitCache(engine, jit_cache)
        self._context = engine.create_execution_context(*(() if self._jit is None else (self._jit.config,)))
        if self._context is None:
            raise EngineError(f"{title} can't set the network up, is the GPU's memory used up? {self._errors.reason()}",
                              "close other programs on it, or use a smaller network input")
        self._context.error_recorder = self._errors
        if larger is None:
            self.pixels, self.logits = (gpu.allocate(2 * shape[0] * channels(shape[1]) * prod(shape[2:]))
                                        for shape in shapes)
        else:
            self.pixels, self.logits = larger.pixels, larger.logits
        for name, buffer in zip(names, (self.pixels, self.logits), strict=True):
            if not self._context.set_tensor_address(name, buffer.pointer):
                raise EngineError(f"{title} doesn't take the address of {name}: {self._errors.reason()}")

    def enqueue(self) -> None:
        """See NetworkRunner.enqueue."""
        if not self._context.execute_async_v3(int(self._gpu.stream)):
            raise EngineError(f"TensorRT failed on a frame: {self._errors.reason()}")

    @property
    def capturable(self) -> bool:
        """See NetworkRunner.capturable."""
        asks = getattr(self._context, "is_stream_capturable", None)  # TensorRT for RTX alone may not be
        return asks is None or asks(int(self._gpu.stream))

    def keep_compiled(self) -> None:
        """Keep what was compiled to run this plan, for the next start."""
        if self._jit is not None:
            self._jit.keep()

    def _close(self) -> None:
        self._context = self._jit = self._engine = self._runtime = None  # in this order


class JitCache:
    """What TensorRT for RTX compiles when a plan is opened, kept for the next start: its plans hold no ready kernels.

    It must live as long as the contexts made with `config`.
    """

    def __init__(self, engine, path: Path) -> None:
        self._path = path
        self._stored = b""
        self.config = engine.create_runtime_config()  # for create_execution_context
        self._cache = self.config.create_runtime_cache()
        with contextlib.suppress(OSError):
            self._stored = path.read_bytes()
        if self._stored:
            self._cache.deserialize(self._stored)  # it refuses what is damaged or another GPU's, and stays empty
        self.config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Write it down if there is something new; a folder that can't be written only makes the next start slower."""
        compiled = self._cache.serialize()
        if compiled is not None and bytes(compiled) != self._stored:
            with contextlib.suppress(EngineError), write_whole(self._path) as part:
                part.write_bytes(bytes(compiled))


def recorder(trt: Any):
    """Keeps TensorRT's errors, so that they can be part of ours."""

    class Errors(trt.IErrorRecorder):
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self._first: tuple | None = None

        def report_error(self, code, text) -> bool:
            self._first = self._first or (code, " ".join(str(text).split()))
            return False  # it is not fatal

        def num_errors(self) -> int:
            return int(self._first is not None)

        def get_error_code(self, i):
            return self._first and self._first[0]

        def get_error_desc(self, i):
            return self._first and self._first[1]

        def has_overflowed(self) -> bool:
            return False

        def clear(self) -> None:
            self._first = None

        def reason(self) -> str:
            """The first error since the last call: later ones follow from it."""
            first = self._first or (None, "it gave no reason")
            self.clear()
            return first[1]

    return Errors()
