"""Memory is bounded, whatever the length of a bag."""

import os
import subprocess
import sys

from bags import street, write_bag

LIMITED = """
import resource, sys
from pathlib import Path
from drive_seg.replay.job import Job, run_job
from drive_seg.settings import Settings

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


GROWTH = """
import sys
from pathlib import Path
from drive_seg.replay.job import Job, run_job
from drive_seg.settings import Settings

bag, network, out = map(Path, sys.argv[1:])
resident = []


def progress(done, total):
    if done % 50 == 0:
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)


outcome = run_job(Job(bag, out, Settings(network=str(network), engine="openvino")), progress)
assert outcome.ok, outcome.problem
replayed = max(resident[4:])
progress(0, 0)  # summary and report are written now
print(replayed - resident[3], resident[-1] - resident[3])  # above what it was after 200 frames
"""


def test_memory_does_not_grow_with_the_frames(tmp_path, colour_network_path):
    """DRIVE_SEG_REPLAY_FRAMES=10000 replays as many as the promise speaks of: less than 50 MB from the 200th on. Fewer
    get their share of it while frames are replayed; the report's pictures, which come at the end, are bounded."""
    frames = int(os.environ.get("DRIVE_SEG_REPLAY_FRAMES", "1500"))
    bag = write_bag(tmp_path / "street", frames, compressed=True)
    done = subprocess.run([sys.executable, "-c", GROWTH, bag, colour_network_path, tmp_path / "out"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    grown, at_end = (int(word) / 1e6 for word in done.stdout.split())
    print(f"{frames} frames: {grown:.1f} MB more than after 200, {at_end:.1f} MB with the report")
    assert grown < 50 * (frames - 200) / 9800
    assert at_end < 50
