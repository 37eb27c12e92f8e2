"""Replicas: processes that train together end in the same weights, and go on after a kill."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: make test-train")

from drive_seg.training import log  # noqa: E402
from drive_seg.training.recipe import Phase, Recipe  # noqa: E402
from drive_seg.training.run_folder import RunError, finish_save  # noqa: E402

pytestmark = pytest.mark.train


def test_replicas_agree_and_resume(world, tmp_path):
    """As the command that starts them."""
    out, file = tmp_path / "run", tmp_path / "recipe.json"
    phase = Phase(1.0, (64, 96), (0.9, 1.2))
    Recipe(steps=5, batch=2, workers=1, lovasz_pixels=500, validate_every=0.5, warmup=0.1, replicas=2, average_every=2,
           phases=(phase,)).save(file)
    data = [word for root in world for word in ("--data", str(root))]

    def train(*words):
        command = [sys.executable, "-m", "drive_seg.cli.main", "train", *data, "--out", str(out), "--device", "cpu"]
        return subprocess.run([*command, *words], capture_output=True, text=True)

    first = train("--recipe", str(file))
    assert first.returncode == 0, first.stderr
    states = [torch.load(out / name, weights_only=True) for name in ("checkpoint.pt", "checkpoint_1.pt")]
    assert [s["step"] for s in states] == [5, 5]
    validated = [entry["step"] for entry in log.read(out / "log.jsonl") if "val" in entry]
    assert validated[-1] == 5, "the end is not a multiple of average_every"
    weights = [s["network"] for s in states]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    moments = [s["optimizer"]["state"][0]["exp_avg"] for s in states]
    assert not torch.equal(*moments)  # each learned from batches of its own
    late, whole = out / "checkpoint_1.pt", out / "checkpoint_1.part"
    late.replace(whole)
    torch.save(states[1] | {"step": 2}, late)  # killed between the two replacements
    finish_save(out, 2)
    assert torch.load(late, weights_only=True)["step"] == 5
    assert train("--resume").returncode == 0
    torch.save(states[1] | {"step": 2}, late)
    whole.write_bytes(late.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"different steps \(checkpoint.pt 5, checkpoint_1.pt 2\): copy"):
        finish_save(out, 2)
    late.unlink()
    whole.unlink()
    refused = train("--resume")
    assert refused.returncode == 2 and "no checkpoint_1.pt" in refused.stderr
    (out / "checkpoint.pt").replace(out / "checkpoint.part")
    whole.write_bytes(b"")
    with pytest.raises(RunError, match="before its first checkpoint was whole"):
        finish_save(out, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_replicas_end_with_the_command_that_started_them(world, tmp_path):
    file = tmp_path / "recipe.json"
    Recipe(steps=10**6, batch=2, workers=0, lovasz_pixels=500, replicas=2, average_every=2,
           phases=(Phase(1.0, (64, 96), (0.9, 1.2)),)).save(file)
    command = [sys.executable, "-m", "drive_seg.cli.main", "train", "--data", str(world[0]), "--out",
               str(tmp_path / "run"), "--device", "cpu", "--recipe", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert '"step"' in process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    until = time.monotonic() + 30
    while (alive := [child for child in children if running(child)]) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive


def running(child: str) -> bool:
    """Whether a process is still there and not a zombie."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
