"""The plan of a network: from the cache, or built by another process and stored there."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from drive_seg.core.engine import EngineError, LogFunction
from drive_seg.network import Network
from drive_seg.runtimes.tensorrt import plan as plans
from drive_seg.runtimes.tensorrt.build import OPTIONS, Order, listed
from drive_seg.runtimes.tensorrt.library import Library
from drive_seg.runtimes.tensorrt.plan import PlanCache, PlanKey, StoredPlan

ANY_GPU = "any"


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


def check_target(library: Library, target: Target) -> None:
    """Raises EngineError when this TensorRT can't build for that GPU."""
    if target.here:
        return
    if not library.is_rtx:
        raise EngineError(f"{library.title} builds only for the GPU it runs on",
                          "build there, or use TensorRT for RTX, which builds for RTX cards from anywhere")
    if target.dotted not in listed(library):
        raise EngineError(f"{library.title} doesn't build for compute capability {target.dotted} from another machine;"
                          f" it does for {', '.join(listed(library))}")


def typed_network(network: Network, precision: str = "fp16") -> tuple[Path, str]:
    """The ONNX file that TensorRT runs in a precision, and its sha256. Raises EngineError naming the fix where there is
    none."""
    file, digest = {"fp16": (network.fp16, network.fp16_sha256),
                    "int8": (network.int8_gpu, network.int8_gpu_sha256)}[precision]
    if file is not None:
        return file, digest
    fix = f"write it with `python3 -m drive_seg.fp16 {network.path}` (needs the package onnx, on any machine)"
    if precision == "int8" and network.int8 is None:
        fix = "export the network with --int8, or use precision fp16"
    raise EngineError(f"{network.path} has no {precision} version for TensorRT beside it", fix)


def key_for(network: Network, input_size: tuple[int, int], library: Library, target: Target,
            precision: str = "fp16") -> PlanKey:
    """The key of the plan that is wanted here. Raises EngineError."""
    gpu = ANY_GPU if library.is_rtx else target.gpu
    return PlanKey(typed_network(network, precision)[1], precision, library.flavour, library.version, gpu,
                   target.dotted, (1, 3, *input_size), OPTIONS)


def obtain_plan(network: Network, input_size: tuple[int, int], library: Library, target: Target, folder: Path,
                progress: LogFunction = lambda line: None, *, precision: str = "fp16", rebuild: bool = False,
                path: Path | None = None) -> tuple[Path, StoredPlan]:
    """The plan of a network for a GPU: from the cache, or built and stored there.

    precision: `fp16` or `int8`. rebuild: even if a fitting one is there. path: where to, other than the cache's own
    name in `folder`. Raises EngineError naming the fix.
    """
    check_target(library, target)
    key = key_for(network, input_size, library, target, precision)
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
                 + f": {library.title} builds {network.name} {input_size[1]}x{input_size[0]} in {precision} for"
                   f" {target.title}, once; seconds on a PC, some minutes on a Jetson")
        plan, facts = build_apart(library, typed_network(network, precision)[0], input_size, target, cache.timing_cache,
                                  progress, precision)
        stored = plans.store(path, key, plan, facts)
    wide = f", {len(facts['fp32'])} of its layers fp32" if facts["fp32"] else ""
    progress(f"{path} holds {facts['precision']}{wide}, {len(plan) / 1e6:.1f} MB, built in {facts['seconds']:.1f} s")
    return path, stored


def build_apart(library: Library, onnx: Path, input_size: tuple[int, int], target: Target, timing_cache: Path,
                progress: LogFunction, precision: str = "fp16") -> tuple[bytes, dict]:
    """Build in a process of its own (see build.py). Returns the plan, and facts for its sidecar. Raises EngineError."""
    with tempfile.TemporaryDirectory() as folder:
        order = Order(library.flavour, str(onnx), precision, input_size, target.dotted, f"{folder}/plan",
                      str(timing_cache))
        facts = refused = None
        with open(f"{folder}/errors", "w+") as errors, subprocess.Popen(  # noqa: PTH123
                [sys.executable, "-m", "drive_seg.runtimes.tensorrt.build", order.to_json()], stdout=subprocess.PIPE,
                stderr=errors, text=True) as process:
            assert process.stdout is not None  # a pipe
            for text in process.stdout:
                line = _json(text)
                if "say" in line:
                    progress(line["say"])
                facts, refused = line.get("built", facts), line.get("refused", refused)
            code = process.wait()
            errors.seek(0)
            said = [" ".join(line.split()) for line in errors if line.strip()]
        if facts is not None and code == 0:
            return Path(order.plan).read_bytes(), facts
        tensorrt_says = next((f": {line}" for line in said if "[E]" in line), "")
        if refused is not None:
            raise EngineError(refused + tensorrt_says)
        killed = " (memory used up? close other programs, or use a smaller network input)" if code == -9 else ""
        raise EngineError(f"{library.title} ended with code {code} while it built{killed}"
                          + (tensorrt_says or (f": {said[-1]}" if said else "")))


def _json(text: str) -> dict:
    """A line of the other process; {} where a library printed it."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
