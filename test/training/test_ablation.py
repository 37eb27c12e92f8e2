"""The ablation on tiny data, as its command: runs, scores, does nothing twice."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="training needs torch: make test-train")

pytestmark = pytest.mark.train
NAME = "no ImageNet weights"


def ablate(world, out, steps=2):
    """In a process of its own: torch's workers, OpenVINO and numba in the one of all tests made a later test crash."""
    data = [word for root in world for word in ("--data", str(root))]
    return subprocess.run([sys.executable, "-m", "drive_seg.training.ablation", *data, "--out", str(out), "--steps",
                           str(steps), "--only", NAME], capture_output=True, text=True, timeout=300, check=False)


def test_a_variant_is_trained_scored_and_not_done_again(world, tmp_path):
    first = ablate(world, tmp_path)
    assert first.returncode == 0, first.stderr
    result = json.loads((tmp_path / "results.json").read_text())["results"][NAME]
    assert 0 <= result["strange_drivable"] <= 1
    assert first.stdout.endswith((tmp_path / "table.md").read_text())
    assert f"| {NAME} | " in first.stdout and "| all |" not in first.stdout
    log = (tmp_path / NAME.replace(" ", "_") / "log.jsonl").read_text()
    assert ablate(world, tmp_path).returncode == 0
    assert (tmp_path / NAME.replace(" ", "_") / "log.jsonl").read_text() == log
    other = ablate(world, tmp_path, steps=3)
    assert other.returncode == 2 and "holds runs of 2 steps" in other.stderr
