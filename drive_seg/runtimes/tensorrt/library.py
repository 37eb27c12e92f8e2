"""Which TensorRT is installed: TensorRT 10.3 to 11, or TensorRT for RTX. Imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from dataclasses import dataclass
from types import ModuleType

from drive_seg.core.engine import EngineError
from drive_seg.runtimes.cuda_driver import newest_cuda

OLDEST = (10, 3)  # the first that builds strongly typed networks as needed here; JetPack 6 has it

_MODULES = (("tensorrt", "tensorrt"), ("tensorrt_rtx", "tensorrt_rtx"), ("tensorrt_rtx", "tensorrt_rtx_bindings"))

INSTALL = ("on a Jetson it comes with JetPack 6 or 7 (a virtual environment needs --system-site-packages); on a PC"
           " `pip install 'drive-seg[tensorrt]'`, or for RTX cards"
           " `pip install --no-deps tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings`; where the driver is older than"
           " 580, `pip install 'drive-seg[tensorrt-cu12]'`, or those for RTX with cu12 in place of cu13")


@dataclass(frozen=True)
class Library:
    """An imported TensorRT. flavour: `tensorrt` or `tensorrt_rtx`; version: as it names itself."""

    module: ModuleType
    flavour: str
    version: str

    @property
    def is_rtx(self) -> bool:
        """TensorRT for RTX builds for GPUs that are not there, and has versions of its own."""
        return self.flavour == "tensorrt_rtx"

    @property
    def title(self) -> str:
        """What a user calls it."""
        return f"{'TensorRT for RTX' if self.is_rtx else 'TensorRT'} {self.version}"


def load_library(flavour: str | None = None) -> Library:
    """Import TensorRT. flavour: `tensorrt` or `tensorrt_rtx`; None takes the first that works, in this order.

    Raises EngineError when none is there, or when it is older than TensorRT 10.3.
    """
    problems = []
    for name, module_name in _MODULES:
        if flavour not in (None, name):
            continue
        try:
            module = importlib.import_module(module_name)
            found = Library(module, name, str(module.__version__))
        except ModuleNotFoundError as error:
            if error.name != module_name:
                problems.append(f"{module_name} lacks {error.name}")
        except Exception as error:  # a half-installed library fails in many ways, none of them worth a traceback
            problems.append(f"{module_name} can't be loaded ({(str(error) or repr(error)).splitlines()[0]})")
        else:
            if found.is_rtx or tuple(int(number) for number in re.findall(r"\d+", found.version)[:2]) >= OLDEST:
                return found
            problems.append(f"{found.title} is too old: this needs {OLDEST[0]}.{OLDEST[1]} or newer (JetPack 6 or"
                            " later; Jetson Nano and Xavier stay on 8.x and can't run it: use engine openvino there)")
    if problems:
        raise EngineError("; ".join(problems))
    raise EngineError("TensorRT is not installed", INSTALL)


def check_driver(library: Library) -> None:
    """Raises EngineError naming the fix where this TensorRT is PyPI's for CUDA 13 and the driver is older than that.

    It imports all the same, and then starts neither a builder nor a runtime. pip takes it unless asked for another.
    """
    name, driver = library.flavour.replace("_", "-"), newest_cuda()
    if driver is None or driver >= (13, 0) or not _installed(f"{name}-cu13-bindings") or _installed(
            f"{name}-cu12-bindings"):  # with both installed it isn't known which was loaded
        return
    old = " ".join(f"{name}-cu13{part}" for part in ("", "-libs", "-bindings"))
    new = f"--no-deps {name}-cu12-libs {name}-cu12-bindings" if library.is_rtx else "'drive-seg[tensorrt-cu12]'"
    raise EngineError(f"{library.title} is made for CUDA 13, the NVIDIA driver runs CUDA {driver[0]}.{driver[1]}",
                      "update the driver to 580 or newer, or take the packages for CUDA 12:"
                      f" `pip uninstall -y {name} {old} && pip install {new}`")


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
