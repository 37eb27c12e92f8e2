"""fp32 -> strongly typed fp16: every type, kept layers, sizes, and what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from drive_seg.core.engine import EngineError
from drive_seg.fp16 import typed as typed_onnx
from drive_seg.fp16.report import fp16_report
from drive_seg.fp16.typed import keep_fp32, load_onnx, typed_fp16
from drive_seg.openvino_core import CORE


def write(path, *, shape=(1, 3, 64, 96), op="Relu", gain=0.1, dtype=TensorProto.FLOAT, outputs=1):
    """A small network with the operators that ours has, among them a Resize, a Constant, a Clip and a scalar."""
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(0, gain, (8, 3, 3, 3)), "b1": rng.normal(0, 1, 8),
               "w2": rng.normal(0, 0.1, (5, 8, 1, 1)), "scales": np.array([1, 1, 2, 2]),
               "mean": np.full((1, 3, 1, 1), 127.0), "low": np.array(0.0)}
    stored = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    nodes = [
        helper.make_node("Constant", [], ["high"], value=numpy_helper.from_array(np.array(6.0, np.float32), "high")),
        helper.make_node("Sub", ["image", "mean"], ["centred"]),
        helper.make_node("Conv", ["centred", "w1", "b1"], ["features"], kernel_shape=[3, 3], strides=[4, 4],
                         pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["features", "low", "high"], ["clipped"]),
        helper.make_node(op, ["clipped"], ["active"]),
        helper.make_node("Conv", ["active", "w2"], ["coarse"], kernel_shape=[1, 1]),
        helper.make_node("Resize", ["coarse", "", "scales"], ["logits"], mode="linear",
                         coordinate_transformation_mode="half_pixel"),
    ]
    results = [helper.make_tensor_value_info("logits", dtype, ["n", 5, "h", "w"])]
    if outputs == 2:
        results.append(helper.make_tensor_value_info("coarse", dtype, [1, 5, "a", "b"]))
    graph = helper.make_graph(nodes, "small", [helper.make_tensor_value_info("image", dtype, shape)], results, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def types(model) -> dict[str, int]:
    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {v.name: v.type.tensor_type.elem_type for v in values}


def infer(model, image):
    request = CORE.compile_model(CORE.read_model(model.SerializeToString()), "CPU",
                                 {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    request.infer({0: image})
    return request.get_output_tensor(0).data.astype(np.float32)


def test_every_tensor_becomes_fp16_and_the_result_stays(tmp_path):
    model = load_onnx(write(tmp_path / "a.onnx"))
    typed = typed_fp16(model)
    assert set(types(typed).values()) == {TensorProto.FLOAT16}
    weights = {w.name: w.data_type for w in typed.graph.initializer}
    assert weights["w1"] == weights["high"] == TensorProto.FLOAT16
    assert weights["scales.fp32"] == TensorProto.FLOAT  # ONNX wants it so
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 64, 96)).astype(np.float32)
    wanted, found = infer(model, image), infer(typed, image.astype(np.float16))
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


def test_kept_layers_stay_fp32_between_casts(tmp_path):
    model = load_onnx(write(tmp_path / "a.onnx"))
    typed = typed_fp16(model, ["features", "logits"])
    found = types(typed)
    assert found["features.fp32"] == found["logits.fp32"] == TensorProto.FLOAT
    assert found["features"] == found["logits"] == found["clipped"] == found["image"] == TensorProto.FLOAT16
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 64, 96)).astype(np.float32)
    assert np.abs(infer(typed, image.astype(np.float16)) - infer(model, image)).max() < 0.1


def test_kept_layers_are_written_into_the_file(tmp_path):
    path = write(tmp_path / "a.onnx")
    model = onnx.load(str(path))
    keep_fp32(model, ["logits", "features"])
    onnx.save(model, str(path))
    assert typed_onnx.fp32_layers(load_onnx(path)) == ("features", "logits")
    keep_fp32(model, [])
    assert typed_onnx.fp32_layers(load_onnx(model)) == ()
    with pytest.raises(EngineError, match="no layers with the outputs nowhere"):
        keep_fp32(model, ["nowhere"])


def test_takes_another_input_size(tmp_path):
    model = load_onnx(write(tmp_path / "a.onnx"), (128, 160))
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [1, 5, 64, 80]


@pytest.mark.parametrize("change, says", [
    ({"shape": ("n", 3, "h", "w")}, "expected the static shape"),
    ({"shape": (1, 3, 64, "w")}, "expected the static shape"),
    ({"shape": (2, 3, 64, 96)}, "expected the static shape"),
    ({"shape": (1, 4, 64, 96)}, "expected the static shape|doesn't fit together"),
    ({"outputs": 2}, "1 inputs and 2 outputs"),
])
def test_refuses_other_contracts(tmp_path, change, says):
    with pytest.raises(EngineError, match=says):
        load_onnx(write(tmp_path / "a.onnx", **change))


def test_refuses_what_is_no_network(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no network at all")
    with pytest.raises(EngineError, match="is not an ONNX network"):
        load_onnx(tmp_path / "a.onnx")


def test_refuses_weights_that_fp16_cannot_hold(tmp_path):
    model = load_onnx(write(tmp_path / "a.onnx", gain=1e5))
    with pytest.raises(EngineError, match="layer features has a weight of .* more than fp16 holds"):
        typed_fp16(model)
    assert typed_fp16(model, ["features"]).graph.initializer


def test_the_fp16_report_finds_the_layer_that_overflows(tmp_path):
    rng = np.random.default_rng(7)
    images = [rng.integers(0, 256, (80, 120, 3), np.uint8) for _ in range(2)]
    calm = fp16_report(write(tmp_path / "calm.onnx"), images)
    assert calm.needs_fp32 == () and calm.images == 2 and "no layer needs fp32" in str(calm)
    path = write(tmp_path / "wild.onnx", gain=200)
    wild = fp16_report(path, images)
    assert wild.needs_fp32 == ("features",) and wild.layers[0].name == "features"
    assert wild.layers[0].largest_output > typed_onnx.FP16_MAX
    model = onnx.load(str(path))
    keep_fp32(model, wild.needs_fp32)
    model = load_onnx(model)
    image = rng.integers(0, 256, (1, 3, 64, 96)).astype(np.float32)
    kept = infer(typed_fp16(model, typed_onnx.fp32_layers(model)), image.astype(np.float16))
    assert np.isfinite(kept).all()


def test_the_fp16_report_wants_images(tmp_path):
    with pytest.raises(EngineError, match="at least one image"):
        fp16_report(write(tmp_path / "a.onnx"), [])
