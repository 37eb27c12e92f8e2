"""The table of settings: what can be used, what is refused and with which words, and what may change in use."""

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from drive_seg.errors import ParameterError
from drive_seg.settings import GROUPS, TABLE, Settings


def test_every_line_of_the_table_is_whole():
    for setting in TABLE.values():
        assert setting.group in GROUPS and setting.about.endswith(".") and setting.about[0].isupper() or \
            setting.name == "grid_back", setting
        assert (setting.low is None) == (setting.kind not in (int, float)), f"{setting.name}: numbers have a range"
        setting.check(setting.default)


@pytest.mark.parametrize(("values", "words"), [
    ({"camera_timeout": -5.0}, "camera_timeout must be from 0.1 to 3600, not -5.0"),
    ({"camera_timeout": float("nan")}, "camera_timeout must be from 0.1 to 3600, not nan"),
    ({"max_range": float("inf")}, "max_range must be from 1 to 500"),
    ({"overlay_quality": 500}, "overlay_quality must be from 1 to 100, not 500"),
    ({"overlay_quality": 80.5}, "overlay_quality must be a whole number, not 80.5"),
    ({"strictness": True}, "strictness must be a number with a point, e.g. 1.0, not True"),
    ({"temporal_filter": 1}, "temporal_filter must be true or false, not 1"),
    ({"network": 7}, "network must be text"),
    ({"network": None}, "network must be text, not None"),
    ({"engine": "cuda"}, "engine must be one of auto, tensorrt, openvino, onnxruntime, not 'cuda'"),
    ({"base_frame": ""}, "base_frame must not be empty"),
    ({"input_height": 100, "input_width": 160}, "input_height must be a multiple of 32, it is 100"),
    ({"input_height": 96}, "input_height and input_width go together"),
    ({"grid_front": -1.0}, "the grid"),
    ({"engine": "x" * 10**5}, "..."),
])
def test_what_can_not_be_used_is_refused_with_a_reason(values, words):
    with pytest.raises(ParameterError) as refused:
        Settings(**values)
    assert words in str(refused.value) and len(str(refused.value)) < 500


def test_numbers_and_paths_as_python_has_them():
    settings = Settings(camera_timeout=3, camera_height=np.float32(1.5), overlay_quality=np.int64(70),
                        network=Path("ours.onnx"))
    assert (settings.camera_timeout, settings.camera_height, settings.overlay_quality) == (3.0, 1.5, 70)
    assert {type(settings.camera_timeout), type(settings.camera_height)} == {float}
    assert settings.network == "ours.onnx" and type(settings.overlay_quality) is int


def test_but_a_parameter_has_the_very_type_as_for_ros():
    with pytest.raises(ParameterError, match=r"camera_timeout must be a number with a point, e.g. 2.0, not 2"):
        Settings.from_values({"camera_timeout": 2})
    with pytest.raises(ParameterError, match="no parameter is called 'min_confidense': did you mean min_confidence"):
        Settings.from_values({"min_confidense": 0.5})


def test_a_change_is_another_settings():
    before = Settings()
    after = before.changed({"min_confidence": 0.9, "engine": "auto"})
    assert (before.min_confidence, after.min_confidence) == (0.65, 0.9)
    assert after == replace(before, min_confidence=0.9) and hash(after) != hash(before)
    with pytest.raises(FrozenInstanceError):
        before.min_confidence = 0.9
    with pytest.raises(ParameterError, match="engine is read when the node is configured"):
        before.changed({"engine": "openvino"})
    with pytest.raises(ParameterError, match="must be from 0 to 1"):
        before.changed({"min_confidence": 2.0})


def test_parts_follow_from_the_values(tmp_path):
    settings = Settings(input_height=96, input_width=160, min_confidence=0.5, camera_timeout=3.0, camera_height=1.2,
                        grid_width=8.0)
    assert (settings.input_size, Settings().input_size) == ((96, 160), None)
    assert (settings.rule.min_confidence, settings.limits.timeout) == (0.5, 3.0)
    assert (settings.mount.camera_height, settings.mount.shape.left) == (1.2, 4.0)
    heights = [Settings(camera_height=height, ground_z=0.2).rule.camera_height for height in (0.0, 1.2, 3.4)]
    assert heights == pytest.approx([2.0, 2.0, 3.2]), "specks are judged too large rather than too small"
    with pytest.raises(ParameterError, match=r"ego_mask: there is no file .*nothing.png"):
        Settings(ego_mask=str(tmp_path / "nothing.png")).check_files()
