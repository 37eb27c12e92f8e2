"""A network of another form gets the one sentence that is true, the same from every engine."""

import hashlib

import numpy as np
import onnx
import pytest
import yaml
from colours import COLOURS, write_colour_network
from onnx import TensorProto, helper, numpy_helper

from drive_seg.core.engine import EngineError
from drive_seg.network import Network, NetworkError
from drive_seg.onnx_header import read_header
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine
from drive_seg.runtimes.form import check_form

HEIGHT, WIDTH = 96, 160
CLASSES = len(COLOURS)


def write(folder, nodes, inputs=None, outputs=None, classes=CLASSES, weights=()):
    """A network of some nodes between `image` and `out`. inputs, outputs: (name, kind, shape) each."""
    inputs = inputs or [("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])]
    outputs = outputs or [("out", TensorProto.FLOAT, [1, CLASSES, HEIGHT, WIDTH])]
    conv = numpy_helper.from_array(np.ones((classes, 3, 1, 1), np.float32), "weights")
    graph = helper.make_graph([helper.make_node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes], "net",
                              [helper.make_tensor_value_info(*i) for i in inputs],
                              [helper.make_tensor_value_info(*o) for o in outputs], [conv, *weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = write_colour_network(folder)
    facts = yaml.safe_load(path.with_suffix(".yaml").read_text())
    onnx.save(model, str(path))
    facts["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    facts["classes"] = facts["classes"][:classes]
    path.with_suffix(".yaml").write_text(yaml.safe_dump(facts))
    return path


CONV = ("Conv", ["image", "weights"], ["logits"])
F, U8, F16, I64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.INT64
IMAGE, OUT = [1, 3, HEIGHT, WIDTH], [1, CLASSES, HEIGHT, WIDTH]

WRONG = {
    "soft-max": ({"nodes": [CONV, ("Softmax", ["logits"], ["out"], {"axis": 1})]},
                 "gives probabilities: it ends in a Softmax: export it without that"),
    "soft-max, then resized": ({"nodes": [CONV, ("Softmax", ["logits"], ["p"], {"axis": 1}),
                                          ("Identity", ["p"], ["q"]), ("Identity", ["q"], ["out"])]},
                               "ends in a Softmax"),
    "soft-max, then clipped": ({"nodes": [CONV, ("Softmax", ["logits"], ["p"], {"axis": 1}), ("Clip", ["p"], ["out"])]},
                               "ends in a Softmax"),
    "sigmoid": ({"nodes": [CONV, ("Sigmoid", ["logits"], ["out"])]}, "ends in a Sigmoid"),
    "argmax": ({"nodes": [CONV, ("ArgMax", ["logits"], ["out"], {"axis": 1, "keepdims": 1})],
                "outputs": [("out", I64, [1, 1, HEIGHT, WIDTH])]},
               r"gives the ids of classes \(int64\).*: export it without the ArgMax"),
    "two outputs": ({"nodes": [CONV, ("Identity", ["logits"], ["out"])],
                     "outputs": [("out", F, OUT), ("logits", F, OUT)]},
                    r"has 2 outputs \(out, logits\): export it with one, the logits"),
    "two inputs": ({"nodes": [CONV, ("Add", ["logits", "more"], ["out"])],
                    "inputs": [("image", F, IMAGE), ("more", F, [1])]}, r"has 2 inputs \(image, more\)"),
    "NHWC in": ({"nodes": [("Transpose", ["image"], ["t"], {"perm": [0, 3, 1, 2]}),
                           ("Conv", ["t", "weights"], ["out"])], "inputs": [("image", F, [1, HEIGHT, WIDTH, 3])]},
                r"takes the image as NHWC .*: export it as NCHW: \(1, 3, height, width\)"),
    "NHWC out": ({"nodes": [CONV, ("Transpose", ["logits"], ["out"], {"perm": [0, 2, 3, 1]})],
                  "outputs": [("out", F, [1, HEIGHT, WIDTH, CLASSES])]}, "gives logits as NHWC"),
    "batch": ({"nodes": [("Conv", ["image", "weights"], ["out"])], "inputs": [("image", F, [4, 3, HEIGHT, WIDTH])],
               "outputs": [("out", F, [4, CLASSES, HEIGHT, WIDTH])]},
              "takes 4 images at a time: export it with a batch of 1"),
    "another size": ({"nodes": [("Conv", ["image", "weights"], ["out"])], "inputs": [("image", F, [1, 3, 64, WIDTH])],
                      "outputs": [("out", F, [1, CLASSES, 64, WIDTH])]},
                     "takes images of 64x160, but the `input` of colours.yaml is 96x160: correct the `input`"),
    "uint8 in": ({"nodes": [("Cast", ["image"], ["f"], {"to": F}), ("Conv", ["f", "weights"], ["out"])],
                  "inputs": [("image", U8, IMAGE)]}, "takes the image as uint8: export it with a float32 input"),
    "float16 in": ({"nodes": [("Cast", ["image"], ["f"], {"to": F}), ("Conv", ["f", "weights"], ["out"])],
                    "inputs": [("image", F16, IMAGE)]}, "takes the image as float16"),
    "float16 out": ({"nodes": [CONV, ("Cast", ["logits"], ["out"], {"to": F16})], "outputs": [("out", F16, OUT)]},
                    "gives logits as float16: export it with a float32 output"),
    "one channel": ({"nodes": [("Conv", ["image", "weights"], ["out"])], "classes": 1,
                     "outputs": [("out", F, [1, 1, HEIGHT, WIDTH])]},
                    r"one class: a soft-max over one channel is always 1: export two channels"),
    "another table": ({"nodes": [("Conv", ["image", "weights"], ["out"])], "classes": 3,
                       "outputs": [("out", F, [1, 4, HEIGHT, WIDTH])]}, "gives 4 channels: its class table has 3"),
    "two dimensions": ({"nodes": [CONV, ("Flatten", ["logits"], ["out"])],
                        "outputs": [("out", F, [1, CLASSES * HEIGHT * WIDTH])]}, "gives 2 dimensions"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_another_form_is_refused_by_every_engine_in_the_same_words(tmp_path, kind):
    arguments, words = WRONG[kind]
    network = Network.load(write(tmp_path, **arguments))
    said = set()
    for engine in ("openvino", "onnxruntime", "tensorrt"):
        with pytest.raises(EngineError, match=words) as error:
            open_engine(engine, network)
        said.add(str(error.value))
    assert len(said) == 1 and "\n" not in said.pop()


@pytest.mark.parametrize("nodes", [
    [("Conv", ["image", "weights"], ["out"])],
    [CONV, ("LogSoftmax", ["logits"], ["out"], {"axis": 1})],  # logits but for a constant a pixel
    [("Sigmoid", ["image"], ["s"]), ("Conv", ["s", "weights"], ["out"])],  # inside it is nobody's matter
])
def test_the_right_form_is_taken(tmp_path, nodes):
    network = Network.load(write(tmp_path, nodes))
    check_form(network)
    open_engine("openvino", network).close()


def test_what_onnxruntime_fails_on_is_one_line(tmp_path):
    path = write(tmp_path, [("Conv", ["image", "weights"], ["a"]), ("Reshape", ["a", "to"], ["out"])],
                 weights=[numpy_helper.from_array(np.array([1, CLASSES, 7, 7], np.int64), "to")],
                 inputs=[("image", F, [1, 3, "h", "w"])], outputs=[("out", F, [1, CLASSES, "h", "w"])])
    with pytest.raises(EngineError, match="ONNX Runtime failed on a frame: .*Reshape") as error:
        open_engine("onnxruntime", Network.load(path))
    assert "\n" not in str(error.value)


def test_sides_that_are_not_fixed_are_taken(tmp_path):
    path = write(tmp_path, [("Conv", ["image", "weights"], ["out"])],
                 inputs=[("image", F, ["n", 3, "h", "w"])], outputs=[("out", F, ["n", CLASSES, "h", "w"])])
    assert read_header(path).inputs[0].shape == (None, 3, None, None)
    check_form(Network.load(path))


def test_the_shipped_network_has_the_form():
    network = Network.load(default_network())
    check_form(network)
    for path in (network.path, network.int8):
        header, model = read_header(path), onnx.load(str(path))
        assert [v.name for v in header.inputs] == [v.name for v in model.graph.input]
        assert header.outputs[0].shape == tuple(d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim)


@pytest.mark.parametrize("size", [(31, 160), (96, 63), (16, 16)])
def test_an_input_size_below_half_is_refused_with_the_smallest(colour_network, size):
    check_form(colour_network, (32, 64))
    with pytest.raises(EngineError, match="is below the smallest that .* is run at, 32x64"):
        open_engine("openvino", colour_network, input_size=size)


def test_weights_in_another_file_are_refused_with_the_way_to_merge_them(tmp_path, monkeypatch):
    path = write_colour_network(tmp_path)
    facts = yaml.safe_load(path.with_suffix(".yaml").read_text())
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="colours.onnx.data",
              size_threshold=0)
    facts["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".yaml").write_text(yaml.safe_dump(facts))
    with pytest.raises(NetworkError, match=r"weights in other files \(colours.onnx.data\).*: merge them with") as error:
        Network.load(path)
    monkeypatch.chdir(tmp_path)
    exec(str(error.value).split('python -c "')[1].split('"`')[0])
    facts["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".yaml").write_text(yaml.safe_dump(facts))
    (tmp_path / "colours.onnx.data").unlink()
    assert read_header(path).external == ()
    open_engine("openvino", Network.load(path)).close()


def test_weights_in_an_attribute_are_found_too(tmp_path):
    constant = numpy_helper.from_array(np.ones(1, np.float32), "one")
    path = write(tmp_path, [CONV, ("Constant", [], ["one"], {"value": constant}), ("Add", ["logits", "one"], ["out"])])
    model = onnx.load(str(path))
    tensor = next(a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "elsewhere.bin"
    path.write_bytes(model.SerializeToString())
    assert read_header(path).external == ("elsewhere.bin",)


@pytest.mark.parametrize("data", [b"", b"this is not an ONNX", b"\x3a" + b"\xff" * 9 + b"\x01", b"\xff" * 50])
def test_what_is_no_onnx_has_no_header(tmp_path, data):
    (tmp_path / "x.onnx").write_bytes(data)
    assert read_header(tmp_path / "x.onnx") is None


def test_a_number_where_a_name_should_be_is_not_onnx(tmp_path):
    number = b"\x08" + b"\x80" * 5 + b"\x20"  # 2 ** 40 as the first input of an operator
    node = b"\x0a" + bytes([len(number)]) + number
    (tmp_path / "x.onnx").write_bytes(b"\x3a" + bytes([len(node)]) + node)
    assert read_header(tmp_path / "x.onnx") is None
