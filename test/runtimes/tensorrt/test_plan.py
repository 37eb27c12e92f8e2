"""The plan cache: only a plan that is exactly what is wanted is ever loaded, and files are whole or not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from drive_seg.core.engine import EngineError
from drive_seg.doctor.engines import describe_plans
from drive_seg.files import locked, write_whole
from drive_seg.runtimes.tensorrt import plan as plans
from drive_seg.runtimes.tensorrt.plan import PlanKey, StoredPlan, plan_path

ROOT = Path(__file__).resolve().parents[3]
KEY = PlanKey("ab" * 32, "fp16", "tensorrt", "10.3.0", "Orin", "8.7", (1, 3, 352, 480), {"optimization_level": 3})
PLAN = bytes(range(256)) * 40


@pytest.fixture
def stored(tmp_path) -> Path:
    path = plan_path(tmp_path, "drive_seg", KEY)
    plans.store(path, KEY, PLAN, {"precision": "fp16"})
    return path


def test_what_was_stored_is_loaded(stored):
    found = plans.load(stored, KEY)
    assert isinstance(found, StoredPlan)
    assert found.data == PLAN
    assert found.sidecar["key"]["gpu"] == "Orin"
    assert found.sidecar["built"]["precision"] == "fp16"
    assert sorted(p.suffix for p in stored.parent.iterdir()) == [".json", ".plan"]


def test_the_folder_can_be_described(stored):
    (stored.parent / "stray.plan").write_bytes(b"?")
    described = describe_plans(stored.parent)
    assert described == [f"{stored.name}: fp16, tensorrt 10.3.0, GPU Orin (compute capability 8.7)",
                         "stray.plan: no readable sidecar, it will be built again"]


def test_a_batch_has_a_plan_of_its_own_and_that_of_single_frames_keeps_its_name(tmp_path):
    assert plan_path(tmp_path, "drive_seg", KEY).name == "drive_seg-352x480-sm87-04d6f3565089b562.plan"
    of_three = plan_path(tmp_path, "drive_seg", replace(KEY, input_shape=(3, 3, 352, 480)))
    assert of_three.name.startswith("drive_seg-352x480-batch3-sm87-") and "04d6f3565089b562" not in of_three.name


@pytest.mark.parametrize("change", [
    {"onnx_sha256": "cd" * 32}, {"flavour": "tensorrt_rtx"}, {"version": "10.3.1"}, {"gpu": "Orin Nano"},
    {"compute_capability": "8.6"}, {"input_shape": (1, 3, 384, 640)}, {"input_shape": (3, 3, 352, 480)},
    {"options": {"optimization_level": 5}},
], ids=lambda change: next(iter(change)))
def test_any_other_key_is_refused_and_has_another_name(stored, change):
    other = replace(KEY, **change)
    said = plans.load(stored, other)
    assert isinstance(said, str) and f"was built for {next(iter(change))}" in said
    assert plan_path(stored.parent, "drive_seg", other) != stored


def edit(path: Path, **changes) -> None:
    sidecar = json.loads(path.read_text())
    sidecar.update(changes)
    path.write_text(json.dumps(sidecar))


@pytest.mark.parametrize("damage, says", [
    (lambda plan, side: plan.write_bytes(PLAN[:-1]), "cut short"),
    (lambda plan, side: plan.write_bytes(b""), "cut short"),
    (lambda plan, side: plan.write_bytes(PLAN[:-1] + b"\0"), "damaged"),
    (lambda plan, side: plan.unlink(), "there is no plan"),
    (lambda plan, side: side.unlink(), "no readable sidecar"),
    (lambda plan, side: side.write_text(side.read_text()[:-20]), "no readable sidecar"),
    (lambda plan, side: side.write_bytes(b"\xff\xfe\0"), "no readable sidecar"),
    (lambda plan, side: side.write_text("[]"), "no readable sidecar"),
    (lambda plan, side: edit(side, plan={}), "no readable sidecar"),
    (lambda plan, side: edit(side, key={}), "was built for onnx_sha256 None"),
    (lambda plan, side: edit(side, key="none"), "no readable sidecar"),
    (lambda plan, side: edit(side, format=1), "format 1"),
], ids=["truncated", "empty", "one byte", "no plan", "no sidecar", "sidecar cut", "sidecar binary", "sidecar list",
        "no hash", "no key", "key of another kind", "format"])
def test_damage_is_never_loaded(stored, damage, says):
    damage(stored, plans.sidecar_of(stored))
    said = plans.load(stored, KEY)
    assert isinstance(said, str) and says in said


def test_a_failed_write_leaves_the_old_file(stored):
    with pytest.raises(RuntimeError), write_whole(stored) as part:
        part.write_bytes(b"half")
        raise RuntimeError
    assert isinstance(plans.load(stored, KEY), StoredPlan)
    assert len(list(stored.parent.iterdir())) == 2


def test_the_path_must_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="can't be written.*plan_folder"):
        plans.store(tmp_path / "file" / "x.plan", KEY, PLAN, {})


IN_A_SMALL_DISK = """
import sys
from pathlib import Path
from drive_seg.core.engine import EngineError
from drive_seg.runtimes.tensorrt import plan
folder = Path(sys.argv[1])
key = plan.PlanKey("a", "fp16", "tensorrt", "10.3", "Orin", "8.7", (1, 3, 32, 32))
try:
    plan.store(folder / "x.plan", key, bytes(1 << 20), {"precision": "fp16"})
except EngineError as error:
    print(error)
print(sorted(p.name for p in folder.iterdir()))
"""


@pytest.mark.parametrize("options, says", [
    ("size=64k", "no room to write .*x.plan .*No space left.* MB free.*free some, or name another folder"),
    ("ro", "x.plan can't be written .*Read-only file system.*name a folder that can be"),
])
def test_full_and_read_only_disks(tmp_path, options, says):
    script = f'mount -t tmpfs -o {options} none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
               "sh", "-c", script, "sh", str(tmp_path), sys.executable, IN_A_SMALL_DISK]
    try:
        probe = subprocess.run([*command[:-7], "sh", "-c", f'mount -t tmpfs none "{tmp_path}"'], capture_output=True,
                               check=False)
    except FileNotFoundError:
        probe = None
    if probe is None or probe.returncode:
        pytest.skip("this machine lets nobody mount a small disk in a namespace of its own")
    run = subprocess.run(command, capture_output=True, text=True, check=True,
                         cwd=ROOT)
    error, files = run.stdout.strip().splitlines()
    assert re.search(says, error)
    assert files == "[]", "a piece was left behind"


HOLDS_THE_LOCK = """
import sys
from pathlib import Path
from drive_seg.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/x.lock until it is told to let go."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS_THE_LOCK, str(tmp_path / "x.lock")], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_of_two_processes_one_goes_on_at_a_time(tmp_path, holder):
    waits = []

    def waiting() -> None:
        waits.append(True)
        assert holder.poll() is None
        holder.stdin.write("\n")  # it lets go only now
        holder.stdin.flush()

    with locked(tmp_path / "x.lock", waiting):
        assert waits


def test_a_dead_process_holds_no_lock(tmp_path, holder):
    holder.kill()
    holder.wait(30)
    with locked(tmp_path / "x.lock", lambda: pytest.fail("still locked")):
        pass
