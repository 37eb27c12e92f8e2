"""`import drive_seg`: its names, `load`, and what a model answers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import drive_seg
from drive_seg.core.overlay import draw_overlay
from drive_seg.core.segmenter import Segmenter

HOME = Path(drive_seg.__file__)


@pytest.fixture(scope="module")
def model(colour_network_path):
    with drive_seg.load(colour_network_path, engine="openvino") as model:
        yield model


@pytest.fixture
def result(model, scene):
    return model.segment(scene)


@pytest.mark.parametrize("name", drive_seg.__all__)
def test_every_name_is_there(name):
    assert getattr(drive_seg, name).__doc__
    assert name in dir(drive_seg)


def test_type_checkers_and_python_see_the_same_names():
    block = next(node for node in ast.parse(HOME.read_text()).body if isinstance(node, ast.If))
    seen = {alias.name: statement.module for statement in block.body for alias in statement.names}
    assert sorted(seen) == drive_seg.__all__ == sorted(drive_seg.__all__)
    assert seen == {name: f"drive_seg.{home}" for name, home in drive_seg._HOME.items()}
    assert (HOME.parent / "py.typed").is_file()


def test_the_import_alone_is_light():
    heavy = ("cv2", "numba", "numpy", "openvino", "rclpy")
    code = f"import sys, drive_seg; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        drive_seg.nonsense  # noqa: B018


def test_the_answer_is_the_core_s(result, colour_engine, colour_network, scene):
    expected = Segmenter(colour_engine, colour_network.table, surface=colour_network.surface).segment(scene)
    for name in ("labels", "drivable", "confidence", "classes"):
        assert np.array_equal(getattr(result, name), getattr(expected, name)), name
    assert result.unknown.dtype == bool and np.array_equal(result.unknown, expected.labels == 255)
    assert result.class_names == colour_network.table.names
    assert set(result.milliseconds) >= {"resize", "infer", "decode", "drivable"}


def test_it_prints_what_counts(result, model, colour_network, scene):
    height, width = scene.shape[:2]
    drivable, unknown = (100 * (mask != 0).mean() for mask in (result.drivable, result.unknown))
    assert drivable > 1
    assert str(result) == f"<Segmentation {width}x{height}, {drivable:.0f} % drivable, {unknown:.0f} % unknown>"
    assert repr(model) == f"<RoadModel {colour_network.name} (160x96) on openvino {model.info['precision']}>"


def test_it_draws(result, scene):
    assert np.array_equal(result.draw(), draw_overlay(scene, result.labels, result.drivable))
    assert np.array_equal(result.draw(scene // 2), draw_overlay(scene // 2, result.labels, result.drivable))
    assert not np.array_equal(result.draw(), scene) and np.array_equal(result.image, scene)


def test_other_encodings_and_frames(result, model, scene):
    rgb = cv2.cvtColor(scene, cv2.COLOR_BGR2RGB)
    for same in (model.segment(rgb, encoding="rgb8"), model.segment(drive_seg.Frame.from_array(scene))):
        assert np.array_equal(same.labels, result.labels)
        assert np.array_equal(same.image, scene)


def test_settings_by_name(colour_network_path, scene):
    with drive_seg.load(str(colour_network_path), "openvino", input_height=64, input_width=96,
                        output_size="network") as model:
        result = model.segment(scene)
        assert result.labels.shape == (64, 96) == result.drivable.shape
        assert result.draw().shape == scene.shape


@pytest.mark.parametrize("arguments, kind, says", [
    ({"min_confidenec": 0.5}, drive_seg.ParameterError, "min_confidenec.*did you mean min_confidence"),
    ({"min_confidence": 2.0}, drive_seg.ParameterError, "min_confidence must be"),
    ({"engine": "abacus"}, drive_seg.ParameterError, "engine must be one of auto, tensorrt, openvino, onnxruntime"),
    ({"network": "nowhere.onnx"}, drive_seg.DriveSegError, "nowhere.onnx"),
    ({"ego_mask": "nowhere.png"}, drive_seg.ParameterError, "nowhere.png"),
])
def test_what_can_not_be_opened_says_why(arguments, kind, says):
    with pytest.raises(kind, match=says):
        drive_seg.load(**arguments)


@pytest.mark.parametrize("image, says", [
    (None, "the image is None: check its path"),
    (np.zeros((4, 4, 3)), "an image is uint8"),
    (np.zeros((4, 4), np.uint8), "bgr8 has 3 bytes a pixel, this image has 1"),
])
def test_what_is_not_an_image_says_why(model, image, says):
    with pytest.raises(drive_seg.FrameError, match=says):
        model.segment(image)


def test_a_closed_model_says_so(colour_network_path, scene):
    model = drive_seg.load(colour_network_path, engine="openvino")
    model.close()
    model.close()
    with pytest.raises(drive_seg.EngineError, match="the model is closed: load it again"):
        model.segment(scene)
