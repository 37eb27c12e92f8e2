"""python3 -m drive_seg.runtimes.tensorrt.build ORDER: ONNX -> TensorRT plan, in a process of its own.

TensorRT holds Python's lock while it starts and builds, and may take much memory: so the node answers meanwhile, and
lives on where the build does not. Lines of JSON come out: {"say": ...} on how far it is, at last {"built": ...}, or
{"refused": ...} with the reason. TensorRT's own errors go to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drive_seg.core.engine import EngineError
from drive_seg.files import write_whole
from drive_seg.network import STAYS_FP32
from drive_seg.runtimes.tensorrt.library import Library, load_library

OPTIONS = {"optimization_level": 3, "workspace": 512 << 20, "format": "HWC8"}
"""Part of every plan's key. workspace: bytes that a layer may use; TensorRT's own limit is all memory, and on a small
board the system then ends the node."""

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Order:
    """What to build. onnx: strongly typed, in this precision. input_size: (height, width), also other than the file's
    own. capability: a compute capability, e.g. "8.6". plan: the file to write. timing_cache: measurements of earlier
    builds.
    """

    flavour: str
    onnx: str
    precision: str
    input_size: tuple[int, int]
    capability: str
    plan: str
    timing_cache: str

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


def listed(library: Library) -> list[str]:
    """Compute capabilities that TensorRT for RTX builds for from any machine."""
    names = (name for name in library.module.ComputeCapability.__members__ if name.startswith("SM"))
    return [f"{name[2:-1]}.{name[-1]}" for name in names]


def build(library: Library, order: Order) -> dict:
    """Build the plan and write it; facts for its sidecar. Raises EngineError."""
    start = time.monotonic()
    trt = library.module
    log = trt.Logger(trt.Logger.ERROR)  # filters within TensorRT: a logger in Python is given every line
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # pybind11's word for a null pointer
        raise EngineError(f"{library.title} can't start a builder") from error
    flags = trt.NetworkDefinitionCreationFlag  # TensorRT 11 has strongly typed networks only, and may drop the flag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(Path(order.onnx).read_bytes()):
        raise EngineError(_parser_says(library, parser))
    _shape(network, order)
    facts = _read_back(library, network, order.precision)
    for tensor in (network.get_input(0), network.get_output(0)):
        tensor.allowed_formats = 1 << int(trt.TensorFormat.HWC8)
    config = builder.create_builder_config()
    config.builder_optimization_level = OPTIONS["optimization_level"]
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, OPTIONS["workspace"])
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the inspector tells the types
    if library.is_rtx:
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # else it can't be part of a CUDA graph
        if order.capability in listed(library):  # else what it makes by default, for several GPUs, may do
            config.num_compute_capabilities = 1
            if not config.set_compute_capability(
                    getattr(trt.ComputeCapability, "SM" + order.capability.replace(".", "")), 0):
                raise EngineError(f"{library.title} doesn't take compute capability {order.capability}")
    else:
        _load_timing_cache(config, Path(order.timing_cache))
    config.progress_monitor = _monitor(trt)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{library.title} can't build the network")
    Path(order.plan).write_bytes(plan)
    if not library.is_rtx:
        _keep_timing_cache(config, Path(order.timing_cache))
    return facts | {"seconds": round(time.monotonic() - start, 2)}


def _shape(network, order: Order) -> None:
    """Check what the ONNX file takes and gives, and set the input's size. Raises EngineError."""
    ends = [tuple(network.get_input(i).shape) for i in range(network.num_inputs)]
    if len(ends) != 1 or network.num_outputs != 1 or len(ends[0]) != 4 or ends[0][:2] != (1, 3):
        raise EngineError(f"{order.onnx} takes {ends} and gives {network.num_outputs} tensors, expected one image of"
                          " the static shape [1, 3, height, width] and one of logits",
                          "export it again")
    network.get_input(0).shape = (1, 3, *order.input_size)
    try:
        logits = tuple(network.get_output(0).shape)
    except RuntimeError:  # nothing fits together
        logits = ()
    if len(logits) != 4 or min(logits) < 1:
        raise EngineError(f"{order.onnx} gives {logits or 'nothing'} at this input size, expected the static shape [1,"
                          " classes, height, width]",
                          "it must scale by factors, not to fixed sizes; use its own size or export it again")


def _read_back(library: Library, network, precision: str) -> dict:
    """Which types the layers of the parsed network really have. Raises EngineError when they aren't what was asked."""
    trt = library.module
    types: Counter[str] = Counter()
    wide = []
    moves = (trt.LayerType.CONSTANT, trt.LayerType.CAST, trt.LayerType.SHUFFLE)  # they compute nothing
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        outputs = [layer.get_output(k).dtype for k in range(layer.num_outputs)]
        types.update(dtype.name for dtype in outputs)
        if trt.float32 in outputs and layer.type not in moves:
            wide.append(layer.name)
    unasked = [name for name in wide if STAYS_FP32 not in name]
    if unasked:
        raise EngineError(f"{library.title} reads these layers as fp32 though the network is {precision}:"
                          f" {', '.join(unasked)}; please report it")
    tensors = (network.get_input(0), network.get_output(0))
    ends = {tensor.dtype for tensor in tensors}
    if ends != {trt.float16}:
        raise EngineError(f"{library.title} gives the network's ends the types {ends}, expected fp16; please report it")
    if (types["INT8"] > 0) != (precision == "int8"):
        raise EngineError(f"{library.title} reads {types['INT8']} layers as int8 though the network is {precision}",
                          "export it again")
    return {"precision": precision, "layer_types": dict(sorted(types.items())), "fp32": wide,
            "shapes": {tensor.name: list(tensor.shape) for tensor in tensors}}


def _load_timing_cache(config, path: Path) -> None:
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    cache = config.create_timing_cache(stored) or config.create_timing_cache(b"")
    if not config.set_timing_cache(cache, ignore_mismatch=False):  # measured on another GPU or version
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _keep_timing_cache(config, path: Path) -> None:
    measured = config.get_timing_cache()
    try:
        if measured is not None:
            with write_whole(path) as part:
                part.write_bytes(bytes(measured.serialize()))
    except EngineError as error:  # the plan matters more
        _out(say=f"the next build will not be quicker: {error}")


def _monitor(trt: Any):
    class Monitor(trt.IProgressMonitor):
        """Turns TensorRT's outermost phase into lines of per cent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outer: tuple[str, int] | None = None

        def phase_start(self, name, parent, steps) -> None:
            if parent is None:
                self._outer = (name, steps)

        def phase_finish(self, name) -> None:
            pass

        def step_complete(self, name, step) -> bool:
            if self._outer and name == self._outer[0]:
                _out(say=f"{name}: {100 * (step + 1) // max(self._outer[1], 1)} %")
            return True

    return Monitor()


def _parser_says(library: Library, parser) -> str:
    if not parser.num_errors:
        return f"{library.title} can't read the network and gives no reason"
    error = parser.get_error(0)
    why = " ".join(error.desc().split())
    if not error.node_operator():
        return f"{library.title} can't read the network: {why}"
    return (f"{library.title} can't take the operator {error.node_operator()} (layer {error.node_name()}): {why};"
            " export the network without it, or use engine openvino")


def _out(**line) -> None:
    print(json.dumps(line), flush=True)


def main(text: str) -> int:
    """Build what the order says. Returns the exit code."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    order = Order(**json.loads(text))
    try:
        _out(built=build(load_library(order.flavour), order))
    except EngineError as error:
        _out(refused=str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
