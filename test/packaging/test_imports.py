"""What imports what: read from the sources, imports within functions included, those for type checkers left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import drive_seg

PACKAGE = Path(drive_seg.__file__).parent


def _modules() -> dict[str, Path]:
    """Every module of the package, by name."""
    names = {path: ".".join(("drive_seg", *path.relative_to(PACKAGE).with_suffix("").parts))
             for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


MODULES = _modules()


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements within a node, those in functions and branches included, those for type checkers left out."""
    hidden = isinstance(node, ast.If) and any("TYPE_CHECKING" in (getattr(part, "id", ""), getattr(part, "attr", ""))
                                              for part in ast.walk(node.test))
    for part in ("body", "orelse", "handlers", "finalbody", "cases"):
        for inner in getattr(node, part, ()) if part != "body" or not hidden else ():
            yield inner
            yield from statements(inner)


@cache
def imports(module: str) -> frozenset[str]:
    """All that a module imports, by full name; of this package the very modules."""
    found: set[str] = set()
    for node in statements(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    missing = {name for name in found if name.partition(".")[0] == "drive_seg" and name not in MODULES}
    assert not missing, f"{module} imports what is not there: {missing}"
    return frozenset(found)


def package_of(module: str) -> str:
    """The part of the package that a module belongs to: `core`, `ros`, ... or its own name at the top."""
    return (module.split(".") + [""])[1]


def reach(start: str, edges: dict[str, set[str]]) -> set[str]:
    """All that can be come to from a node, itself only by a circle."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for other in edges.get(waiting.pop(), set()) - seen:
            seen.add(other)
            waiting.append(other)
    return seen


def circles(edges: dict[str, set[str]]) -> set[str]:
    return {node for node in edges if node in reach(node, edges)}


@pytest.fixture(scope="session")
def own() -> dict[str, set[str]]:
    """What each module imports of this package. Without `drive_seg` itself: it is the front door, and offers names from
    everywhere, each imported when it is asked for."""
    return {module: {name for name in imports(module) if name in MODULES and name != "drive_seg"}
            for module in MODULES if module != "drive_seg"}


@pytest.fixture(scope="session")
def parts(own) -> dict[str, set[str]]:
    """The same, for the parts of the package."""
    parts: dict[str, set[str]] = {}
    for module, names in own.items():
        parts.setdefault(package_of(module), set()).update({package_of(n) for n in names} - {package_of(module)})
    return parts


def test_the_graph_is_read():
    assert "drive_seg.runtimes.openvino" in imports("drive_seg.runtimes"), "an import within a function"
    assert "drive_seg.network" not in imports("drive_seg.runtimes"), "an import for type checkers alone"
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}


def test_no_circle_between_packages(parts):
    assert circles(parts) == set()


def test_no_circle_between_modules(own):
    assert circles(own) == set()


@pytest.mark.parametrize("part, allowed", [("core", {"errors"}), ("outputs", {"core", "errors"})])
def test_the_core_stands_alone(parts, part, allowed):
    assert parts[part] <= allowed


FILES = {"io", "os", "pathlib", "shutil", "tempfile", "yaml", "json", "av", "rosbags", "sqlite3"}
ROS_AND_CUDA = {"rclpy", "sensor_msgs", "nav_msgs", "std_msgs", "geometry_msgs", "diagnostic_msgs", "tf2_ros",
                "cv_bridge", "pycuda", "tensorrt", "cuda", "openvino", "onnxruntime", "torch"}


def test_the_core_knows_no_ros_no_cuda_no_files():
    core = {module for module in MODULES if package_of(module) == "core"}
    used = {name.partition(".")[0] for module in core for name in imports(module)}
    assert {"numpy", "cv2"} <= used
    assert used & (FILES | ROS_AND_CUDA) == set()


def test_what_the_node_never_imports(own):
    node = {"drive_seg.ros.main"} | reach("drive_seg.ros.main", own)
    assert "drive_seg.ros.worker" in node
    assert {package_of(module) for module in node} & {"sources", "replay", "training", "evaluation", "cli", "bench",
                                                      "demo", "play", "gpu_check", "doctor"} == set()
