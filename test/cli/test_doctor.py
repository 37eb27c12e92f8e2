"""`drive-seg doctor` on this machine, and what it says when something is missing."""

import fcntl
import json
import os
import subprocess
import sys

import pytest

from drive_seg.cli.main import main
from drive_seg.doctor import transport as transport_checks
from drive_seg.doctor.checks import CHECKS, can_run
from drive_seg.doctor.finding import Finding, Level


def by_name(said: str) -> dict[str, dict]:
    groups = json.loads(said)["findings"]
    assert list(groups) == list(CHECKS)
    return {finding["name"]: finding for found in groups.values() for finding in found}


@pytest.fixture(scope="module")
def report() -> dict[str, dict]:
    done = subprocess.run([sys.executable, "-m", "drive_seg.cli.main", "doctor", "--json"], capture_output=True,
                          text=True, env={**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})
    assert done.returncode == (0 if json.loads(done.stdout)["can_run"] else 1), done.stderr
    return by_name(done.stdout)


def test_opens_engines_for_real(report):
    assert report["default network"]["level"] == "ok"
    assert report["openvino"]["level"] == "ok"
    assert any(precision in report["openvino"]["text"] for precision in ("fp32", "bf16", "int8"))
    assert report["middleware"]["level"] == "ok"


def test_tells_what_tensorrt_needs(report):
    assert {"NVIDIA GPU", "TensorRT", "CUDA from Python"} <= set(report)
    if report["TensorRT"]["level"] == "ok":
        assert "TensorRT plans" in report
    usable = all(report[name]["level"] == "ok" for name in ("NVIDIA GPU", "TensorRT", "CUDA from Python"))
    assert report["engine auto"]["text"].startswith("takes tensorrt" if usable else "takes openvino")


def test_every_finding_that_is_not_ok_names_a_fix(report):
    assert not [finding for finding in report.values() if finding["level"] != "ok" and not finding["fix"]]


@pytest.fixture
def no_middleware(monkeypatch):
    """A process of its own is asked what the middleware can do, so the doctor may be this one."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_nothing_cpp")


def test_a_middleware_that_is_not_there_fails_with_one_finding(no_middleware, capsys):
    assert main(["doctor", "--json"]) == 1
    finding = by_name(capsys.readouterr().out)["middleware"]
    assert finding["level"] == "error" and "RMW_IMPLEMENTATION" in finding["fix"]


def test_text_report_ends_with_the_verdict(no_middleware, capsys):
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "FAIL middleware" in said
    assert "NOT" in said.splitlines()[-1]


@pytest.mark.parametrize("levels, works", [
    ([Level.OK, Level.NOTE, Level.WARNING], True), ([Level.OK, Level.ERROR], False), ([], True)])
def test_only_errors_stop_the_node(levels, works):
    assert can_run({"group": [Finding("x", level, "") for level in levels]}) is works


SHM = "<dds><t><type>SHM</type><segment_size>{}</segment_size></t></dds>"


@pytest.mark.parametrize("content, level", [
    (None, Level.WARNING), ("<dds", Level.WARNING), ("<dds/>", Level.WARNING), (SHM.format(512 << 10), Level.WARNING),
    (SHM.format(64 << 20), Level.OK)])
def test_reads_the_users_own_profile(tmp_path, content, level):
    profile = tmp_path / "profile.xml"
    if content is not None:
        profile.write_text(content)
    found = list(transport_checks._profile({"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}))
    assert [finding.level for finding in found] == [level]


def test_stale_segments_are_those_that_nobody_holds(tmp_path):
    for name in ("fastdds_dead", "fastdds_alive", "fastdds_port7400"):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / (name + "_el")).touch()
    (tmp_path / "other_el").touch()
    with (tmp_path / "fastdds_alive_el").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert transport_checks.stale_segments(tmp_path) == [tmp_path / "fastdds_dead"]


def test_the_command_it_gives_removes_all_stale_segments_and_only_these(tmp_path):
    stale = [f"fastdds_{i:016x}" for i in range(7)] + ["fastrtps_00ff"]
    kept = ["fastdds_00aa", "fastdds_port7400", "fastdds_0000_other", "else"]
    for name in [*stale, *kept]:
        (tmp_path / name).write_bytes(b"x")
        if name not in ("else", "fastdds_0000_other"):
            (tmp_path / f"{name}_el").touch()
    with (tmp_path / "fastdds_00aa_el").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert len(transport_checks.stale_segments(tmp_path)) == len(stale)
        subprocess.run(["bash", "-c", transport_checks._removal(tmp_path)], check=True)
    assert {p.name for p in tmp_path.iterdir()} == {*kept, "fastdds_00aa_el", "fastdds_port7400_el"}
