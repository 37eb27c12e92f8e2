"""BiSeNetV2 as its paper describes it, as a yardstick: same input, same engine."""

from __future__ import annotations

from pathlib import Path

from drive_seg.core.classes import ClassTable
from drive_seg.errors import CommandError
from drive_seg.network import Network


def write_bisenetv2(folder: Path, size: tuple[int, int], table: ClassTable) -> Network:
    """Write BiSeNetV2 for images of `size` = (height, width), with random weights: the time it takes is the same.

    Raises CommandError without the onnx package.
    """
    try:
        import onnx

        from drive_seg.evaluation.bisenetv2 import build
    except ImportError as error:
        raise CommandError(f"the comparison needs onnx ({error})", "pip install 'drive-seg[bench]'") from error
    path = folder / f"bisenetv2_{size[0]}x{size[1]}.onnx"
    onnx.save(build(*size, classes=len(table)), str(path))
    return Network(path, "BiSeNetV2", "", size, table)
