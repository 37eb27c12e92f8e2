"""The tutorial docs/make_it_yours.md: every command is one, and those without training are run on real footage."""

import json
import re
import shlex
from pathlib import Path

import pytest

from drive_seg.cli import main as command_line
from drive_seg.evaluation.dataset import Dataset
from drive_seg.resources import default_network

PAGE = (Path(__file__).parents[1] / "docs" / "make_it_yours.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.M | re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("drive-seg ")]
COMMANDS += re.findall(r"`(drive-seg [a-z]+ -[^`]+)`", PAGE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_understood(line, monkeypatch):
    seen = []
    name = line.split()[1]
    module = command_line.load(name)
    monkeypatch.setattr(module, "run", lambda args: seen.append(args) or 0)
    assert command_line.main(shlex.split(line)[1:]) == 0
    assert seen


def test_the_limits_are_those_of_the_code():
    from drive_seg.adaptation import judge
    from drive_seg.comparison.networks import TOLERANCE

    def percent(share):
        return f"{100 * share:g} %"

    for said in (f"loses at most {100 * judge.MOST_LOST:g} point", f"{percent(judge.LEAST_SURE)} keep their label",
                 f"{percent(judge.LEAST_AGREED)} keep their label", f"at least {percent(judge.COUNTS)} of the pixels",
                 f"at most {100 * judge.MOST_UNSTEADY:g} points fewer",
                 f"at least {percent(judge.KEPT_AT_HOME)} of the former weights",
                 f"at most {judge.MOST_SHIFT:g} deviations more"):
        assert said in PAGE
    assert (judge.SHRUNK, judge.GROWN) == (0.5, 2.0) and TOLERANCE == 0.005


def test_pick_import_compare_on_real_footage(clips, tmp_path, monkeypatch):
    """As in the tutorial, on a few seconds of it."""
    monkeypatch.chdir(tmp_path)
    pick, import_, compare = (next(line for line in COMMANDS if line.startswith(f"drive-seg {name} "))
                              for name in ("pick", "import", "compare"))
    engine = ["--engine", "openvino"]
    assert command_line.main([*shlex.split(pick)[1:], "--duration", "2", "--every", "25", *engine]) == 0
    frames = json.loads(Path("picked/pick.json").read_text())["frames"]
    assert {frame["drive"] for frame in frames} == {"clip_forest", "clip_motorway"}
    assert command_line.main(shlex.split(import_)[1:]) == 0
    assert Dataset.load("yard").splits == ["train", "val"]
    words = [str(default_network()) if word.endswith(".onnx") else word for word in shlex.split(compare)[1:]]
    assert command_line.main([*words, "--duration", "1", "--every", "20", *engine, "--json", "same.json"]) == 0
    done = json.loads(Path("same.json").read_text())["compared"]
    assert [one["kind"] for one in done] == ["labelled", "drive"] and all(one["changed"] == 0 for one in done)
    assert Path("compare.html").is_file()
