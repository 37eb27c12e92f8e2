"""The plan of a network: from the cache, or built and stored there by another process.

python3 -m drive_seg.runtimes.tensorrt.builder is that process: TensorRT holds Python's lock while it starts and builds,
and may take much memory; so the node answers meanwhile, and lives on where the build does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drive_seg.core.engine import EngineError, LogFunction
from drive_seg.files import locked, write_whole
from drive_seg.network import STAYS_FP32, Network
from drive_seg.runtimes.tensorrt import plan as plans
from drive_seg.runtimes.tensorrt.library import Library, check_driver, load_library
from drive_seg.runtimes.tensorrt.plan import PlanKey, StoredPlan, plan_path

ANY_GPU = "any"

# workspace: bytes that a layer may use; TensorRT's own limit is all memory, and a small board then ends the node.
_OPTIONS = {"optimization_level": 3, "workspace": 512 << 20, "format": "HWC8"}

_REFUSED = "refused: "  # starts the line in which the build process says why it made no plan


@dataclass(frozen=True)
class Target:
    """The GPU a plan is for. gpu: the name of the one here, or ANY_GPU of that compute capability, e.g. (8, 6)."""

    gpu: str
    compute_capability: tuple[int, int]


def typed_network(network: Network, precision: str = "fp16") -> tuple[Path, str]:
    """The ONNX file that TensorRT runs in a precision, and its sha256. Raises EngineError naming the fix."""
    file, digest = {"fp16": (network.fp16, network.fp16_sha256),
                    "int8": (network.int8_gpu, network.int8_gpu_sha256)}[precision]
    if file is not None:
        return file, digest
    fix = f"write it with `python3 -m drive_seg.fp16 {network.path}` (needs the package onnx, on any machine)"
    if precision == "int8" and network.int8 is None:
        fix = "export the network with --int8, or use precision fp16"
    raise EngineError(f"{network.path} has no {precision} version for TensorRT beside it", fix)


def batch_sizes(cameras: int) -> tuple[int, ...]:
    """The batches to build for so many cameras: powers of two below, and all at once."""
    return (*(1 << i for i in range((cameras - 1).bit_length())), cameras)


def key_for(network: Network, input_size: tuple[int, int], library: Library, target: Target,
            precision: str = "fp16", batch: int = 1) -> PlanKey:
    """The key of the plan that is wanted here. Raises EngineError, also when this TensorRT can't build for that GPU."""
    capability = "{}.{}".format(*target.compute_capability)
    if target.gpu == ANY_GPU and not library.is_rtx:
        raise EngineError(f"{library.title} builds only for the GPU it runs on",
                          "build there, or use TensorRT for RTX, which builds for RTX cards from anywhere")
    if target.gpu == ANY_GPU and capability not in _listed(library):
        raise EngineError(f"{library.title} doesn't build for compute capability {capability} from another machine; it"
                          f" does for {', '.join(_listed(library))}")
    return PlanKey(typed_network(network, precision)[1], precision, library.flavour, library.version,
                   ANY_GPU if library.is_rtx else target.gpu, capability, (batch, 3, *input_size), _OPTIONS)


def _listed(library: Library) -> dict[str, Any]:
    """Compute capabilities that TensorRT for RTX builds for from any machine."""
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in library.module.ComputeCapability.__members__.items()
            if name.startswith("SM")}


def obtain_plan(network: Network, input_size: tuple[int, int], library: Library, target: Target, folder: Path,
                progress: LogFunction = lambda line: None, *, precision: str = "fp16", rebuild: bool = False,
                path: Path | None = None, batch: int = 1) -> tuple[Path, StoredPlan]:
    """The plan of a network for a GPU: from the cache, or built and stored there. Raises EngineError naming the fix.

    rebuild: even if a fitting one is there. path: where to, other than the cache's own name in `folder`. batch: frames
    at once.
    """
    key = key_for(network, input_size, library, target, precision, batch)
    own = plan_path(folder, network.name, key)
    if path is not None:
        progress(f"the node looks for this plan, and its .json, as {own.name} in its plan folder (parameter"
                 " plan_folder)")
    path = path or own
    found = plans.load(path, key)
    if isinstance(found, StoredPlan) and not rebuild:
        return path, found
    progress(found if isinstance(found, str) else f"asked to build {path} again")
    waiting = f"another process builds {path.name}: waiting for it"
    with locked(path.with_suffix(".lock"), lambda: progress(waiting)):
        again = plans.load(path, key)
        if isinstance(again, StoredPlan) and again != found:  # that process built it
            return path, again
        at_once = f" in batches of {batch}" if batch > 1 else ""
        progress(f"{library.title} builds {network.name} {input_size[1]}x{input_size[0]} in {precision}{at_once} for"
                 f" compute capability {key.compute_capability} (GPU: {target.gpu}), once; seconds on a PC, some"
                 " minutes on a Jetson")
        build_apart(library, key, typed_network(network, precision)[0], folder / "timing.cache", path, progress)
        stored = plans.load(path, key)
        if isinstance(stored, str):
            raise EngineError(stored)
    built = stored.sidecar["built"]
    wide = f", {len(built['fp32'])} of its layers fp32" if built["fp32"] else ""
    progress(f"{path} holds {precision}{wide}, {len(stored.data) / 1e6:.1f} MB, built in {built['seconds']:.1f} s")
    return path, replace(stored, fresh=True)


def build_apart(library: Library, key: PlanKey, onnx: Path, timing_cache: Path, path: Path, progress: LogFunction,
                ) -> None:
    """Build a plan and store it at `path`, in a process of its own. Raises EngineError."""
    reason = ""
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(key.facts()), onnx, timing_cache, path],
            stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        assert process.stdout is not None  # a pipe
        for line in process.stdout:
            if line.startswith(_REFUSED):
                reason = line.removeprefix(_REFUSED).rstrip()
            else:
                progress(line.rstrip())
        code = process.wait()
        errors.seek(0)
        said = [" ".join(line.split()) for line in errors if line.strip()]
    if code == 0 and not reason:
        return
    cause = [line for line in said if "[E]" in line] or ([] if reason else said[-1:])  # else a traceback's end
    killed = " (memory used up? close other programs, or use a smaller network input)" if code == -9 else ""
    reason = reason or f"{library.title} ended with code {code} while it built{killed}"
    raise EngineError(": ".join([reason, *cause[:1]]))


# ---- in that process ----


def main(key: str, onnx: str, timing_cache: str, path: str) -> None:
    """Build a plan and store it at `path`. What there is to say goes to stdout."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends when its parent does
    wanted = PlanKey(**json.loads(key))
    try:
        plan, facts = build(load_library(wanted.flavour), wanted, Path(onnx), Path(timing_cache))
        plans.store(Path(path), wanted, plan, facts)
    except EngineError as error:
        print(f"{_REFUSED}{error}")


def build(library: Library, key: PlanKey, onnx: Path, timing_cache: Path) -> tuple[bytes, dict[str, Any]]:
    """A plan from a strongly typed ONNX file, and facts for its sidecar. Raises EngineError."""
    start = time.monotonic()
    trt = library.module
    log = trt.Logger(trt.Logger.ERROR)  # filters within TensorRT: a logger in Python is given every line
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # pybind11's word for a null pointer
        check_driver(library)
        raise EngineError(f"{library.title} can't start a builder") from error
    flags = trt.NetworkDefinitionCreationFlag  # TensorRT 11 has strongly typed networks only, and may drop the flag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx.read_bytes()):
        raise EngineError(_parser_says(library, parser))
    network.get_input(0).shape = tuple(key.input_shape)
    facts = _read_back(library, network, key)
    for tensor in (network.get_input(0), network.get_output(0)):
        tensor.allowed_formats = 1 << int(trt.TensorFormat.HWC8)
    config = builder.create_builder_config()
    config.builder_optimization_level = key.options["optimization_level"]
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, key.options["workspace"])
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the inspector tells the types
    config.progress_monitor = _monitor(trt)
    if library.is_rtx:
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # else it can't be part of a CUDA graph
        which = _listed(library).get(key.compute_capability)
        if which is not None:  # else what it makes by default, for several GPUs, may do
            config.num_compute_capabilities = 1
            if not config.set_compute_capability(which, 0):
                raise EngineError(f"{library.title} doesn't take compute capability {key.compute_capability}")
    else:
        for content in (timing_cache.read_bytes() if timing_cache.is_file() else b"", b""):
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                break  # else it was measured on another GPU or version
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise EngineError(f"{library.title} can't build the network")
    measured = None if library.is_rtx else config.get_timing_cache()
    if measured is not None:
        with contextlib.suppress(EngineError), write_whole(timing_cache) as part:  # the plan matters more
            part.write_bytes(bytes(measured.serialize()))
    return bytes(made), facts | {"seconds": round(time.monotonic() - start, 2)}


def _parser_says(library: Library, parser) -> str:
    if not parser.num_errors:
        return f"{library.title} can't read the network and gives no reason"
    error = parser.get_error(0)
    why = " ".join(error.desc().split())
    if not error.node_operator():
        return f"{library.title} can't read the network: {why}"
    return (f"{library.title} can't take the operator {error.node_operator()} (layer {error.node_name()}): {why};"
            " export the network without it, or use engine openvino")


def _read_back(library: Library, network, key: PlanKey) -> dict[str, Any]:
    """Which shapes and types the parsed network really has. Raises EngineError when they aren't what was asked."""
    trt = library.module
    try:
        logits = tuple(network.get_output(0).shape)
    except RuntimeError:  # nothing fits together
        logits = ()
    batch = key.input_shape[0]
    if len(logits) != 4 or min(logits) < 1 or logits[0] != batch:
        raise EngineError(f"the network gives {logits or 'nothing'} at this input size, expected the static shape"
                          f" [{batch}, classes, height, width]",
                          "it must scale by factors, not to fixed sizes; use its own size or export it again")
    types: Counter[str] = Counter()
    wide = []
    moves = (trt.LayerType.CONSTANT, trt.LayerType.CAST, trt.LayerType.SHUFFLE)  # they compute nothing
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        outputs = [layer.get_output(k).dtype for k in range(layer.num_outputs)]
        types.update(dtype.name for dtype in outputs)
        if trt.float32 in outputs and layer.type not in moves:
            wide.append(layer.name)
    unasked = [name for name in wide if STAYS_FP32 not in name]
    if unasked:
        raise EngineError(f"{library.title} reads these layers as fp32 though the network is {key.precision}:"
                          f" {', '.join(unasked)}", "report it")
    if (types["INT8"] > 0) != (key.precision == "int8"):
        raise EngineError(f"{library.title} reads {types['INT8']} layers as int8 though the network is"
                          f" {key.precision}", "export it again")
    return {"precision": key.precision, "layer_types": dict(sorted(types.items())), "fp32": wide,
            "shapes": {tensor.name: list(tensor.shape) for tensor in (network.get_input(0), network.get_output(0))}}


def _monitor(trt: Any):
    class Monitor(trt.IProgressMonitor):
        """Turns TensorRT's outermost phases into lines of per cent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, name, parent, steps) -> None:
            if parent is None:
                self._steps[name] = steps

        def phase_finish(self, name) -> None:
            pass

        def step_complete(self, name, step) -> bool:
            if name in self._steps:
                print(f"{name}: {100 * (step + 1) // max(self._steps[name], 1)} %", flush=True)
            return True

    return Monitor()


if __name__ == "__main__":
    main(*sys.argv[1:])
