"""Settings of several cameras: what is common, what is each camera's own, and what is refused."""

import dataclasses

import pytest

from drive_seg.errors import ParameterError
from drive_seg.parameter_file import read_parameters
from drive_seg.rig import OWN, Rig
from drive_seg.settings import TABLE, Settings


def rig(**values):
    return Rig.from_values({name.replace("__", "."): value for name, value in values.items()})


def test_one_camera_has_no_name_and_all_that_is_common():
    alone = Rig.of(Settings(min_confidence=0.5))
    assert alone.cameras == {"": Settings(min_confidence=0.5)} and not alone.several
    assert Rig.from_values({}).cameras == {"": Settings()} == Rig.from_values({"cameras": [""]}).cameras
    assert Settings(cameras=()).cameras == ("",), "an empty list is one camera too"
    changed = alone.changed({"min_confidence": 0.9})
    assert changed.common.min_confidence == changed.cameras[""].min_confidence == 0.9


def test_a_camera_has_its_own_and_else_what_is_common():
    both = rig(cameras=["front", "left"], min_confidence=0.6, front__min_confidence=0.8, left__camera_yaw=1.5)
    assert both.several and list(both.cameras) == ["front", "left"]
    assert [c.min_confidence for c in both.cameras.values()] == [0.8, 0.6]
    assert [c.camera_yaw for c in both.cameras.values()] == [0.0, 1.5]
    after = both.changed({"left.min_confidence": 0.7, "front.weight": 2.0})
    assert [c.min_confidence for c in after.cameras.values()] == [0.8, 0.7] and after.cameras["front"].weight == 2.0
    assert both.cameras["left"].min_confidence == 0.6


@pytest.mark.parametrize(("values", "words"), [
    ({"cameras": ["front", "front"]}, "names a camera twice"),
    ({"cameras": ["Front"]}, "small letters, digits and single underscores"),
    ({"cameras": ["front/left"]}, "small letters"),
    ({"cameras": ["front", ""]}, "give every camera a name"),
    ({"cameras": "front"}, "cameras must be a list of names"),
    ({"cameras": ["front"], "left.weight": 1.0}, "the camera 'left', which is not among cameras"),
    ({"left.weight": 1.0}, "not among cameras"),
    ({"cameras": ["front"], "front.engine": "openvino"}, "engine is the same for all cameras"),
    ({"cameras": ["front"], "front.min_confidense": 0.5}, "did you mean min_confidence"),
    ({"cameras": ["front"], "front.min_confidence": 2.0}, "front.min_confidence must be from 0 to 1"),
    ({"cameras": ["front"], "front.weight": 1}, "front.weight must be a number with a point"),
])
def test_what_can_not_be_used_is_refused_with_a_reason(values, words):
    with pytest.raises(ParameterError) as refused:
        Rig.from_values(values)
    assert words in str(refused.value)


@pytest.mark.parametrize(("change", "words"), [
    ({"min_confidence": 0.9}, "min_confidence is each camera's own: set front.min_confidence, left.min_confidence"),
    ({"left.ego_mask": "other.png"}, "left: ego_mask is read when the node is configured"),
    ({"rear.min_confidence": 0.9}, "not among cameras"),
    ({"left.min_confidence": 9.0}, "must be from 0 to 1"),
])
def test_what_can_not_change_in_use_is_refused(change, words):
    with pytest.raises(ParameterError) as refused:
        rig(cameras=["front", "left"]).changed(change)
    assert words in str(refused.value)


def test_all_that_may_change_in_use_may_be_a_camera_s_own():
    assert {s.name for s in TABLE.values() if s.live} <= set(OWN), "Rig.changed knows of no other"
    assert dataclasses.replace(Settings(), cameras=["front"]).cameras == ("front",)


def test_a_parameter_file_has_them_nested(tmp_path):
    file, said = tmp_path / "rig.yaml", []
    file.write_text("/**:\n  ros__parameters:\n    cameras: [front, left]\n    front:\n      min_confidence: 0.8\n"
                    "    left: {camera_yaw: 1.5}\n    rear.weight: 2.0\n")
    values = read_parameters(file, say=said.append)
    assert values == {"cameras": ["front", "left"], "front.min_confidence": 0.8, "left.camera_yaw": 1.5}
    assert len(said) == 1 and "'rear', which is not among cameras" in said[0]
