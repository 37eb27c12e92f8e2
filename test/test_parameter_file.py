"""Parameter files: whose section is whose, what is reported of the rest, and files that are none."""

import pytest

from drive_seg.errors import ParameterError
from drive_seg.parameter_file import Section, read_parameters, read_sections

EVERY_KIND = """
/**: {ros__parameters: {min_confidence: 0.1, strictness: 1.1}}
/*: {ros__parameters: {min_confidence: 0.2, max_range: 20.0}}
/**/drive_seg: {ros__parameters: {min_confidence: 0.3, grid_front: 30.0}}
/*/drive_seg: {ros__parameters: {min_confidence: 0.4, grid_back: -4.0}}
front: {drive_seg: {ros__parameters: {min_confidence: 0.5, camera: {ids: {main: 3}}}}}
drive_seg: {ros__parameters: {min_confidence: 0.6, temporal_filter: yes, ego_mask: '1'}}
/other: {ros__parameters: {min_confidence: 0.7}}
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(("node", "expected"), [
    ("/drive_seg", {"min_confidence": 0.6, "strictness": 1.1, "max_range": 20.0, "grid_front": 30.0,
                    "temporal_filter": True, "ego_mask": "1"}),
    ("/front/drive_seg", {"min_confidence": 0.5, "strictness": 1.1, "grid_front": 30.0, "grid_back": -4.0}),
    ("rear/drive_seg", {"min_confidence": 0.4, "strictness": 1.1, "grid_front": 30.0, "grid_back": -4.0}),
    ("/a/b/drive_seg", {"min_confidence": 0.3, "strictness": 1.1, "grid_front": 30.0}),
    ("/a/b/seg", {"min_confidence": 0.1, "strictness": 1.1}),
])
def test_sections_fit_as_for_rcl(file, node, expected):
    assert read_parameters(file(EVERY_KIND), node) == expected


def test_what_is_left_out_is_reported(file):
    said = []
    read_parameters(file(EVERY_KIND), "/front/drive_seg", said.append)
    text = "\n".join(said)
    assert "the parameters of /other are left out, this is /front/drive_seg" in text
    assert "no parameter is called 'camera.ids.main'" in text
    said.clear()
    read_parameters(file("/**: {ros__parameters: {use_sim_time: true, min_confidense: 0.5}}"), None, said.append)
    assert len(said) == 1 and "'min_confidense': did you mean min_confidence?; it is left out" in said[0]


def test_the_only_node_is_taken_and_one_of_several_chosen(file):
    said = []
    only = "/front/seg: {ros__parameters: {max_range: 30.0}}\n"
    assert read_parameters(file(only), None, said.append) == {"max_range": 30.0}
    assert said == [f"{file(only)}: taken are the parameters of /front/seg"]
    with pytest.raises(ParameterError, match="parameters of /front/seg, /rear/seg: choose one with --node"):
        read_parameters(file(only + "/rear/seg: {ros__parameters: {max_range: 40.0}}\n"))
    with pytest.raises(ParameterError, match="has no parameters of /rear/seg"):
        read_parameters(file(only), "rear/seg")


@pytest.mark.parametrize(("text", "words"), [
    ("a: [", "is not valid YAML"),
    (b"\xff\xfe\x00", "is not valid YAML"),
    ("a: &x {ros__parameters: {b: 1}}\nc: *x\n", "ROS 2 takes no aliases"),
    ("a: &x [1, *x]", "not a parameter file"),
    ("[" * 5000, "nested too deeply"),
    ("just a text", "it needs a node's name"),
    ("/**: 3", "it needs a node's name"),
    ("/**:\n  ros__parameters: 3", "in line 2 has no names with values"),
    ("/**: {ros__parameters: {max_range: }}", "max_range has no value"),
    ("/**: {ros__parameters: {max_range: .inf}}", "max_range must be from 1 to 500, not inf"),
    ("/**: {ros__parameters: {max_range: " + "9" * 5000 + "}}", "max_range must be"),
    ("#" * (1 << 21), "more than"),
    ("", "has no parameters of /drive_seg"),
])
def test_a_file_that_is_none_is_refused_in_a_line(file, text, words):
    with pytest.raises(ParameterError) as refused:
        read_parameters(file(text))
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ParameterError, match="can't be read: No such file"):
        read_sections(tmp_path / "nothing.yaml")


def test_a_name_may_stand_for_one_or_any():
    assert Section("/**", {}).fits("/a/b/c") and Section("/*", {}).fits("/a") and not Section("/*", {}).fits("/a/b")
    assert Section("/**/seg", {}).fits("/seg") and not Section("/*/seg", {}).fits("/seg")
    assert not Section("/a.c", {}).fits("/abc")
