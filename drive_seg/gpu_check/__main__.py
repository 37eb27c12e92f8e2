"""python3 -m drive_seg.gpu_check: prove the GPU path on this machine; exits 1 when something that must hold does not.

Needs an NVIDIA GPU with its driver, and pycuda or cuda-bindings; TensorRT, TensorRT for RTX or both for the whole
frame, else PyTorch with CUDA runs the network between the kernels. compute-sanitizer is used where it is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

try:
    import cv2
    import numpy as np

    from drive_seg import lean_imports
    from drive_seg.core.engine import EngineError
    from drive_seg.gpu_check.checks import check_batches, check_frames, check_kernels
    from drive_seg.gpu_check.findings import Findings, table_of
    from drive_seg.gpu_check.inspector import inspect_plan
    from drive_seg.gpu_check.runners import TorchRunner
    from drive_seg.gpu_check.timing import time_frames, time_start
    from drive_seg.network import Network, NetworkError
    from drive_seg.resources import default_network
    from drive_seg.runtimes import open_engine
    from drive_seg.runtimes.cuda_driver import Bindings, Pycuda, load_driver
    from drive_seg.runtimes.tensorrt.builder import batch_sizes, typed_network
    from drive_seg.runtimes.tensorrt.engine import TensorRtEngine, open_tensorrt
    from drive_seg.runtimes.tensorrt.gpu import Gpu
    from drive_seg.runtimes.tensorrt.kernels import SOURCE, compile_kernels, load_kernels
    from drive_seg.runtimes.tensorrt.library import load_library
except Exception as missing:  # a package that is not there, or one that was built for another
    print(f"gpu-check: {missing} ({sys.executable}): pip install -e '.[gpu]' there, or name another Python with"
          " GPU_PYTHON", file=sys.stderr)
    sys.exit(2)


FLAVOURS = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}

_SANITIZER_LIMIT = 900  # seconds for each of its checks: it runs everything many times slower
_TENSORRT_LIMIT = 3600  # for building and running: a Jetson builds for minutes


def main() -> int:
    """Run all checks; the exit code."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, metavar="FILE", help="an .onnx file (default: the one that ships)")
    parser.add_argument("--frames", type=Path, metavar="FOLDER",
                        help="camera images to compare on (default: the demo's real drives, drawn ones where they can't"
                             " be fetched)")
    parser.add_argument("--out", type=Path, default=Path("out/gpu_check"), metavar="FOLDER",
                        help="where results, plans and kernels go")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--kernels-only", action="store_true", help="a few frames through the kernels, and no more")
    part.add_argument("--runtime", choices=FLAVOURS, help="whole frames through this TensorRT, and no more")
    args = parser.parse_args()
    lean_imports.load_numba_without_scipy()
    findings = Findings()
    try:
        network = Network.load(args.network or default_network())
        if args.kernels_only:
            _kernels(network, _drawn(), args, findings)
        elif args.runtime:
            _tensorrt(network, args, findings)
            findings.write(_part(args.out, args.runtime))
        else:
            if args.frames is None:
                load_driver()  # before frames are fetched for nothing
            images, _ = _images(args.frames, findings)
            _kernels(network, images, args, findings)
            _sanitizer(args, findings)
            if not _each_tensorrt(args, findings):
                _stand_in(network, args, findings)
    except (EngineError, NetworkError, OSError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    if not args.runtime:
        print("\n".join(table_of(findings.table)))
        print(f"gpu-check: {findings.failed} of {len(findings.lines)} findings failed" if findings.failed
              else "gpu-check: everything that was checked holds")
    if not args.runtime and not args.kernels_only:
        findings.write(args.out / "gpu_check.json")
    return 1 if findings.failed else 0


@contextmanager
def _opened(backend=None):
    gpu = Gpu(backend)
    try:
        with gpu.current():
            yield gpu
    finally:
        gpu.close()


def _kernels(network: Network, images: list[np.ndarray], args: argparse.Namespace, findings: Findings) -> None:
    with _opened() as gpu:
        findings.say("GPU", f"{gpu.device.title}, {'integrated' if gpu.device.integrated else 'discrete'}")
        findings.say("kernels", f"{load_kernels(gpu)}, by {gpu.backend.package}")
        check_kernels(gpu, network, images, findings, quick=args.kernels_only)
    if args.kernels_only:
        return
    for backend in (Pycuda, Bindings):
        try:
            other = backend()
        except Exception as error:  # missing, or built for another Python, CUDA or driver
            findings.say(f"kernels by {backend.package}", f"not tried: {error}")
            continue
        with _opened(other) as gpu:
            load_kernels(gpu)
            check_kernels(gpu, network, images, findings, quick=True, kernels=f"kernels by {backend.package}")
    with _opened() as gpu:
        try:
            gpu.load_module(compile_kernels(SOURCE.read_bytes(), "sm_{}{}".format(*gpu.device.compute_capability)))
        except EngineError as error:
            findings.say("kernels compiled here", f"not tried: {error}")
            return
        check_kernels(gpu, network, images, findings, quick=True, kernels="kernels compiled here")


def _sanitizer(args: argparse.Namespace, findings: Findings) -> None:
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if tool is None:
        findings.say("compute-sanitizer", "not there: accesses out of bounds and races were not looked for")
        return
    again = [sys.executable, "-m", "drive_seg.gpu_check", "--kernels-only", "--out", str(args.out), *_network(args)]
    for check in ("memcheck", "racecheck"):  # beyond buffers; between the threads of a block
        code, said = _run([tool, "--tool", check, "--error-exitcode", "9", *again], _SANITIZER_LIMIT)
        if code is None:
            findings.say(f"compute-sanitizer {check}", f"has not ended after {_SANITIZER_LIMIT} s: not known")
        else:
            findings.must(f"compute-sanitizer {check} finds nothing", code == 0, said)


def _run(command: list[str], limit: float) -> tuple[int | None, str]:
    """Run a command; its exit code, None when it took too long, and its last line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=limit)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # what it started too, which would run on, on the GPU
            if isinstance(error, subprocess.TimeoutExpired):
                return None, ""
            raise
    return process.returncode, " ".join([line for line in said.splitlines() if line.strip()][-1:])


def _each_tensorrt(args: argparse.Namespace, findings: Findings) -> bool:
    """Whole frames through TensorRT and TensorRT for RTX, each in its own process: one can't load both."""
    ran = 0
    for flavour, title in FLAVOURS.items():
        part = _part(args.out, flavour)
        part.unlink(missing_ok=True)
        frames = ["--frames", str(args.frames)] if args.frames else []
        try:
            code = subprocess.run([sys.executable, "-m", "drive_seg.gpu_check", "--runtime", flavour, "--out",
                                   str(args.out), *_network(args), *frames], check=False,
                                  timeout=_TENSORRT_LIMIT).returncode
        except subprocess.TimeoutExpired:
            code = None
        if part.is_file():
            ran += findings.add(part)
        ended = part.is_file() and code in (0, 1)  # 1: a finding that must hold does not
        if not ended:
            findings.must(f"{title} ends as it should", False,
                          f"not after {_TENSORRT_LIMIT} s" if code is None else f"exit code {code}")
    return ran > 0


def _tensorrt(network: Network, args: argparse.Namespace, findings: Findings) -> None:
    title, plans = FLAVOURS[args.runtime], args.out / "plans"
    try:
        engine = open_tensorrt(network, plan_folder=plans, progress=print, library=load_library(args.runtime))
    except EngineError as error:
        findings.say(title, f"does not run here: {error}")
        return
    findings.say(title, f"{engine.loaded.runtime} runs, {engine.precision}")
    formats = inspect_plan(load_library(args.runtime), plans / engine.loaded.file)
    findings.say("types and formats in the plan", "it doesn't say" if formats is None else str(formats))
    with engine.on_gpu() as (gpu, runner):
        time_frames(gpu, runner, network, findings, engine.loaded.runtime)
    cpu, images = _cpu_engine(network), _images(args.frames, findings)
    check_frames(engine, cpu, *images, findings)
    findings.must("the frame is one CUDA graph", engine.graph_refused is None, engine.graph_refused or "captured")
    engine.close()
    _batches(network, plans, args, findings, images[0])
    _int8(network, title, plans, args, findings, cpu, *images)
    time_start(network.path, plans, args.runtime, findings)


def _batches(network: Network, plans: Path, args: argparse.Namespace, findings: Findings, images: list[np.ndarray],
             ) -> None:
    """As for three cameras."""
    engine = open_tensorrt(network, cameras=3, plan_folder=plans, progress=print, library=load_library(args.runtime))
    wanted = batch_sizes(3)
    findings.must("a plan for each batch", engine.batches == wanted, f"{engine.batches} of {wanted}")
    check_batches(engine, images, findings)
    findings.must("a batch is one CUDA graph", engine.graph_refused is None, engine.graph_refused or "captured")
    engine.close()


def _int8(network: Network, title: str, plans: Path, args: argparse.Namespace, findings: Findings, cpu,
          images: list[np.ndarray], real: bool) -> None:
    if network.int8_gpu is None:
        findings.say(f"{title} in int8", "not tried: the network has no 8-bit version for TensorRT")
        return
    try:
        engine = open_tensorrt(network, precision="int8", plan_folder=plans, progress=print,
                               library=load_library(args.runtime))
    except EngineError as error:
        findings.must(f"{title} in int8", False, str(error))
        return
    with engine.on_gpu() as (gpu, runner):
        time_frames(gpu, runner, network, findings, f"{engine.loaded.runtime}, int8")
    check_frames(engine, cpu, images, real, findings)
    engine.close()


def _stand_in(network: Network, args: argparse.Namespace, findings: Findings) -> None:
    gpu = Gpu()
    try:
        with gpu.current():
            load_kernels(gpu)
            runner = TorchRunner(gpu, typed_network(network)[0])
            findings.say("in its place", "PyTorch, fp16: the kernels are real, the network's time is not TensorRT's")
            time_frames(gpu, runner, network, findings, "PyTorch")
    except EngineError as error:
        findings.must("a network between the kernels", False, f"neither TensorRT nor PyTorch: {error}")
        gpu.close()
        return
    engine = TensorRtEngine(gpu, [runner], network, "fp16", "PyTorch")
    check_frames(engine, _cpu_engine(network), *_images(args.frames, findings), findings)
    findings.say("one CUDA graph with PyTorch in it", engine.graph_refused or "captured")
    engine.close()


def _part(folder: Path, flavour: str) -> Path:
    return folder / f"gpu_check-{flavour}.json"


def _network(args: argparse.Namespace) -> list[str]:
    return ["--network", str(args.network)] if args.network else []


def _cpu_engine(network: Network):
    try:
        return open_engine("openvino", network, precision="fp32")
    except EngineError:
        return open_engine("onnxruntime", network)


def _images(folder: Path | None, findings: Findings) -> tuple[list[np.ndarray], bool]:
    """Images to compare on, and whether a camera took them."""
    if folder is not None:
        found = [cv2.imread(str(path)) for path in sorted(folder.iterdir())]
        images = [image for image in found if image is not None]
        if not images:
            raise FileNotFoundError(f"{folder} has no images that OpenCV reads")
        return images, True
    try:
        from drive_seg.sources.clip import CLIPS, PREFIX, SourceError
        from drive_seg.sources.sample import load_frames
    except ImportError as error:  # of what reads videos
        findings.say("real frames", f"can't be read, drawn ones take their place: {error}")
        return _drawn(), False
    try:
        return [frame for name in CLIPS for frame in load_frames(PREFIX + name, 4)], True
    except SourceError as error:
        findings.say("real frames", f"can't be had, drawn ones take their place: {error}")
        return _drawn(), False


def _drawn() -> list[np.ndarray]:
    rng = np.random.default_rng(3)  # smooth patches: regions with borders, as a street has
    coarse = [rng.integers(0, 256, (9, 16, 3), np.uint8) for _ in range(4)]
    return [cv2.resize(c, (1280, 720), interpolation=cv2.INTER_CUBIC) for c in coarse]


if __name__ == "__main__":
    sys.exit(main())
