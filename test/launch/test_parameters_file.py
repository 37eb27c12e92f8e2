"""config/drive_seg.yaml is what users copy: it must list the node's parameters as they are."""

from pathlib import Path

import yaml

from drive_seg.ros.parameters import PARAMETERS
from drive_seg.ros.parameters_file import text

FILE = Path(__file__).parents[2] / "config/drive_seg.yaml"


def test_is_up_to_date():
    assert FILE.read_text() == text(), "run python -m drive_seg.ros.parameters_file > config/drive_seg.yaml"


def test_lists_every_parameter_with_its_default():
    listed = yaml.safe_load(FILE.read_text())["/**"]["ros__parameters"]
    assert listed == {spec.name: spec.default for spec in PARAMETERS}
    assert {name: type(value) for name, value in listed.items()} == {s.name: type(s.default) for s in PARAMETERS}
