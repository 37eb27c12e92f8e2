"""What setup.py declares."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def declared() -> dict[str, Any]:
    """The arguments that setup.py gives to setuptools.setup."""
    import setuptools

    given: dict[str, Any] = {}
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **options: given.update(options))
        try:
            runpy.run_path(str(SOURCE / "setup.py"))
        finally:
            os.chdir(before)  # setup.py goes to its own folder
    return given
