"""A bag larger than the memory that is allowed."""

import subprocess
import sys

from bags import street, write_bag

LIMITED = """
import resource, sys
from pathlib import Path
from drive_seg.replay.job import Job, run_job
from drive_seg.replay.settings import Settings

small, large, network, out = map(Path, sys.argv[1:])
settings = Settings(network=str(network), engine="openvino")
assert run_job(Job(small, out / "small", settings)).ok  # everything is loaded and compiled now
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
data = int(status["VmData"].split()[0]) * 1024
size = sum(f.stat().st_size for f in large.iterdir())
allowed = 150 << 20
assert size > 2 * allowed, size
resource.setrlimit(resource.RLIMIT_DATA, (data + allowed, data + allowed))
try:
    bytearray(allowed + (64 << 20))
except MemoryError:
    pass
else:
    sys.exit("the limit limits nothing")
outcome = run_job(Job(large, out / "large", settings))
print(outcome.problem, outcome.summary["frames"]["segmented"])
"""


def test_a_bag_larger_than_memory_is_replayed(tmp_path, colour_network_path):
    small = write_bag(tmp_path / "small", 12, paint=lambda i: street(i, 480, 640))
    large = write_bag(tmp_path / "large", 400, paint=lambda i: street(i, 480, 640))
    done = subprocess.run([sys.executable, "-c", LIMITED, small, large, colour_network_path, tmp_path / "out"],
                          capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None 400", done.stdout + done.stderr
