"""Little memory is not "OpenVINO is not installed"."""

import os
import subprocess
import sys

import pytest

from drive_seg.loading import fix_for_loading, is_memory

OPEN = """
import resource, sys
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine
from drive_seg.core.engine import EngineError
network = Network.load(default_network())
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20,) * 2)
try:
    open_engine("openvino", network)
except EngineError as error:
    print(error)
"""


@pytest.mark.parametrize("megabytes", [16, 64, 256])
def test_opening_with_little_memory_says_so(megabytes):
    done = subprocess.run([sys.executable, "-c", OPEN, str(megabytes)], capture_output=True, text=True, timeout=300,
                          check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    said = done.stdout.strip()
    assert "free some memory" in said, done.stderr
    assert "not installed" not in said and "\n" not in said


@pytest.mark.parametrize(("error", "memory"), [
    (MemoryError(), True), (RuntimeError("std::bad_alloc"), True), (RuntimeError("can't alloc"), True),
    (RuntimeError("can't start new thread"), True),
    (ImportError("libopenvino.so: failed to map segment from shared object"), True),
    (ImportError("libopenvino.so: undefined symbol: x"), False)])
def test_what_is_said_of_an_error(error, memory):
    assert is_memory(error) is memory
    assert ("free some memory" in fix_for_loading(error, "openvino")) is memory
