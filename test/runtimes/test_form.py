"""A network of another form gets the one sentence that is true, the same from every engine."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from colours import COLOURS, read_facts, write_colour_network, write_facts
from onnx import TensorProto, helper, numpy_helper

from drive_seg.core.engine import EngineError
from drive_seg.fp16.__main__ import main as write_fp16_version
from drive_seg.network import Network, NetworkError
from drive_seg.onnx_header import read_header
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine
from drive_seg.runtimes.form import check_form

HEIGHT, WIDTH = 96, 160
CLASSES = len(COLOURS)
F, U8, F16, I64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.INT64
CONSTANTS = {
    "weights": np.random.default_rng(5).normal(0, 0.01, (CLASSES, 3, 1, 1)).astype(np.float32),
    "no": np.array([0]), "one": np.array([1]), "two": np.array([2]), "far": np.array([HEIGHT]),
    "shape": np.array([4, 3, HEIGHT, WIDTH]), "one_two": np.array([1, 2]), "parts": np.array([2, 3]),
    "zero": np.array(0, np.float32), "six": np.array(6, np.float32),
    "hundred": np.array(100, np.float32), "twice": np.array([1, 1, 2, 2], np.float32),
}


def save(folder, model, classes=CLASSES):
    """A model beside the colour network's YAML, with that many of its classes."""
    path = write_colour_network(folder)
    facts = read_facts(path)
    onnx.save(model, str(path))
    facts["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    facts["classes"] = facts["classes"][:classes]
    write_facts(path, facts)
    return path


def model_of(nodes, inputs, outputs, constants=CONSTANTS):
    """nodes: operator, inputs, outputs, and attributes where it has some. inputs, outputs: (name, kind, shape) each."""
    graph = helper.make_graph([helper.make_node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes], "net",
                              [helper.make_tensor_value_info(*i) for i in inputs],
                              [helper.make_tensor_value_info(*o) for o in outputs],
                              [numpy_helper.from_array(value, name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@dataclass(frozen=True)
class Faulty:
    """A network that no runtime can serve, and what each says. takes, gives: kinds of numbers. layout: of the image.
    outputs: their names."""

    nodes: list
    says: str
    takes: int = F
    gives: int = F
    layout: str = "nchw"
    batch: int = 1
    outputs: tuple = ("out",)
    classes: int = CLASSES

    def write(self, folder, free):
        """free: the sides of the image that the file does not say, of n, c, h and w."""
        sides = {"n": self.batch, "c": 3, "h": HEIGHT, "w": WIDTH}
        shape = [side if side in free else sides[side] for side in self.layout]
        model = model_of(self.nodes, [("image", self.takes, shape)], [(o, self.gives, None) for o in self.outputs])
        return save(folder, onnx.shape_inference.infer_shapes(model, data_prop=True), self.classes)


CONV, CONV_OUT = ("Conv", ["image", "weights"], ["logits"]), ("Conv", ["image", "weights"], ["out"])
EXP, SUM = ("Exp", ["logits"], ["e"]), ("ReduceSum", ["e", "one"], ["s"])
SOFTMAX = [CONV, ("ReduceMax", ["logits"], ["m"], {"axes": [1]}), ("Sub", ["logits", "m"], ["l"]),
           ("Exp", ["l"], ["e"]), SUM, ("Div", ["e", "s"], ["p"])]
ACROSS, TO_NCHW, TO_NHWC = {"axis": 1}, {"perm": [0, 3, 1, 2]}, {"perm": [0, 2, 3, 1]}
CAST = [("Cast", ["image"], ["f"], {"to": F}), ("Conv", ["f", "weights"], ["out"])]
ADD_UP = "gives probabilities: at every point its outputs add up to the same: export it without the soft-max"
SOFT = "gives probabilities: it ends in a Softmax: export it without that"
IDS = r"gives the ids of classes \({}\), which say nothing about confidence: export it without the {} at its end"
ONE = "gives one channel, its class table has 5 classes: export one for each"
IN_LAST = r"takes the image as NHWC \(channels last\): export it as NCHW: \(1, 3, height, width\)"
OUT_LAST = r"gives logits as NHWC \(channels last\): export it as NCHW: \(1, classes, height, width\)"

FAULTY = {
    "soft-max": Faulty([CONV, ("Softmax", ["logits"], ["out"], ACROSS)], SOFT),
    "soft-max, clipped": Faulty([CONV, ("Softmax", ["logits"], ["p"], ACROSS), ("Clip", ["p"], ["out"])], SOFT),
    "soft-max, laid out twice and cut": Faulty(
        [CONV, ("Softmax", ["logits"], ["a"], ACROSS), ("Transpose", ["a"], ["b"], TO_NHWC),
         ("Transpose", ["b"], ["c"], TO_NCHW), ("Slice", ["c", "no", "far", "two"], ["out"])], SOFT),
    "two soft-maxes in one": Faulty(
        [CONV, ("Split", ["logits", "parts"], ["a", "b"], ACROSS), ("Softmax", ["a"], ["c"], ACROSS),
         ("Softmax", ["b"], ["d"], ACROSS), ("Concat", ["c", "d"], ["out"], ACROSS)], SOFT),
    "exp, sum, division": Faulty([CONV, EXP, SUM, ("Div", ["e", "s"], ["out"])], ADD_UP),
    "the same without overflow": Faulty([*SOFTMAX, ("Identity", ["p"], ["out"])], ADD_UP),
    "exp times the inverse sum": Faulty([CONV, EXP, SUM, ("Reciprocal", ["s"], ["r"]), ("Mul", ["e", "r"], ["out"])],
                                        ADD_UP),
    "exp of log-soft-max": Faulty([CONV, ("LogSoftmax", ["logits"], ["l"], ACROSS), ("Exp", ["l"], ["out"])], ADD_UP),
    "soft-max in percent": Faulty([CONV, ("Softmax", ["logits"], ["p"], ACROSS), ("Mul", ["hundred", "p"], ["out"])],
                                  ADD_UP),
    "exp, sum, division in percent": Faulty([*SOFTMAX, ("Mul", ["p", "hundred"], ["out"])], ADD_UP),
    "resized": Faulty([*SOFTMAX, ("Resize", ["p", "", "twice"], ["out"], {"mode": "linear"})], ADD_UP),
    "laid out twice": Faulty([*SOFTMAX, ("Transpose", ["p"], ["b"], TO_NHWC), ("Transpose", ["b"], ["out"], TO_NCHW)],
                             ADD_UP),
    "taken apart": Faulty([*SOFTMAX, ("Split", ["p", "parts"], ["a", "b"], ACROSS),
                           ("Concat", ["b", "a"], ["out"], ACROSS)], ADD_UP),
    "sigmoid": Faulty([CONV, ("Sigmoid", ["logits"], ["out"])], "gives probabilities: it ends in a Sigmoid"),
    "argmax": Faulty([CONV, ("ArgMax", ["logits"], ["out"], ACROSS)], IDS.format("int64", "ArgMax"), gives=I64),
    "argmax, no channel": Faulty([CONV, ("ArgMax", ["logits"], ["out"], {"axis": 1, "keepdims": 0})],
                                 IDS.format("int64", "ArgMax"), gives=I64),
    "argmax as float": Faulty([CONV, ("ArgMax", ["logits"], ["a"], ACROSS), ("Cast", ["a"], ["out"], {"to": F})],
                              IDS.format("float32", "ArgMax")),
    "the best's place": Faulty([CONV, ("TopK", ["logits", "one"], ["a", "out"], ACROSS)], IDS.format("int64", "TopK"),
                               gives=I64),
    "the highest": Faulty([CONV, ("ReduceMax", ["logits"], ["out"], {"axes": [1]})], ONE),
    "one-hot": Faulty([CONV, ("Hardmax", ["logits"], ["out"], ACROSS)], IDS.format("float32", "Hardmax")),
    "one-hot by comparison": Faulty([*SOFTMAX[:2], ("Equal", ["m", "logits"], ["q"]),
                                     ("Cast", ["q"], ["out"], {"to": F})], ADD_UP),
    "bytes": Faulty([CONV, ("Cast", ["logits"], ["out"], {"to": U8})], r"gives whole numbers \(uint8\)", gives=U8),
    "NHWC in": Faulty([("Transpose", ["image"], ["t"], TO_NCHW), ("Conv", ["t", "weights"], ["out"])], IN_LAST,
                      layout="nhwc"),
    "NHWC in, scaled": Faulty([("Div", ["image", "hundred"], ["s"]), ("Transpose", ["s"], ["t"], TO_NCHW),
                               ("Conv", ["t", "weights"], ["out"])], IN_LAST, layout="nhwc"),
    "NHWC out": Faulty([CONV, ("Transpose", ["logits"], ["out"], TO_NHWC)], OUT_LAST),
    "NHWC in and out": Faulty([("Transpose", ["image"], ["t"], TO_NCHW), ("Conv", ["t", "weights"], ["logits"]),
                               ("Transpose", ["logits"], ["out"], TO_NHWC)], IN_LAST, layout="nhwc"),
    "a batch of 4": Faulty([("Reshape", ["image", "shape"], ["i"]), ("Conv", ["i", "weights"], ["out"])],
                           "takes 4 images at a time: export it with a batch of 1", batch=4),
    "a second result": Faulty([CONV, ("Concat", ["logits", "logits"], ["out"], {"axis": 0})],
                              "gives 2 results at a time: export it with a batch of 1"),
    "two outputs": Faulty([CONV_OUT, ("Identity", ["out"], ["more"])],
                          r"has 2 outputs \(out, more\): export it with one, the logits", outputs=("out", "more")),
    "float16 in": Faulty(CAST, "takes the image as float16: export it with a float32 input", takes=F16),
    "uint8 in": Faulty(CAST, "takes the image as uint8: export it with a float32 input", takes=U8),
    "float16 out": Faulty([CONV, ("Cast", ["logits"], ["out"], {"to": F16})],
                          "gives logits as float16: export it with a float32 output", gives=F16),
    "another table": Faulty([CONV_OUT], "gives 5 channels: its class table has 3 classes: use the one", classes=3),
    "another table, two classes": Faulty([("Split", ["image", "one_two"], ["out", "rest"], ACROSS)],
                                         "gives one channel, its class table has 2 classes: export two", classes=2),
    "two dimensions": Faulty([CONV, ("Flatten", ["logits"], ["out"])], "gives 2 dimensions: export it with"),
    "one class": Faulty([CONV_OUT], "has one class: a soft-max over one channel is always 1: export two", classes=1),
}



@pytest.mark.parametrize(("fault", "free"), [(fault, free) for fault in FAULTY for free in ("", "nhw", "nchw")
                                             if not ("n" in free and FAULTY[fault].batch != 1)])  # then it is none
def test_another_form_is_refused_by_every_engine_in_the_same_words(tmp_path, fault, free):
    network = Network.load(FAULTY[fault].write(tmp_path, free))
    said = set()
    for engine in ("openvino", "onnxruntime"):
        with pytest.raises(EngineError, match=FAULTY[fault].says) as error:
            open_engine(engine, network)
        said.add(str(error.value))
    assert len(said) == 1 and "\n" not in said.pop()


@pytest.mark.parametrize("fault", FAULTY)
def test_what_the_file_tells_is_refused_before_a_gpu_is_looked_for(tmp_path, fault, capsys):
    network = Network.load(FAULTY[fault].write(tmp_path, ""))
    if FAULTY[fault].says is ADD_UP:
        check_form(network)  # only the values tell
        return
    with pytest.raises(EngineError, match=FAULTY[fault].says) as error:
        open_engine("tensorrt", network)
    assert write_fp16_version([str(network.path)]) == 2
    assert capsys.readouterr().err == f"fp16: {error.value}\n"


def test_what_the_file_keeps_to_itself_is_said_where_the_gpu_s_version_is_written(tmp_path, capsys):
    model = model_of(FAULTY["a second result"].nodes, [("image", F, [1, 3, HEIGHT, WIDTH])],
                     [("out", F, ["n", "c", "h", "w"])])
    network = Network.load(save(tmp_path, model))
    check_form(network)
    assert write_fp16_version([str(network.path)]) == 2
    assert "gives 2 results at a time: export it with a batch of 1" in capsys.readouterr().err


RIGHT = {
    "logits": [CONV_OUT],
    "log-soft-max": [CONV, ("LogSoftmax", ["logits"], ["out"], ACROSS)],  # logits but for a constant a point
    "sigmoid inside": [("Sigmoid", ["image"], ["s"]), ("Conv", ["s", "weights"], ["out"])],
    "attention": [CONV, ("Sigmoid", ["logits"], ["s"]), ("Mul", ["logits", "s"], ["out"])],
    "soft-max inside": [CONV, ("Softmax", ["logits"], ["p"], ACROSS), ("Log", ["p"], ["out"])],
    "nowhere negative": [CONV, ("Relu", ["logits"], ["out"])],
    "at most 6": [CONV, ("Clip", ["logits", "zero", "six"], ["out"])],
    "the same everywhere": [CONV, ("Mul", ["logits", "zero"], ["z"]), ("Add", ["z", "six"], ["out"])],
    "channels last inside": [("Transpose", ["image"], ["a"], TO_NHWC), ("Div", ["a", "hundred"], ["b"]),
                             ("Transpose", ["b"], ["c"], TO_NCHW), ("Conv", ["c", "weights"], ["out"])],
}


@pytest.mark.parametrize("free", ["", "hw", "nchw"])
@pytest.mark.parametrize("kind", RIGHT)
def test_the_right_form_is_taken(tmp_path, kind, free):
    network = Network.load(Faulty(RIGHT[kind], "nothing").write(tmp_path, free))
    for engine in ("openvino", "onnxruntime"):
        open_engine(engine, network).close()


def test_an_8_bit_version_of_another_form_is_refused_too(tmp_path):
    network = Network.load(write_colour_network(tmp_path))
    check_form(network)
    (tmp_path / "other").mkdir()
    other = FAULTY["soft-max"].write(tmp_path / "other", "")
    with pytest.raises(EngineError, match=f"{other} {SOFT}"):
        open_engine("onnxruntime", replace(network, int8=other))


def test_what_onnxruntime_fails_on_is_one_line(tmp_path):
    model = model_of([("Conv", ["image", "weights"], ["a"]), ("Reshape", ["a", "to"], ["out"])],
                     [("image", F, [1, 3, "h", "w"])], [("out", F, [1, CLASSES, "h", "w"])],
                     {**CONSTANTS, "to": np.array([1, CLASSES, 7, 7])})
    with pytest.raises(EngineError, match="ONNX Runtime failed on a frame: .*Reshape") as error:
        open_engine("onnxruntime", Network.load(save(tmp_path, model)))
    assert "\n" not in str(error.value)


def test_sides_that_are_not_fixed_are_read_as_such(tmp_path):
    assert read_header(Faulty([CONV_OUT], "").write(tmp_path, "nhw")).inputs[0].shape == (None, 3, None, None)


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
    facts = read_facts(path)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="colours.onnx.data",
              size_threshold=0)
    facts["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_facts(path, facts)
    with pytest.raises(NetworkError, match=r"weights in other files \(colours.onnx.data\).*: merge them with") as error:
        Network.load(path)
    monkeypatch.chdir(tmp_path)
    exec(str(error.value).split('python -c "')[1].split('"`')[0])
    facts["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_facts(path, facts)
    (tmp_path / "colours.onnx.data").unlink()
    assert read_header(path).external == ()
    open_engine("openvino", Network.load(path)).close()


def test_weights_in_an_attribute_are_found_too(tmp_path):
    constant = numpy_helper.from_array(np.ones(1, np.float32), "one")
    path = Faulty([CONV, ("Constant", [], ["more"], {"value": constant}), ("Add", ["logits", "more"], ["out"])],
                  "").write(tmp_path, "")
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
