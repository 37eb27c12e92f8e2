"""The base of the package's errors: its fields, and that every public error has it."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

import drive_seg
from drive_seg.core.engine import EngineError
from drive_seg.errors import DriveSegError, ParameterError, reason_and_fix

PACKAGE = Path(drive_seg.__file__).parent


def test_text_is_reason_and_fix():
    error = EngineError("no NVIDIA driver", "install it")
    assert (error.reason, error.fix, str(error)) == ("no NVIDIA driver", "install it", "no NVIDIA driver: install it")
    assert str(EngineError("the GPU failed")) == "the GPU failed"
    assert isinstance(error, RuntimeError)


def test_fields_survive_another_process():
    error = pickle.loads(pickle.dumps(ParameterError("a: b", "c")))
    assert (type(error), error.reason, error.fix) == (ParameterError, "a: b", "c")


@pytest.mark.parametrize("error, fields", [
    (DriveSegError("what", "fix"), ("what", "fix")), (ValueError("what: fix"), ("what: fix", ""))])
def test_fields_of_any_error(error, fields):
    assert reason_and_fix(error) == fields


def test_every_error_of_the_package_derives_from_the_base():
    classes = {node.name: {ast.unparse(base) for base in node.bases}
               for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
               if isinstance(node, ast.ClassDef) and node.name.endswith("Error")}
    derived = {"DriveSegError"}
    while more := {name for name, bases in classes.items() if bases & derived} - derived:
        derived |= more
    assert len(classes) > 20
    assert set(classes) - derived == set()
