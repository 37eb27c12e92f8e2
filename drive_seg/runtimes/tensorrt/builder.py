"""ONNX -> TensorRT plan: strongly typed, checked layer by layer, cached."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from drive_seg.core.engine import EngineError
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt import plan as plans
from drive_seg.runtimes.tensorrt import typed_onnx
from drive_seg.runtimes.tensorrt.files import write_whole
from drive_seg.runtimes.tensorrt.inspector import inspect_plan
from drive_seg.runtimes.tensorrt.library import Library
from drive_seg.runtimes.tensorrt.plan import PlanCache, PlanKey, StoredPlan

ANY_GPU = "any"

Progress = Callable[[str], None]
"""Takes one line at a time on how far building is."""


@dataclass(frozen=True)
class Target:
    """The GPU a plan is for. gpu: its name, ANY_GPU for every GPU of that compute capability. here: this machine's."""

    gpu: str
    compute_capability: tuple[int, int]
    here: bool = True

    @property
    def dotted(self) -> str:
        """The compute capability as NVIDIA writes it."""
        return "{}.{}".format(*self.compute_capability)

    @property
    def title(self) -> str:
        """For messages."""
        who = "GPUs" if self.gpu == ANY_GPU else self.gpu
        return f"{who} of compute capability {self.dotted}"


@dataclass(frozen=True)
class Build:
    """What the builder made: the plan, and facts for its sidecar."""

    plan: bytes
    facts: dict


def check_target(library: Library, target: Target) -> None:
    """Raises EngineError when this TensorRT can't build for that GPU."""
    if target.here:
        return
    if not library.is_rtx:
        raise EngineError(f"{library.title} builds only for the GPU it runs on",
                          "build there, or use TensorRT for RTX, which builds for RTX cards from anywhere")
    if target.dotted not in _listed(library):
        raise EngineError(f"{library.title} doesn't build for compute capability {target.dotted} from another machine;"
                          f" it does for {', '.join(_listed(library))}")


def key_for(network: Network, input_size: tuple[int, int], library: Library, target: Target,
            keep: tuple[str, ...]) -> PlanKey:
    """The key of the plan that is wanted here."""
    gpu = ANY_GPU if library.is_rtx else target.gpu
    return PlanKey(network.sha256, library.flavour, library.version, gpu, target.dotted, (1, 3, *input_size),
                   tuple(sorted(keep)), _options(library), typed_onnx.VERSION)


def obtain_plan(network: Network, input_size: tuple[int, int], library: Library, target: Target, folder: Path,
                progress: Progress = lambda line: None, *, rebuild: bool = False,
                path: Path | None = None) -> tuple[Path, StoredPlan]:
    """The plan of a network for a GPU: from the cache, or built and stored there.

    rebuild: even if a fitting one is there. path: where to, other than the cache's own name in `folder`. Raises
    EngineError naming the fix.
    """
    check_target(library, target)
    model = typed_onnx.load_onnx(network.path, None if input_size == network.input_size else input_size)
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    if shape != (1, 3, *input_size):
        raise EngineError(f"{network.path} takes {shape}, its YAML file says {(1, 3, *input_size)}", "export it again")
    keep = typed_onnx.fp32_layers(model)
    key = key_for(network, input_size, library, target, keep)
    cache = PlanCache(folder)
    if path is not None:
        progress(f"the node looks for this plan, and its .json, as {cache.path(network.name, key).name} in its plan"
                 " folder (parameter plan_folder)")
    path = path or cache.path(network.name, key)
    found = plans.load(path, key)
    if isinstance(found, StoredPlan) and not rebuild:
        return path, found
    waiting = f"another process builds {path.name}: waiting for it"
    with ExitStack() as held:
        try:
            held.enter_context(cache.lock(path, lambda: progress(waiting)))
        except EngineError as error:
            raise EngineError(f"{found}, and {error}" if isinstance(found, str) else str(error)) from error
        again = plans.load(path, key)
        if isinstance(again, StoredPlan) and (not rebuild or again.sidecar != getattr(found, "sidecar", None)):
            return path, again
        progress(("asked to build again" if isinstance(again, StoredPlan) else again)
                 + f": {library.title} builds {network.name} {input_size[1]}x{input_size[0]} for {target.title}, once;"
                   " seconds on a PC, some minutes on a Jetson")
        built = build(library, typed_onnx.typed_fp16(model, keep), keep, target, cache.timing_cache, progress)
        stored = plans.store(path, key, built.plan, built.facts)
    progress(f"{path} holds {built.facts['precision']}, {len(built.plan) / 1e6:.1f} MB,"
             f" built in {built.facts['seconds']:.1f} s")
    return path, stored


def build(library: Library, typed, keep: tuple[str, ...], target: Target, timing_cache: Path | None,
          progress: Progress) -> Build:
    """Build a network from typed_onnx.typed_fp16. Raises EngineError with TensorRT's own reason."""
    start = time.monotonic()
    trt = library.module
    log = logger(library)
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # pybind11's word for a null pointer
        raise EngineError(f"{library.title} can't start a builder: {log.reason()}") from error
    flags = trt.NetworkDefinitionCreationFlag  # TensorRT 11 has strongly typed networks only, and may drop the flag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(typed.SerializeToString()):
        raise EngineError(_parser_says(library, parser, typed))
    facts = _read_back(library, network, _names_of(typed, keep))
    config = builder.create_builder_config()
    options = _options(library)
    config.builder_optimization_level = options["optimization_level"]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the inspector tells the types
    if library.is_rtx:
        if target.dotted in _listed(library):  # else what it makes by default, for several GPUs, may do
            config.num_compute_capabilities = 1
            capability = getattr(trt.ComputeCapability, "SM{}{}".format(*target.compute_capability))
            if not config.set_compute_capability(capability, 0):
                raise EngineError(f"{library.title} doesn't take compute capability {target.dotted}: {log.reason()}")
    elif timing_cache is not None:
        _load_timing_cache(config, timing_cache)
    log.errors.clear()  # of a timing cache that didn't fit
    config.progress_monitor = _monitor(library, progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{library.title} can't build the network: {log.reason()}")
    if not library.is_rtx and timing_cache is not None:
        _keep_timing_cache(config, timing_cache, progress)
    facts |= {"seconds": round(time.monotonic() - start, 2),
              "inspected": inspect_plan(library, log, plan) if target.here else None}
    return Build(bytes(plan), facts)


def logger(library: Library):
    """A TensorRT logger that keeps errors, so that they can be part of ours."""
    trt = library.module

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity, message) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(str(message).split()))
                del self.errors[:-20]

        def reason(self) -> str:
            """The first error since the last call: later ones follow from it."""
            first = self.errors[0] if self.errors else "it gave no reason"
            self.errors.clear()
            return first

    return Log()


def _options(library: Library) -> dict:
    return {"optimization_level": 3, "strongly_typed": True}


def _listed(library: Library) -> list[str]:
    names = (name for name in library.module.ComputeCapability.__members__ if name.startswith("SM"))
    return [f"{name[2:-1]}.{name[-1]}" for name in names]


def _names_of(typed, keep: tuple[str, ...]) -> set[str]:
    """What TensorRT's names of the kept layers contain: the ONNX node's name, or else its output."""
    wide = {f"{name}.fp32" for name in keep}
    return {node.name or node.output[0] for node in typed.graph.node if node.output[0] in wide}


def _read_back(library: Library, network, kept_names: set[str]) -> dict:
    """Which types the layers of the parsed network really have. Raises EngineError when fp32 got in unasked."""
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
    unasked = [name for name in wide if not any(kept in name for kept in kept_names)]
    if unasked:
        raise EngineError(f"{library.title} reads these layers as fp32 though the network is fp16:"
                          f" {', '.join(unasked)}; please report it")
    tensors = (network.get_input(0), network.get_output(0))
    ends = {tensor.dtype for tensor in tensors}
    if ends != {trt.float16}:
        raise EngineError(f"{library.title} gives the network's ends the types {ends}, expected fp16; please report it")
    return {"precision": f"fp16, {len(wide)} layer{'s' * (len(wide) > 1)} fp32" if wide else "fp16",
            "layer_types": dict(sorted(types.items())), "fp32": wide,
            "shapes": {tensor.name: list(tensor.shape) for tensor in tensors}}


def _load_timing_cache(config, path: Path) -> None:
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    cache = config.create_timing_cache(stored) or config.create_timing_cache(b"")
    if not config.set_timing_cache(cache, ignore_mismatch=False):  # measured on another GPU or version
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _keep_timing_cache(config, path: Path, progress: Progress) -> None:
    measured = config.get_timing_cache()
    try:
        if measured is not None:
            with write_whole(path) as part:
                part.write_bytes(bytes(measured.serialize()))
    except EngineError as error:  # the plan matters more
        progress(f"the next build will not be quicker: {error}")


def _monitor(library: Library, progress: Progress):
    trt = library.module

    class Monitor(trt.IProgressMonitor):
        """Turns TensorRT's outermost phase into lines of per cent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outer: tuple[str, int] | None = None
            self._said = -1

        def phase_start(self, name, parent, steps) -> None:
            if parent is None:
                self._outer = (name, steps)

        def phase_finish(self, name) -> None:
            pass

        def step_complete(self, name, step) -> bool:
            if self._outer and name == self._outer[0] and step != self._said:
                self._said = step
                progress(f"{name}: {100 * (step + 1) // max(self._outer[1], 1)} %")
            return True

    return Monitor()


def _parser_says(library: Library, parser, typed) -> str:
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        if 0 <= error.node() < len(typed.graph.node):
            node = typed.graph.node[error.node()]
            return (f"{library.title} can't take the operator {node.op_type} (layer {node.output[0]}):"
                    f" {' '.join(error.desc().split())}; export the network without it, or use engine openvino")
        return f"{library.title} can't read the network: {' '.join(error.desc().split())}"
    return f"{library.title} can't read the network and gives no reason"
