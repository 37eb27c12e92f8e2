"""BiSeNetV2, the yardstick: as large as the paper says, and it runs."""

import numpy as np
import pytest

from drive_seg.evaluation.bisenetv2 import build


def test_its_size_is_the_papers():
    # The paper counts 21.15 G at 512x1024 for 19 classes. Every convolution counted, it is somewhat more.
    onnx = pytest.importorskip("onnx", reason="pip install 'drive-seg[bench]'")
    model = onnx.shape_inference.infer_shapes(build(512, 1024, classes=19), strict_mode=True)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*model.graph.value_info, *model.graph.output)}
    weights = {w.name: list(w.dims) for w in model.graph.initializer}
    multiply_adds = sum(np.prod(weights[n.input[1]]) * np.prod(shapes[n.output[0]][2:])
                        for n in model.graph.node if n.op_type == "Conv")
    assert multiply_adds / 1e9 == pytest.approx(21.15, rel=0.2)


def test_it_runs():
    pytest.importorskip("onnx", reason="pip install 'drive-seg[bench]'")
    pytest.importorskip("openvino")
    from drive_seg.openvino_core import CORE

    compiled = CORE.compile_model(CORE.read_model(build(64, 96).SerializeToString()), "CPU")
    logits = next(iter(compiled([np.zeros((1, 3, 64, 96), np.float32)]).values()))
    assert logits.shape == (1, 11, 8, 12)
    assert np.isfinite(logits).all()


def test_a_size_it_cannot_take():
    pytest.importorskip("onnx", reason="pip install 'drive-seg[bench]'")
    with pytest.raises(ValueError, match="multiples of 32"):
        build(100, 96)
