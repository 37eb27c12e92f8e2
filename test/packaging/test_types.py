"""What mypy can't check: of the strictly typed modules only what Numba compiles has no types."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def strict_files() -> list[Path]:
    """The files of the modules that pyproject.toml names."""
    text = (ROOT / "pyproject.toml").read_text()
    names = re.findall(r'"([^"]+)"', re.search(r"tool.mypy.overrides\]\]\nmodule = \[(.*?)\]", text, re.S)[1])
    assert "drive_seg.pipeline" in names
    found: list[Path] = []
    for name in names:
        place = ROOT / name.removesuffix(".*").replace(".", "/")
        if name.endswith(".*"):
            found += place.rglob("*.py")
        else:
            found.append(place / "__init__.py" if place.is_dir() else place.with_suffix(".py"))
    return found


def untyped(function: ast.FunctionDef) -> bool:
    """Whether a function says nothing of its types."""
    given = [a for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
             if a.arg not in ("self", "cls")]
    return function.returns is None and (function.name != "__init__" or any(a.annotation is None for a in given))


@pytest.mark.parametrize("path", strict_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_what_numba_compiles_has_no_types(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and untyped(node):
            compiled = [d for d in node.decorator_list if "njit" in ast.unparse(d)]
            assert compiled, f"{path.name}:{node.lineno}: {node.name} has no types"
