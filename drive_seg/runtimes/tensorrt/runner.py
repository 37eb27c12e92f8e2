"""A TensorRT plan, ready to run on one GPU."""

from __future__ import annotations

from pathlib import Path

from drive_seg.core.engine import EngineError
from drive_seg.runtimes.tensorrt.builder import logger
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.jit_cache import JitCache
from drive_seg.runtimes.tensorrt.library import Library


class PlanRefusedError(EngineError):
    """TensorRT doesn't load this plan here; building it again may help."""


class PlanRunner:
    """See frame_path.NetworkRunner. Use it inside `gpu.current()`."""

    def __init__(self, gpu: Gpu, library: Library, plan: bytes, jit_cache: Path | None = None) -> None:
        """jit_cache: where TensorRT for RTX may keep what it compiles here. Raises PlanRefusedError, and EngineError
        when the GPU's memory doesn't suffice.
        """
        trt = library.module
        self._gpu = gpu
        self._log = logger(library)
        self._jit: JitCache | None = None
        try:
            self._runtime = trt.Runtime(self._log)
        except TypeError as error:  # pybind11's word for a null pointer
            raise EngineError(f"{library.title} doesn't start: {self._log.reason()}") from error
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise PlanRefusedError(f"{library.title} doesn't load the plan: {self._log.reason()}")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        outputs = [n for n in names if n not in inputs]
        if len(inputs) != 1 or len(outputs) != 1:
            raise PlanRefusedError(f"the plan has the tensors {names}, expected image and logits")
        image, logits = inputs[0], outputs[0]
        types = {self._engine.get_tensor_dtype(n) for n in names}
        shapes = [tuple(self._engine.get_tensor_shape(n)) for n in (image, logits)]
        if types != {trt.float16} or any(len(s) != 4 or min(s) < 1 for s in shapes):
            raise PlanRefusedError(f"the plan has {types} of {shapes}, expected static fp16")
        self.input_size: tuple[int, int] = shapes[0][2:]
        self.logits_shape: tuple[int, int, int] = shapes[1][1:]
        if library.is_rtx and jit_cache is not None:
            self._jit = JitCache(self._engine, jit_cache)
        arguments = () if self._jit is None else (self._jit.config,)
        self._context = self._engine.create_execution_context(*arguments)
        if self._context is None:
            raise EngineError(f"{library.title} can't set the network up: {self._log.reason()}; is the GPU's memory"
                              " used up? Close other programs on it, or use a smaller network input")
        self.planes = gpu.allocate(2 * _product(shapes[0]))
        self.logits = gpu.allocate(2 * _product(shapes[1]))
        for name, buffer in ((image, self.planes), (logits, self.logits)):
            if not self._context.set_tensor_address(name, buffer.pointer):
                self.close()
                raise EngineError(f"{library.title} doesn't take the address of {name}: {self._log.reason()}")

    def enqueue(self) -> None:
        """See NetworkRunner.enqueue."""
        if not self._context.execute_async_v3(self._gpu.stream):
            raise EngineError(f"TensorRT failed on a frame: {self._log.reason()}")

    @property
    def capturable(self) -> bool:
        """See NetworkRunner.capturable."""
        asks = getattr(self._context, "is_stream_capturable", None)  # TensorRT for RTX alone may not be
        return asks is None or asks(self._gpu.stream)

    def keep_compiled(self) -> None:
        """Keep what was compiled to run this plan, for the next start."""
        if self._jit is not None:
            self._jit.keep()

    def close(self) -> None:
        """Give back the network and its memory."""
        self._context = self._jit = self._engine = self._runtime = None  # in this order
        self._gpu.free(self.planes)
        self._gpu.free(self.logits)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for n in shape:
        product *= n
    return product
