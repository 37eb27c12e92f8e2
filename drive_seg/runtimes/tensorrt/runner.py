"""A TensorRT plan, ready to run on one GPU."""

from __future__ import annotations

import json
from collections import Counter

from drive_seg.core.engine import EngineError
from drive_seg.runtimes.tensorrt.builder import logger
from drive_seg.runtimes.tensorrt.gpu import Gpu
from drive_seg.runtimes.tensorrt.library import Library


class PlanRefusedError(EngineError):
    """TensorRT doesn't load this plan here; building it again may help."""


class PlanRunner:
    """See frame_path.NetworkRunner. Use it inside `gpu.current()`."""

    def __init__(self, gpu: Gpu, library: Library, plan: bytes) -> None:
        """Raises PlanRefusedError, and EngineError when the GPU's memory doesn't suffice."""
        trt = library.module
        self._gpu = gpu
        self._log = logger(library)
        self._trt = trt
        self._runtime = trt.Runtime(self._log)
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
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{library.title} can't set the network up: {self._log.reason()}; is the GPU's memory"
                              " used up? Close other programs on it, or use a smaller network input")
        self.planes = gpu.allocate(2 * _product(shapes[0]))
        self.logits = gpu.allocate(2 * _product(shapes[1]))
        for name, buffer in ((image, self.planes), (logits, self.logits)):
            if not self._context.set_tensor_address(name, buffer.pointer):
                raise EngineError(f"{library.title} doesn't take the address of {name}: {self._log.reason()}")

    def enqueue(self) -> None:
        """See NetworkRunner.enqueue."""
        if not self._context.execute_async_v3(self._gpu.stream):
            raise EngineError(f"TensorRT failed on a frame: {self._log.reason()}")

    def inspect(self) -> dict[str, int]:
        """Types and formats of the built engine's layer outputs, and how many have them, from the engine inspector."""
        text = self._engine.create_engine_inspector().get_engine_information(self._trt.LayerInformationFormat.JSON)
        formats: Counter[str] = Counter()
        for layer in json.loads(text).get("Layers", []):
            if isinstance(layer, dict):
                formats.update(str(o.get("Format/Datatype", "?")) for o in layer.get("Outputs", []))
        return dict(sorted(formats.items()))

    def close(self) -> None:
        """Give back the network and its memory."""
        self._context = self._engine = self._runtime = None
        self._gpu.free(self.planes)
        self._gpu.free(self.logits)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for n in shape:
        product *= n
    return product
