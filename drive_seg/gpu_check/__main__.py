"""python3 -m drive_seg.gpu_check: prove the GPU path on this machine; exits 1 when something that must hold does not.

Needs an NVIDIA GPU with its driver, pycuda and nvcc; TensorRT (or TensorRT for RTX) for the whole frame, else PyTorch
with CUDA runs the network between the kernels. compute-sanitizer is used where it is there.
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
    from drive_seg.gpu_check.findings import Findings
    from drive_seg.gpu_check.runners import TorchRunner
    from drive_seg.gpu_check.timing import time_frames, time_start
    from drive_seg.network import Network, NetworkError
    from drive_seg.resources import default_network
    from drive_seg.runtimes import open_engine
    from drive_seg.runtimes.tensorrt import typed_onnx
    from drive_seg.runtimes.tensorrt.engine import TensorRtEngine, open_tensorrt
    from drive_seg.runtimes.tensorrt.gpu import Gpu
    from drive_seg.runtimes.tensorrt.kernels import compiled, find_nvcc
except Exception as missing:  # a package that is not there, or one that was built for another
    print(f"gpu-check: {missing} ({sys.executable}): pip install -e '.[tensorrt]' there, or name another Python with"
          " GPU_PYTHON", file=sys.stderr)
    sys.exit(2)


def main() -> int:
    """Run all checks; the exit code."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, metavar="FILE", help="an .onnx file (default: the one that ships)")
    parser.add_argument("--frames", type=Path, metavar="FOLDER", help="camera images to compare on (default: drawn)")
    parser.add_argument("--out", type=Path, default=Path("out/gpu_check"), metavar="FOLDER",
                        help="where results, plans and kernels go")
    parser.add_argument("--kernels-only", action="store_true", help="a few frames through the kernels, and no more")
    args = parser.parse_args()
    findings = Findings()
    try:
        network = Network.load(args.network or default_network())
        images = _images(args.frames)
        _kernels(network, images, args, findings)
        if not args.kernels_only:
            _sanitizer(args, findings)
            _frames(network, images, args, findings)
    except (EngineError, NetworkError, OSError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    findings.show_table()
    if not args.kernels_only:
        findings.write(args.out)
    print(f"gpu-check: {findings.failed} of {len(findings.lines)} findings failed" if findings.failed
          else "gpu-check: everything that was checked holds")
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


def _sanitizer(args: argparse.Namespace, findings: Findings) -> None:
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if tool is None:
        findings.say("compute-sanitizer", "not there: accesses out of bounds were not looked for")
        return
    again = [sys.executable, "-m", "drive_seg.gpu_check", "--kernels-only", "--out", str(args.out)]
    run = subprocess.run([tool, "--tool", "memcheck", "--error-exitcode", "9", *again], capture_output=True, text=True,
                         check=False)
    last = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()][-1:]
    findings.must("compute-sanitizer memcheck finds nothing", run.returncode == 0, " ".join(last))


def _frames(network: Network, images: list[np.ndarray], args: argparse.Namespace, findings: Findings) -> None:
    cpu = _cpu_engine(network)
    real = args.frames is not None

    try:
        engine = open_tensorrt(network, plan_folder=args.out / "plans", progress=print)
    except EngineError as error:
        findings.say("TensorRT", f"does not run here: {error}")
    else:
        findings.say("TensorRT", f"{engine.library} runs, {engine.precision}")
        with engine.on_gpu() as (gpu, runner):
            time_frames(gpu, runner, network, findings, engine.library)
        check_frames(engine, cpu, images, findings, real)
        findings.must("the frame is one CUDA graph", engine.graph_refused is None, engine.graph_refused or "captured")
        engine.close()
        time_start(network.path, args.out / "plans", findings)
        return
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
    check_frames(engine, cpu, images, findings, real)
    findings.say("one CUDA graph with PyTorch in it", engine.graph_refused or "captured")
    engine.close()


def _cpu_engine(network: Network):
    try:
        return open_engine("openvino", network, precision="fp32")
    except EngineError:
        return open_engine("onnxruntime", network)


def _images(folder: Path | None) -> list[np.ndarray]:
    if folder is not None:
        images = [cv2.imread(str(path)) for path in sorted(folder.iterdir())]
        images = [image for image in images if image is not None]
        if not images:
            raise FileNotFoundError(f"{folder} has no images that OpenCV reads")
        return images
    rng = np.random.default_rng(3)  # smooth patches: regions with borders, as a street has
    coarse = [rng.integers(0, 256, (9, 16, 3), np.uint8) for _ in range(4)]
    return [cv2.resize(c, (1280, 720), interpolation=cv2.INTER_CUBIC) for c in coarse]


if __name__ == "__main__":
    sys.exit(main())
