"""Runs a script of a test under the stand-in CUDA driver (stand_in_driver.cpp), in a process of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiled import HELPERS, build, find_compiler

ROOT = HELPERS.parents[1]


def build_driver(folder: Path) -> Path:
    """libcuda.so.1 in a folder; skips the test where there is no C++ compiler."""
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C++ compiler: the stand-in driver can't be built")
    return build(compiler, folder, "libcuda.so.1", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall",
                 "-Wno-unknown-pragmas", str(HELPERS / "stand_in_driver.cpp"), str(HELPERS / "kernels_on_host.cpp"),
                 "-Wl,-soname,libcuda.so.1", "-ldl")


def run_script(library: Path, script: str, *arguments: str, limit: float = 300, **environment: str):
    """Run Python under the driver; its exit code and what it said. `environment`: more variables."""
    paths = [str(HELPERS), str(ROOT), environment.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
    libraries = [str(library.parent), *filter(None, [environment.pop("LD_LIBRARY_PATH", "")])]
    env = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries), "STAND_IN_REPORTS": "1",
           "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment}
    start = "from stand_in import *\nfrom drive_seg import lean_imports\nlean_imports.load_numba_without_scipy()\n"
    return subprocess.run([sys.executable, "-c", start + script, *arguments], env=env, text=True,
                          capture_output=True, check=False, timeout=limit, cwd=ROOT)


# ---- for the scripts themselves ----

OUT_OF_MEMORY, ILLEGAL_ADDRESS = 2, 700


def driver() -> ctypes.CDLL:
    """The stand-in's controls: stand_in_fail(function, n, error) and others."""
    library = ctypes.CDLL("libcuda.so.1")
    library.stand_in_live.restype = library.stand_in_calls.restype = ctypes.c_long
    library.stand_in_fail.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
    return library


def backend(name: str):
    """A new backend by its package's name, opened as where only that one is installed."""
    from drive_seg.runtimes.cuda_driver import open_backend

    sys.setdlopenflags(os.RTLD_LAZY)  # pycuda refers to more of the driver than the stand-in has
    sys.modules["pycuda.driver" if name == "cuda-bindings" else "cuda.bindings"] = None
    opened = open_backend()
    assert opened.package == name, opened.package
    return opened


def open_fixed(name: str, size: tuple[int, int] = (96, 160)):
    """An engine around fixed logits, on real kernels and the stand-in driver; and the logits (C, gh, gw)."""
    import numpy as np

    from drive_seg.core.classes import ClassTable
    from drive_seg.core.engine import EngineError
    from drive_seg.gpu_check.runners import FixedLogits
    from drive_seg.network import Network
    from drive_seg.runtimes.tensorrt.engine import TensorRtEngine
    from drive_seg.runtimes.tensorrt.gpu import Gpu
    from drive_seg.runtimes.tensorrt.kernels import load_kernels

    groups = ["background", "road", "pavement", "obstacle"]
    table = ClassTable.from_dicts([{"id": i, "name": f"c{i}", "group": groups[i % 4], "colour": [i, i, i],
                                    "drivable": False} for i in range(11)])
    logits = (8 * np.random.default_rng(3).normal(size=(11, size[0] // 8, size[1] // 8))).astype(np.float16)
    gpu = Gpu(backend(name))
    try:
        with gpu.current():
            load_kernels(gpu)
            runner = FixedLogits(gpu, size, logits)
        network = Network(Path("fixed.onnx"), "fixed", "", size, table)
        engine = TensorRtEngine(gpu, [runner], network, "fp16", "fixed logits")
        engine.warm_up()
    except EngineError:
        gpu.close()
        raise
    return engine, logits


def check_frame(engine, logits, size: tuple[int, int] = (72, 128)) -> None:
    """One frame gives what the CPU's decoder makes of the logits, bit for bit in the labels."""
    import numpy as np

    from drive_seg.core.decode import Decoder
    from drive_seg.core.frame import Frame

    frame = Frame.from_array(np.full((*size, 3), 127, np.uint8))
    found = engine.decode(frame, size, {})
    wanted = Decoder(engine.network.table, threads=1).decode(logits.astype(np.float32), size)
    np.testing.assert_array_equal(found.labels, wanted.labels)
