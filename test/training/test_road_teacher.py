"""A data set of road and not road from footage, by another network."""

import cv2
import numpy as np
import onnx
import pytest
from colours import rgb
from onnx import TensorProto, helper, numpy_helper

from drive_seg.evaluation.dataset import Dataset
from drive_seg.training.road_teacher import BACKGROUND, IGNORE, NOT_ROAD, ROAD, label, main


def write_teacher(folder, classes=4):
    """A real network: the darker a pixel, the more it is road."""
    weights = np.zeros((classes, 3, 1, 1), np.float32)
    weights[1] = -1 / 30
    bias = np.zeros(classes, np.float32)
    bias[1:] = (12, -12, -12)[: classes - 1]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights", "bias"], ["scores"], kernel_shape=[1, 1])], "teacher",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 96])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, classes, 64, 96])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")])
    path = folder / "teacher.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_footage_becomes_a_data_set_of_road_and_not_road(tmp_path, capsys):
    drive = tmp_path / "drive"
    drive.mkdir()
    for i in range(20):
        picture = np.full((72, 128, 3), 230, np.uint8)
        picture[36:] = 60
        picture[36:, : i + 1] = 120
        cv2.imwrite(str(drive / f"{i:02d}.png"), picture)
    out = tmp_path / "roads"
    assert main([str(write_teacher(tmp_path)), str(drive), "--out", str(out), "--every", "2", "--licence", "MIT"]) == 0
    assert "10 pictures" in capsys.readouterr().out
    dataset = Dataset.load(out)
    assert dataset.licence == "MIT"
    assert [len(dataset.pairs(split)) for split in ("train", "val")] == [8, 2], "the last ones are val"
    picture, labels = dataset.pairs("train")[0].read()
    assert picture.shape == (360, 640, 3) and labels.shape == (360, 640)
    assert (labels[:150] == NOT_ROAD).all() and (labels[210:, 40:] == ROAD).all()


def test_networks_say_what_is_background_and_never_that_road_is(tmp_path, colour_network_path):
    picture = np.full((72, 128, 3), 60, np.uint8)  # a grey road
    picture[:36] = rgb("sky")[::-1]
    picture[:36, :32] = 255, 255, 255  # at the left only: mirrored pictures come back the right way round
    picture[8:28, 96:120] = rgb("car")[::-1]
    (tmp_path / "drive").mkdir()
    cv2.imwrite(str(tmp_path / "drive/0.png"), picture)
    network = str(colour_network_path)
    for i, networks in enumerate([[], ["--background", network], ["--background", network] * 2]):
        out = tmp_path / f"roads{i}"
        assert main([str(write_teacher(tmp_path)), str(tmp_path / "drive"), "--out", str(out), *networks]) == 0
        _, labels = Dataset.load(out).pairs("train")[0].read()
        assert (labels[200:] == ROAD).all()
        assert (labels[50:130, 490:590] != BACKGROUND).all(), "a car"
        assert (labels[50:130, 200:440] == (BACKGROUND if networks else NOT_ROAD)).all(), "sky"
        assert (labels[50:130, :130] == NOT_ROAD).all()


def test_nothing_is_said_where_it_is_not_sure_and_on_the_vehicle_itself():
    probability = np.tile(np.float32([0.0, 0.1, 0.2, 0.7, 0.8, 1.0]), (40, 1)).repeat(10, 1)
    ego = np.zeros((80, 120), np.uint8)
    ego[60:] = 255
    labels = label(probability, ego)
    assert (labels[:28] == np.repeat([NOT_ROAD, NOT_ROAD, IGNORE, IGNORE, ROAD, ROAD], 10)).all()
    assert (labels[28:] == IGNORE).all(), "and close to it"


@pytest.mark.parametrize("what", ["damaged", "classes", "there already", "background"])
def test_what_can_t_be_done_is_said(tmp_path, capsys, what):
    model, out = write_teacher(tmp_path, 3 if what == "classes" else 4), tmp_path / "out"
    if what == "damaged":
        model.write_bytes(b"no network")
    if what == "there already":
        (out / "train/images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((36, 64, 3), np.uint8))
    background = ["--background", str(tmp_path / "nowhere.onnx")] if what == "background" else []
    assert main([str(model), str(tmp_path / "0.png"), "--out", str(out), *background]) == 2
    assert capsys.readouterr().err.startswith("road_teacher: ")
