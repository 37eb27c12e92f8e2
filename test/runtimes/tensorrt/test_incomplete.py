"""An incomplete installation and a user without a home are named with the fix, so that engine auto takes OpenVINO."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drive_seg import files
from drive_seg.core.engine import EngineError
from drive_seg.resources import user_cache

NO_HOME = """
import os, pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid  # as in a container that runs with a number for a user
from drive_seg.files import CACHE
print(CACHE)
"""


def test_a_user_without_a_home_can_import_it():
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", NO_HOME], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "/nonexistent/.cache/drive_seg\n"), done.stderr


def test_a_cache_that_can_not_be_made_names_the_fix(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with (pytest.raises(EngineError, match="can't be written .*plan_folder"),
          files.write_whole(user_cache() / "a.plan")):
        pass


def test_a_plan_folder_below_nobodys_home_names_the_fix():
    with pytest.raises(EngineError, match="plan folder ~nobody-here/plans: .*: name another folder"):
        files.plan_folder(Path("~nobody-here/plans"))
