import dataclasses

import numpy as np
import pytest

from drive_seg.core import selftest
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import SelfTest, SelfTestError, check_answer, picture, record_answer
from drive_seg.network import Network, NetworkError
from drive_seg.resources import default_network


@pytest.fixture
def segmenter(colour_engine, colour_network):
    return Segmenter(colour_engine, colour_network.table)


def test_the_picture_is_the_same_everywhere():
    image = picture()
    assert image.shape == (352, 480, 3) and image.dtype == np.uint8
    assert np.array_equal(image, picture())
    assert 60 < image.mean() < 190 and image.std() > 20


def test_an_engine_passes_its_own_answer_and_fails_another(segmenter):
    answer = record_answer(segmenter)
    assert len(np.unique(answer.classes)) > 1
    check_answer(segmenter, answer)
    check_answer(segmenter, SelfTest.from_dict(answer.to_dict()))
    wrong = answer.classes.copy()
    wrong[:2] = (wrong[:2] + 1) % 5
    with pytest.raises(SelfTestError, match="9.1% of the points.*: this engine computes wrongly"):
        check_answer(segmenter, dataclasses.replace(answer, classes=wrong))
    with pytest.raises(SelfTestError, match="confidence is off"):
        check_answer(segmenter, dataclasses.replace(answer, confidence=answer.confidence - 0.1))


def test_onnxruntime_gives_the_recorded_answer(segmenter, colour_network):
    pytest.importorskip("onnxruntime")
    from drive_seg.runtimes import open_engine

    other = open_engine("onnxruntime", colour_network)
    check_answer(Segmenter(other, colour_network.table), record_answer(segmenter))
    other.close()


def test_the_answer_travels_in_the_network_s_yaml(segmenter, tmp_path):
    from colours import write_colour_network

    answer = record_answer(segmenter)
    network = Network.load(write_colour_network(tmp_path, self_test=answer.to_dict(),
                                                unknown={"surface": 4.5, "typical": {"confidence": [0.9, 0.05],
                                                                                     "unknown": [0.02, 0.01]}}))
    assert np.array_equal(network.self_test.classes, answer.classes)
    assert network.surface.limit == 4.5 and network.typical.unknown == (0.02, 0.01) and network.trust is None
    assert network.with_strictness(1.5).surface.limit == pytest.approx(3.0)
    assert network.with_strictness(0).surface is None
    with pytest.raises(NetworkError, match="22 rows"):
        Network.load(write_colour_network(tmp_path, self_test={**answer.to_dict(), "classes": ["00"]}))
    former = {name: value for name, value in answer.to_dict().items() if name != "picture"}
    with pytest.raises(NetworkError, match="another version's picture.*run it again"):
        Network.load(write_colour_network(tmp_path, self_test=former))


def test_an_engine_that_calls_all_road_fails_at_every_size():
    answer = Network.load(default_network()).self_test
    largest_share = np.bincount(answer.classes.ravel()).max() / answer.classes.size
    assert largest_share < 1 - selftest._AT_OTHER_SIZE[0] - 0.1


@pytest.mark.parametrize("size", [(192, 256), (352, 480), (768, 1024)], ids=str)
def test_the_network_that_ships_passes_at_other_sizes(size):
    from drive_seg.runtimes import open_engine

    network = Network.load(default_network())
    engine = open_engine("openvino", network, input_size=size, precision="fp32")
    check_answer(Segmenter(engine, network.table), network.self_test)
    engine.close()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_at_another_input_size_half_of_the_points_still_may_not_be_wrong(segmenter, colour_network, monkeypatch,
                                                                         precision):
    from drive_seg.runtimes import open_engine

    other = open_engine("openvino", colour_network, input_size=(64, 96))
    monkeypatch.setattr(type(other), "precision", precision, raising=False)
    smaller = Segmenter(other, colour_network.table)
    answer = record_answer(segmenter)
    check_answer(smaller, answer)
    wrong = answer.classes.copy()
    wrong[:11] = (wrong[:11] + 1) % 5
    with pytest.raises(SelfTestError, match="the input size 64x96 is too far from the network's own, 96x160"):
        check_answer(smaller, dataclasses.replace(answer, classes=wrong))
    other.close()
