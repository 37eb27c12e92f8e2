"""Bags on a local Ray with two workers, one of which is killed in the middle of its bag."""

import threading
import time

import psutil
import pytest
from bags import street, write_bag

from drive_seg.replay.compare import Limits, compare
from drive_seg.replay.job import Job
from drive_seg.settings import Settings


def test_a_killed_worker_s_bag_is_done_by_another(replay, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'drive-seg[ray]')")
    from drive_seg.replay.on_ray import run_on_ray

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    archive = tmp_path / "archive"
    for name, frames in (("a", 300), ("b", 300), ("c", 5)):
        write_bag(archive / name, frames, paint=lambda i: street(i, 240, 400))
    assert replay(archive / "*") == 0

    killed, outcomes = [], []

    def kill_one():
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            time.sleep(0.02)
            for process in psutil.Process().children(recursive=True):
                try:
                    if any(".a.partial" in file.path for file in process.open_files()):
                        process.kill()
                        killed.append(process.pid)
                        return
                except psutil.Error:
                    continue

    settings = Settings(network=str(replay.network), engine="openvino")
    out = tmp_path / "ray"
    jobs = [Job(archive / name, out / name, settings, report=False) for name in "abc"]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        run_on_ray(jobs, "local", outcomes.append)
    finally:
        thread.join()
        ray.shutdown()
    assert killed, "nothing was killed: the test shows nothing"
    assert [o.problem for o in outcomes] == [None] * 3
    for name in "abc":
        comparison = compare(replay.out / name, out / name, Limits())
        assert (comparison.same, comparison.identical) == (True, {"a": 300, "b": 300, "c": 5}[name])
