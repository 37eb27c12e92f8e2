"""Write NAME.fp16.onnx beside a network that was exported elsewhere, and name it in NAME.yaml: TensorRT runs that file.

A network with an 8-bit version also gets NAME.int8_gpu.onnx, for `precision: int8` on TensorRT.

Layers that fp16 can't hold stay fp32. They are found by running the network on images: give some of its own camera.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from drive_seg.core.engine import EngineError
from drive_seg.fp16.report import fp16_report
from drive_seg.fp16.typed import load_onnx, shape_of
from drive_seg.fp16.write import write_fp16
from drive_seg.network import Network, NetworkError
from drive_seg.runtimes.form import check_form, check_shape


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m drive_seg.fp16", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="an .onnx file with its .yaml beside it")
    parser.add_argument("--images", type=Path, metavar="FOLDER",
                        help="camera images (default: keep in fp32 what the file itself says, else nothing)")
    args = parser.parse_args(argv)
    try:
        network = Network.load(args.network)
        check_form(network)
        check_shape(network, shape_of(load_onnx(network.path).graph.output[0]))
        keep = None
        if args.images is not None:
            images = [cv2.imread(str(path)) for path in sorted(args.images.iterdir())]
            report = fp16_report(network.path, [image for image in images if image is not None])
            print(report)
            keep = report.needs_fp32
        for path in write_fp16(network.path, keep):
            print(f"{path} written; {network.path.with_suffix('.yaml').name} names it")
    except (EngineError, NetworkError, OSError) as error:
        print(f"fp16: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
