"""8-bit networks -> what TensorRT takes: no offsets, no uint8, fp16 beside int8; and what can't become that."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from drive_seg.core.engine import EngineError
from drive_seg.fp16.int8 import typed_int8
from drive_seg.openvino_core import CORE
from drive_seg.training.quantise import in_float

SHAPE = (1, 3, 32, 48)


def write(*, weight_type=np.int8, weight_zero=0, bias_in_32_bits=False, quantised_when_run=False, activations=True,
          opset=17) -> onnx.ModelProto:
    """Two convolutions: the first one's input is uint8 with an offset, the second one's has a scale a channel."""
    rng = np.random.default_rng(0)
    values = {
        "w1": rng.integers(0 if weight_type == np.uint8 else -127, 128, (8, 3, 3, 3)).astype(weight_type),
        "w1.scale": rng.uniform(0.0003, 0.001, 8), "w1.zero": np.full(8, weight_zero, weight_type),
        "b1": rng.normal(0, 1, 8),
        "w2": rng.integers(-127, 128, (5, 8, 1, 1)).astype(np.int8),
        "w2.scale": np.array([1e-6, 0.002, 0.01, 0.004, 0.006]),
        "image.scale": np.array(1.0), "image.zero": np.array(3, np.uint8),
        "mid.scale": rng.uniform(0.9, 1.1, 8), "mid.zero": np.full(8, -100, np.int8),
        "bias32": rng.integers(-900, 900, 8).astype(np.int32), "bias32.scale": np.full(8, 0.001),
        "float weights": rng.normal(0, 1, (8, 3, 3, 3)), "middle": np.array(40.0),
    }
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["image", "image.scale", "image.zero"], ["image.q"]),
        node("DequantizeLinear", ["image.q", "image.scale", "image.zero"], ["image.dq"]),
        node("DequantizeLinear", ["w1", "w1.scale", "w1.zero"], ["w1.dq"], axis=0),
        node("Conv", ["image.dq" if activations else "image", "w1.dq", "b1"], ["c1"], name="/first/Conv",
             pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("QuantizeLinear", ["r1", "mid.scale", "mid.zero"], ["mid.q"], axis=1),
        node("DequantizeLinear", ["mid.q", "mid.scale", "mid.zero"], ["mid.dq"], axis=1),
        node("DequantizeLinear", ["w2", "w2.scale"], ["w2.dq"], axis=0),
        node("Conv", ["mid.dq" if activations else "r1", "w2.dq"], ["c2"], name="/second/Conv"),
        node("ReduceMean", ["c2"], ["mean"], axes=[2, 3], keepdims=1),
        node("Sub", ["c2", "mean"], ["logits"]),
    ]
    if not activations:
        nodes = [n for n in nodes if "image.q" not in (*n.input, *n.output) and "mid.q" not in (*n.input, *n.output)]
    if bias_in_32_bits:
        nodes[3].input[2] = "bias32.dq"
        nodes.insert(0, node("DequantizeLinear", ["bias32", "bias32.scale"], ["bias32.dq"], axis=0))
    if quantised_when_run:
        nodes[2].input[0] = "w1.q"
        nodes.insert(2, node("QuantizeLinear", ["float weights", "w1.scale", "w1.zero"], ["w1.q"], axis=0))
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5, 32, 48])],
        [numpy_helper.from_array(v.astype(np.float32) if v.dtype == np.float64 else v, k) for k, v in values.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def infer(model: onnx.ModelProto) -> np.ndarray:
    """On ONNX Runtime, with every pair computed as it says: OpenVINO's sums of 8-bit products saturate without VNNI."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    kind = np.float16 if "16" in session.get_inputs()[0].type else np.float32
    return session.run(None, {"image": picture().astype(kind)})[0].astype(np.float32)


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, SHAPE).astype(np.float32)


def of_kind(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def test_what_tensorrt_takes_has_no_offsets_and_computes_the_same():
    model = write()
    typed = typed_int8(model)
    stored = {w.name: numpy_helper.to_array(w) for w in typed.graph.initializer}
    assert {v.dtype.name for v in stored.values()} <= {"int8", "float16", "int64"}
    assert len(of_kind(typed, "QuantizeLinear")) == 2 and len(of_kind(typed, "DequantizeLinear")) == 4
    for node in of_kind(typed, "QuantizeLinear"):
        scale, zero = (stored[name] for name in node.input[1:])
        assert scale.shape == () and zero == 0 and zero.dtype == np.int8 and scale.dtype == np.float16
    expected, got = infer(model), infer(typed)
    assert np.abs(got - expected).max() < 0.04 * np.ptp(expected)
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.998


def test_written_out_in_float_it_rounds_the_same():
    typed = typed_int8(write())
    written = in_float(typed)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in written.graph.node}
    expected = infer(typed)
    network = CORE.compile_model(CORE.read_model(written.SerializeToString()), "CPU",
                                 {"INFERENCE_PRECISION_HINT": "f32"})
    got = next(iter(network([picture().astype(np.float16)]).values())).astype(np.float32)
    difference = np.abs(got - expected)
    assert np.quantile(difference, 0.9) < 0.001 * np.ptp(expected)  # the others lie at a half, and fp16 decides
    assert difference.max() < 0.05 * np.ptp(expected)


def test_a_scale_that_fp16_can_hardly_hold_is_raised_and_its_weights_with_it():
    typed = typed_int8(write())
    stored = {w.name: numpy_helper.to_array(w).astype(np.float32) for w in typed.graph.initializer}
    before = {w.name: numpy_helper.to_array(w).astype(np.float32) for w in write().graph.initializer}
    assert before["w2.scale"].min() < 2**-14 <= stored["w2.dq.scale"].min()
    was = before["w2"] * before["w2.scale"][:, None, None, None]
    now = stored["w2.dq.int8"] * stored["w2.dq.scale"][:, None, None, None]
    assert np.abs(now - was).max() <= 0.51 * stored["w2.dq.scale"].max()


def test_layers_that_fp16_cannot_hold_stay_fp32_between_the_quantised_ones():
    typed = typed_int8(write(), keep_fp32=["c1"])
    assert [node.name for node in of_kind(typed, "Conv")] == ["/first/Conv.fp32", "/second/Conv"]
    assert {node.attribute[0].i for node in of_kind(typed, "Cast")} == {TensorProto.FLOAT, TensorProto.FLOAT16}


def test_a_bias_in_32_bits_becomes_float():
    model = write(bias_in_32_bits=True)
    typed = typed_int8(model)
    assert TensorProto.INT32 not in {w.data_type for w in typed.graph.initializer}
    expected = infer(model)
    assert np.abs(infer(typed) - expected).max() < 0.03 * np.ptp(expected)


@pytest.mark.parametrize("wrong, says", [
    ({"weight_zero": 5}, "weights w1 are not signed and without offset.*quantise weights symmetrically"),
    ({"weight_type": np.uint8}, "weights w1 are not signed"),
    ({"quantised_when_run": True}, "quantised when it runs.*store them quantised"),
    ({"activations": False}, "no activations in 8 bits.*export --int8"),
])
def test_what_tensorrt_would_refuse_is_refused_here(wrong, says):
    with pytest.raises(EngineError, match=says):
        typed_int8(write(**wrong))
