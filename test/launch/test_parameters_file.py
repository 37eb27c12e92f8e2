"""config/drive_seg.yaml is what users copy: it must list the node's parameters as they are."""

from pathlib import Path

import yaml

from drive_seg.ros.parameters import PARAMETERS

CONFIG = Path(__file__).parents[2] / "config"


def test_lists_every_parameter_with_its_default():
    listed = yaml.safe_load((CONFIG / "drive_seg.yaml").read_text())["/**"]["ros__parameters"]
    assert listed == {spec.name: spec.default for spec in PARAMETERS}


def test_marks_those_that_can_change_while_running():
    marked = set()
    for line in (CONFIG / "drive_seg.yaml").read_text().splitlines():
        name, _, comment = line.strip().partition(":")
        if "# *" in comment:
            marked.add(name)
    assert marked == {spec.name for spec in PARAMETERS if spec.live}
