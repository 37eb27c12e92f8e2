"""A parameter file that is not there is an error of every launch file that takes one: launch_ros would only warn.

With stand-ins for launch and launch_ros, which PyPI does not have.
"""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from bags import write_bag

LAUNCH = Path(__file__).parents[2] / "launch"


@pytest.fixture
def launch_file(monkeypatch):
    """Loads a launch file: what it defines, by name. A LaunchConfiguration looks its name up in the context, a dict."""
    for name in ("launch", "launch.actions", "launch.event_handlers", "launch.events", "launch.substitutions",
                 "launch_ros", "launch_ros.actions", "launch_ros.parameter_descriptions"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    sys.modules["launch.substitutions"].LaunchConfiguration = lambda name: SimpleNamespace(
        perform=lambda context: context[name])
    return lambda name: runpy.run_path(str(LAUNCH / name))


@pytest.mark.parametrize(("name", "start"), [("seg.launch.py", "start_node"), ("replay.launch.py", "start")])
def test_a_parameter_file_that_is_not_there_is_an_error(launch_file, name, start, tmp_path):
    module = launch_file(name)
    context = {argument: default for argument, (default, _) in module["ARGUMENTS"].items()}
    if "bag" in context:
        context["bag"] = str(write_bag(tmp_path / "drive", 2))
    assert module[start](context)
    context["params_file"] = str(tmp_path / "nothing.yaml")
    with pytest.raises(FileNotFoundError, match=r"params_file: there is no file .*nothing\.yaml"):
        module[start](context)
