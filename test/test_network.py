"""Networks on disk: whatever is missing or damaged is said, and nothing runs."""

import shutil

import pytest
import yaml

from drive_seg.core.engine import EngineError
from drive_seg.network import Network, NetworkError
from drive_seg.runtimes import open_engine


@pytest.fixture
def copy(colour_network_path, tmp_path):
    """A network that a test may damage: its path and a function that edits its YAML."""
    for suffix in (".onnx", ".yaml"):
        shutil.copy(colour_network_path.with_suffix(suffix), tmp_path)
    return tmp_path / colour_network_path.name


def edit(path, **changes):
    sidecar = path.with_suffix(".yaml")
    facts = yaml.safe_load(sidecar.read_text()) | changes
    sidecar.write_text(yaml.safe_dump({k: v for k, v in facts.items() if v is not None}))


def test_a_good_network(copy):
    network = Network.load(copy)
    assert network.input_size == (96, 160)
    assert network.table.names[1] == "road"
    assert network.trust is None


def test_trust_statistics(copy):
    edit(copy, unknown={"mean": [1, 2, 3, 4, 5], "std": [1] * 5, "limit": -2.5})
    assert Network.load(copy).trust.limit == -2.5


@pytest.mark.parametrize(("damage", "match"), [
    (lambda p: p.unlink(), "no network at"),
    (lambda p: p.with_suffix(".yaml").unlink(), "no colours.yaml beside it"),
    (lambda p: p.write_bytes(p.read_bytes()[:-7]), "damaged"),
    (lambda p: p.write_bytes(b""), "damaged"),
    (lambda p: p.with_suffix(".yaml").write_text("a: [b"), "is not valid YAML"),
    (lambda p: p.with_suffix(".yaml").write_text("just text"), "format: 1"),
    (lambda p: edit(p, format=9), "format: 1"),
    (lambda p: edit(p, input=None), "height and width"),
    (lambda p: edit(p, classes=[{"id": 0}]), "must have id, name"),
    (lambda p: edit(p, unknown={"mean": [1], "std": [1], "limit": 0}), "5 values"),
    (lambda p: edit(p, unknown={"mean": [1] * 5}), "std"),
])
def test_damage_is_named(copy, damage, match):
    damage(copy)
    with pytest.raises(NetworkError, match=match):
        Network.load(copy)


def test_another_file_type_is_refused(tmp_path):
    with pytest.raises(NetworkError, match=r"\.onnx file"):
        Network.load(tmp_path / "net.pt")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_class_table_of_another_network_is_refused(copy, engine):
    rows = yaml.safe_load(copy.with_suffix(".yaml").read_text())["classes"]
    edit(copy, classes=rows[:3])
    with pytest.raises(EngineError, match="class table"):
        open_engine(engine, Network.load(copy))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_file_that_is_no_network_is_refused(copy, engine):
    import hashlib

    copy.write_bytes(b"this is not an ONNX")
    edit(copy, onnx_sha256=hashlib.sha256(copy.read_bytes()).hexdigest())
    with pytest.raises(EngineError, match="can't"):
        open_engine(engine, Network.load(copy))


def test_unknown_engine():
    with pytest.raises(EngineError, match="no engine is called 'abacus'"):
        open_engine("abacus", None)


def test_engines_agree(colour_network, colour_engine):
    import numpy as np

    from drive_seg.core.frame import Frame

    frame = Frame.from_array(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
    other = open_engine("onnxruntime", colour_network)
    one, two = (engine.decode(frame, frame.size, {}) for engine in (colour_engine, other))
    assert (one.classes == two.classes).mean() > 0.995


def test_an_input_size_other_than_its_own(colour_network):
    engine = open_engine("openvino", colour_network, input_size=(192, 320))
    assert engine.input_size == (192, 320)
    with pytest.raises(EngineError, match="own size only"):
        open_engine("onnxruntime", colour_network, input_size=(192, 320))


GOOD_SELF_TEST = {"picture": 2, "confidence": 0.9, "classes": ["00" * 30] * 22}


@pytest.mark.parametrize(("change", "match"), [
    ({"input": [384, 512]}, "`input` must be names with values"),
    ({"input": {"height": "a", "width": 500}}, "`input` must give height and width in whole pixels"),
    ({"input": {"height": 352.5, "width": 480}}, "`input` must give height and width in whole pixels"),
    ({"unknown": [1, 2]}, "`unknown` must be names with values"),
    ({"unknown": {"mean": 5, "std": [1] * 5, "limit": 0}}, "`unknown: mean` must be a list of 5 values"),
    ({"unknown": {"mean": ["a"] * 5, "std": [1] * 5, "limit": 0}}, "`unknown: mean` must be a number"),
    ({"unknown": {"mean": [1] * 5, "std": [1, 1, 0, 1, 1], "limit": 0}}, "`unknown: std` must be a number above 0"),
    ({"unknown": {"mean": [1] * 5, "std": [1] * 5}}, "`unknown: limit` must be a number"),
    ({"unknown": {"surface": 0}}, "`unknown: surface` must be a number above 0"),
    ({"unknown": {"typical": 3}}, "`typical` must be names with values"),
    ({"unknown": {"typical": {"confidence": [1, 0]}}}, "`unknown: typical: unknown` must be a list of 2 values"),
    ({"temperature": 0}, "`temperature` must be a number above 0, it is 0: correct it"),
    ({"temperature": -1}, "`temperature` must be a number above 0"),
    ({"temperature": float("nan")}, "`temperature` must be a number above 0"),
    ({"temperature": "warm"}, "`temperature` must be a number above 0"),
    ({"self_test": {"picture": 2, "confidence": 1}},
     "`self_test` must be what .* \\('classes' is missing\\): run it again"),
    ({"self_test": {"picture": 2, "confidence": 1, "classes": 5}},
     "`self_test` must be what .*not iterable"),
    ({"self_test": GOOD_SELF_TEST | {"classes": ["00"]}}, "`self_test` must be what .*22 rows of 30"),
    ({"self_test": {"confidence": 1}}, "`self_test` must be what .*another version's picture.*: run it again"),
    ({"self_test": [1]}, "`self_test` must be names with values"),
    ({"int8": "x.onnx"}, "`int8` must be names with values"),
    ({"int8": {"sha256": "0"}}, "`int8` must be {file"),
    ({"provenance": "me"}, "`provenance` must be names with values"),
])
def test_a_wrong_value_is_reported_at_load_with_its_key(copy, change, match):
    edit(copy, **change)
    with pytest.raises(NetworkError, match=f"colours.yaml: {match}"):
        Network.load(copy)


def test_numbers_as_yaml_has_them(copy):
    edit(copy, temperature="1e-1", self_test=GOOD_SELF_TEST, unknown={"mean": [0] * 5, "std": ["1e-3"] * 5, "limit": -1,
                                                                      "surface": 2, "typical": {}})
    network = Network.load(copy)
    assert (network.temperature, network.surface.limit, network.typical) == (0.1, 2.0, None)
    assert network.self_test.confidence == 0.9
