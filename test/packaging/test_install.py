"""What installing the package puts where: ROS 2 finds packages, launch files and executables by place."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]
EXECUTABLES = sorted(path.name for path in (SOURCE / "resource/bin").iterdir())


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the source, so that building leaves nothing in this one."""
    folder = tmp_path_factory.mktemp("source") / "drive_seg"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "install", "log", "out", "dist", "test"))
    return folder


def run(*command: str, cwd: Path, **variables: str) -> str:
    env = {**os.environ, **variables}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip_install(prefix: Path, *what: str) -> Path:
    """Install into a prefix, and return it."""
    run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--ignore-installed", "--no-warn-script-location", "--prefix", str(prefix), *what, cwd=prefix.parent)
    return prefix


def site_packages(prefix: Path) -> str:
    return str(next(prefix.glob("lib/python3*/site-packages")))


@pytest.fixture(scope="module")
def plain(copy, tmp_path_factory) -> Path:
    """The prefix after `pip install .`."""
    return pip_install(tmp_path_factory.mktemp("plain") / "prefix", str(copy))


@pytest.fixture(scope="module")
def editable(copy, tmp_path_factory) -> Path:
    """The prefix after `pip install -e .`."""
    return pip_install(tmp_path_factory.mktemp("editable") / "prefix", "-e", str(copy))


@pytest.fixture(params=["plain", "editable"])
def prefix(request, plain, editable) -> Path:
    """Either."""
    return {"plain": plain, "editable": editable}[request.param]


def test_ament_finds_the_package(prefix):
    assert (prefix / "share/ament_index/resource_index/packages/drive_seg").is_file()
    for path in ("package.xml", "launch/seg.launch.py", "config/drive_seg.yaml", "config/fastdds_large_images.xml"):
        assert (prefix / "share/drive_seg" / path).read_bytes() == (SOURCE / path).read_bytes()
    for engine in (SOURCE / "engines").glob("*.onnx"):
        assert (prefix / "share/drive_seg/engines" / engine.name).stat().st_size == engine.stat().st_size


@pytest.mark.parametrize("name", EXECUTABLES)
def test_ros2_run_finds_the_executables(prefix, name):
    executable = prefix / "lib/drive_seg" / name
    assert os.access(executable, os.X_OK)
    assert os.access(prefix / "bin" / name, os.X_OK), "the script in lib/drive_seg calls this one"


def test_every_entry_point_is_an_executable(plain):
    (metadata,) = distributions(name="drive_seg", path=[site_packages(plain)])
    assert sorted(point.name for point in metadata.entry_points) == EXECUTABLES, "resource/bin needs a script for each"


def test_an_executable_runs_from_there(plain, tmp_path):
    out = run(str(plain / "lib/drive_seg/drive-seg"), "--version", cwd=tmp_path, PYTHONPATH=site_packages(plain))
    assert out.startswith("drive-seg ")


def test_installed_code_finds_its_own_files(plain, tmp_path):
    out = run(sys.executable, "-c", "from drive_seg.resources import share; print(share('config', 'drive_seg.yaml'))",
              cwd=tmp_path, PYTHONPATH=site_packages(plain))
    assert Path(out.strip()) == plain / "share/drive_seg/config/drive_seg.yaml"


def test_every_file_of_the_package_is_installed(copy, plain):
    def files(folder: Path) -> set[str]:
        paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {str(path) for path in paths if "__pycache__" not in path.parts}

    assert files(Path(site_packages(plain)) / "drive_seg") == files(copy / "drive_seg")


@pytest.mark.skipif(shutil.which("colcon") is None, reason="colcon is not installed: make test-colcon does it")
@pytest.mark.parametrize("options", [[], ["--symlink-install"]])
def test_colcon_builds_the_same(copy, tmp_path, options):
    run("colcon", "build", "--base-paths", str(copy), *options, cwd=tmp_path)
    prefix = tmp_path / "install/drive_seg"
    assert (prefix / "share/ament_index/resource_index/packages/drive_seg").exists()
    assert (prefix / "share/drive_seg/launch/seg.launch.py").exists()
    assert {path.name for path in (prefix / "lib/drive_seg").iterdir()} == set(EXECUTABLES), options
    out = run("bash", "-c", "source install/setup.bash && install/drive_seg/lib/drive_seg/drive-seg --version",
              cwd=tmp_path)
    assert out.startswith("drive-seg ")
