"""The same bag gives the same bytes, whatever the number of threads and the load: the network that ships, twice."""

import os
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest
from bags import street, write_bag
from replays import read_summary

PRECISIONS = ("fp32", "int8")

ON_CORES = """
import os, sys
os.sched_setaffinity(0, {int(core) for core in sys.argv[1].split(",")})
from drive_seg.cli.main import main
from drive_seg.replay import settings
settings._ENGINES = int(sys.argv[2])  # at most; the cores are their threads
bag, out, *precisions = sys.argv[3:]
for precision in precisions:
    assert main(["replay", bag, "--out", f"{out}/{precision}", "--engine", "openvino", "--precision", precision,
                 "--size", "192x256", "--no-report"]) == 0
"""
BUSY = "while True: sum(range(10**6))"


def noisy_street(number):
    """Labels are close to call in many of its pixels."""
    noise = np.random.default_rng(number).normal(0, 40, (240, 320, 3))
    return np.clip(street(number, 240, 320) + noise, 0, 255).astype(np.uint8)


def replay_on(cores, bag, out, engines=1, busy=0):
    with ExitStack() as stack:
        for _ in range(busy):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(process.kill)
        words = [sys.executable, "-c", ON_CORES, ",".join(map(str, cores)), engines, bag, out, *PRECISIONS]
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_threads_engines_and_load_change_no_byte(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core: there is no other number of threads")
    bag = write_bag(tmp_path / "street", 10, paint=noisy_street)
    one = replay_on(cores[:1], bag, tmp_path / "one")
    runs = [replay_on(cores, bag, tmp_path / "threads", busy=len(cores)),
            replay_on(cores, bag, tmp_path / "engines", engines=len(cores))]
    for precision in PRECISIONS:
        expected = read_summary(one / precision)
        assert expected["machine"]["cores"] == 1 and expected["engine"]["precision"] == precision
        data = (one / precision / "street/result/result.mcap").read_bytes()
        for run in runs:
            summary = read_summary(run / precision)
            assert summary["machine"]["cores"] == len(cores)
            assert summary["masks_sha256"] == expected["masks_sha256"]
            assert (run / precision / "street/result/result.mcap").read_bytes() == data
    hashes = {read_summary(one / precision)["masks_sha256"] for precision in PRECISIONS}
    assert len(hashes) == 2, "the drive is close to call: another arithmetic gives other masks"
