"""A disk that fills up: one clear error, and what was finished stays readable. No mock: a small tmpfs, a file limit."""

import shlex
import subprocess
import sys

import numpy as np
import pytest
from bags import street, write_bag
from replays import read_summary

from drive_seg.replay.resultbag import ResultReader

LIMITED = """
import resource, signal, sys
from drive_seg.cli.main import main
warm, bag, *arguments = sys.argv[1:]
main(["replay", bag, "--out", warm, *arguments[4:]])  # what is compiled and cached must not be cut short
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
sys.stdout.write("LIMITED\\n")
sys.exit(main(arguments))
"""
ON_A_SMALL_DISK = """
mount -t tmpfs -o size={size} none {disk} || exit 77
head -c {filler} /dev/zero > {disk}/filler
{command}
code=$?
rm {disk}/filler
cp -a {disk} {kept}
exit $code
"""


def noise(number):
    """A street under noise, which does not compress: the overlay is large. (Of noise alone no mask would come.)"""
    rows = np.random.default_rng(number).integers(0, 255, (240, 400, 3), np.uint8)
    return np.vstack([rows, street(number, 240, 400)])


@pytest.fixture
def archive(tmp_path):
    """A bag whose result is small, one whose result is large, another small one."""
    write_bag(tmp_path / "archive" / "a", 3)
    write_bag(tmp_path / "archive" / "b", 40, paint=noise)
    write_bag(tmp_path / "archive" / "c", 3, paint=lambda i: street(i + 5))
    return tmp_path / "archive"


def words(archive, out, network, *more):
    return [str(w) for w in ("replay", archive / "*", "--out", out, "--network", network, "--engine", "openvino",
                             "--no-report", "--outputs", "overlay", *more)]


def run(command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def run_on_disk(tmp_path, arguments, size, filler):
    """Run drive-seg on a tmpfs of its own, mounted on tmp_path/disk; what it left is then in tmp_path/kept."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    command = shlex.join([sys.executable, "-m", "drive_seg.cli.main", *arguments])
    script = ON_A_SMALL_DISK.format(size=size, filler=filler, disk=disk, kept=kept, command=command)
    try:
        done = run(["unshare", "--map-root-user", "--mount", "sh", "-c", script])
    except FileNotFoundError:
        pytest.skip("there is no unshare(1) here")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"no file system of one's own can be mounted here: {done.stderr.strip()}")
    return done, kept


def check_that_only_b_failed(done, out, reason):
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and reason in failed[0], done.stdout
    assert "2 of 3 bags are fine" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == ["a", "bags.json", "c"], "nothing is left half done"
    for name in "ac":
        assert read_summary(out, name)["frames"]["segmented"] == 3
        with ResultReader(out / name / "result") as reader:
            assert len(list(reader.frames())) == 3


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_file_that_may_not_grow(archive, tmp_path, colour_network_path, storage):
    arguments = words(archive, tmp_path / "out", colour_network_path, "--storage", storage)
    done = run([sys.executable, "-c", LIMITED, tmp_path / "warm", archive / "a", *arguments])
    done.stdout = done.stdout.split("LIMITED\n")[1]
    check_that_only_b_failed(done, tmp_path / "out", "File too large" if storage == "mcap" else "can't be written: ")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk(archive, tmp_path, colour_network_path, storage):
    arguments = words(archive, tmp_path / "disk" / "out", colour_network_path, "--storage", storage)
    done, kept = run_on_disk(tmp_path, arguments, 2_000_000, 0)
    check_that_only_b_failed(done, kept / "out", "No space left on device" if storage == "mcap" else "full")


def test_a_disk_without_a_byte_left(archive, tmp_path, colour_network_path):
    arguments = words(archive, tmp_path / "disk" / "out", colour_network_path)
    done, kept = run_on_disk(tmp_path, arguments, 2_000_000, 10**7)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stdout + done.stderr
    assert not any((kept / "out" / name).exists() for name in "abc")
