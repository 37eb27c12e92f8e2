"""python3 -m drive_seg.gpu_check: prove the GPU path on this machine; exits 1 when something that must hold does not.

Needs an NVIDIA GPU with its driver, pycuda and nvcc; TensorRT, TensorRT for RTX or both for the whole frame, else
PyTorch with CUDA runs the network between the kernels. compute-sanitizer is used where it is there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

try:
    import cv2
    import numpy as np

    from drive_seg.core.engine import EngineError
    from drive_seg.gpu_check.checks import check_frames, check_kernels
    from drive_seg.gpu_check.findings import Findings, table_of
    from drive_seg.gpu_check.runners import TorchRunner
    from drive_seg.gpu_check.timing import time_frames, time_start
    from drive_seg.network import Network, NetworkError
    from drive_seg.resources import default_network
    from drive_seg.runtimes import open_engine
    from drive_seg.runtimes.tensorrt import typed_onnx
    from drive_seg.runtimes.tensorrt.driver import load_driver
    from drive_seg.runtimes.tensorrt.engine import TensorRtEngine, open_tensorrt
    from drive_seg.runtimes.tensorrt.gpu import Gpu
    from drive_seg.runtimes.tensorrt.kernels import compiled, find_nvcc
    from drive_seg.runtimes.tensorrt.library import load_library
except Exception as missing:  # a package that is not there, or one that was built for another
    print(f"gpu-check: {missing} ({sys.executable}): pip install -e '.[tensorrt]' there, or name another Python with"
          " GPU_PYTHON", file=sys.stderr)
    sys.exit(2)


FLAVOURS = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}


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
def _opened(args: argparse.Namespace, findings: Findings | None = None):
    gpu = Gpu()
    try:
        if findings is not None:
            findings.say("GPU", "{}, compute capability {}.{}, {}".format(
                gpu.name, *gpu.compute_capability, "integrated" if gpu.integrated else "discrete"))
        cubin = compiled(gpu.compute_capability, args.out / "plans")
        with gpu.current():
            gpu.load_kernels(cubin)
            yield gpu
    finally:
        gpu.close()


def _kernels(network: Network, images: list[np.ndarray], args: argparse.Namespace, findings: Findings) -> None:
    with _opened(args, findings) as gpu:
        findings.say("nvcc", find_nvcc() or "not there; the kernels were compiled before")
        check_kernels(gpu, network, images, findings, quick=args.kernels_only)
        if not gpu.integrated and not args.kernels_only:
            gpu.integrated = True  # the other way of memory works on a discrete GPU too, only slower
            check_kernels(gpu, network, images, findings, quick=True, kernels="kernels in host-mapped memory")


def _sanitizer(args: argparse.Namespace, findings: Findings) -> None:
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if tool is None:
        findings.say("compute-sanitizer", "not there: accesses out of bounds and races were not looked for")
        return
    again = [sys.executable, "-m", "drive_seg.gpu_check", "--kernels-only", "--out", str(args.out), *_network(args)]
    for check in ("memcheck", "racecheck"):  # beyond buffers; between the threads of a block
        run = subprocess.run([tool, "--tool", check, "--error-exitcode", "9", *again], capture_output=True, text=True,
                             check=False)
        last = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()][-1:]
        findings.must(f"compute-sanitizer {check} finds nothing", run.returncode == 0, " ".join(last))


def _each_tensorrt(args: argparse.Namespace, findings: Findings) -> bool:
    """Whole frames through TensorRT and TensorRT for RTX, each in its own process: one can't load both."""
    ran = 0
    for flavour, title in FLAVOURS.items():
        part = _part(args.out, flavour)
        part.unlink(missing_ok=True)
        frames = ["--frames", str(args.frames)] if args.frames else []
        run = subprocess.run([sys.executable, "-m", "drive_seg.gpu_check", "--runtime", flavour, "--out", str(args.out),
                              *_network(args), *frames], check=False)
        if part.is_file():
            ran += findings.add(part)
        ended = part.is_file() and run.returncode in (0, 1)  # 1: a finding that must hold does not
        if not ended:
            findings.must(f"{title} ends as it should", False, f"exit code {run.returncode}")
    return ran > 0


def _tensorrt(network: Network, args: argparse.Namespace, findings: Findings) -> None:
    title, plans = FLAVOURS[args.runtime], args.out / "plans"
    try:
        engine = open_tensorrt(network, plan_folder=plans, progress=print, library=load_library(args.runtime))
    except EngineError as error:
        findings.say(title, f"does not run here: {error}")
        return
    findings.say(title, f"{engine.library} runs, {engine.precision}")
    with engine.on_gpu() as (gpu, runner):
        time_frames(gpu, runner, network, findings, engine.library)
    check_frames(engine, _cpu_engine(network), *_images(args.frames, findings), findings)
    findings.must("the frame is one CUDA graph", engine.graph_refused is None, engine.graph_refused or "captured")
    engine.close()
    time_start(network.path, plans, args.runtime, findings)


def _stand_in(network: Network, args: argparse.Namespace, findings: Findings) -> None:
    gpu = Gpu()
    try:
        with gpu.current():
            gpu.load_kernels(compiled(gpu.compute_capability, args.out / "plans"))
            runner = TorchRunner(gpu, typed_onnx.typed_fp16(typed_onnx.load_onnx(network.path)))
            findings.say("in its place", "PyTorch, fp16: the kernels are real, the network's time is not TensorRT's")
            time_frames(gpu, runner, network, findings, "PyTorch")
    except EngineError as error:
        findings.must("a network between the kernels", False, f"neither TensorRT nor PyTorch: {error}")
        gpu.close()
        return
    engine = TensorRtEngine(gpu, runner, network, "fp16", "PyTorch")
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
        images = [cv2.imread(str(path)) for path in sorted(folder.iterdir())]
        images = [image for image in images if image is not None]
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
