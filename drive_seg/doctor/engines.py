"""The runtimes on the CPU, each opened for real with the network that ships, and what TensorRT needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from drive_seg.core.engine import EngineError
from drive_seg.doctor.finding import Finding, Level
from drive_seg.network import Network, NetworkError
from drive_seg.resources import default_network
from drive_seg.runtimes import FALLBACK, choose, open_engine


def check() -> Iterator[Finding]:
    """OpenVINO, what TensorRT needs, what `auto` takes, ONNX Runtime; an error when the node would find no runtime."""
    openvino = _try("openvino", lambda: _open("openvino"))
    tensorrt = [_try("NVIDIA GPU", _gpu), _try("TensorRT", _tensorrt), _try("CUDA from Python", _cuda)]
    yield from (openvino, *tensorrt)
    if tensorrt[1].level is Level.OK:
        yield Finding("TensorRT plans", Level.OK, _plans())
    name, why = choose()
    if name != FALLBACK or openvino.level is Level.OK:
        yield Finding("engine auto", Level.OK, f"takes {name}: {why}")
    else:
        yield Finding("engine auto", Level.ERROR, "finds no runtime that works here", "pip install openvino")
    yield _try("onnxruntime", lambda: _open("onnxruntime") + " (only to compare with)")


def _try(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, Level.OK, look())
    except EngineError as error:  # says what is wrong and the fix
        if error.fix:
            return Finding(name, Level.NOTE, f"can't be used: {error.reason}", error.fix)
        return Finding(name, Level.NOTE, "can't be used", error.reason)


def _open(name: str) -> str:
    try:
        network = Network.load(default_network())
    except (FileNotFoundError, NetworkError) as error:
        raise EngineError("not tried, for want of a network to open", "see above") from error
    with open_engine(name, network) as engine:
        return f"{engine.loaded.runtime}, {engine.precision} on {engine.device}"


def _gpu() -> str:
    from drive_seg.runtimes.cuda_driver import first_gpu

    return first_gpu().title


def _tensorrt() -> str:
    from drive_seg.runtimes.tensorrt.library import load_library

    return f"{load_library().title}; a network's plan is built at the first start, or by drive-seg build"


def _plans() -> str:
    from drive_seg.files import CACHE

    return "; ".join(describe_plans(CACHE)) or f"none in {CACHE} yet (plan_folder may name another folder)"


def describe_plans(folder: Path) -> list[str]:
    """One line on each TensorRT plan in a folder: for which GPU and in which precision it is; or what is wrong."""
    from drive_seg.runtimes.tensorrt.plan import sidecar_of

    lines = []
    for path in sorted(folder.glob("*.plan")):
        try:
            sidecar = json.loads(sidecar_of(path).read_text())
            key, built = sidecar["key"], sidecar["built"]
            lines.append(f"{path.name}: {built['precision']}, {key['flavour']} {key['version']}, GPU {key['gpu']}"
                         f" (compute capability {key['compute_capability']})")
        except (OSError, ValueError, KeyError, TypeError):
            lines.append(f"{path.name}: no readable sidecar, it will be built again")
    return lines


def _cuda() -> str:
    from drive_seg.runtimes.cuda_driver import open_backend

    package = open_backend().package
    return f"{package} {_version(package)}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "version unknown"
