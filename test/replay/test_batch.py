"""Many bags: what one of them meets is no matter of the others, or of the number of workers."""

import shutil
from pathlib import Path

import pytest
from bags import write_bag

from drive_seg.replay import batch


@pytest.fixture
def archive(tmp_path):
    for name in "abc":
        write_bag(tmp_path / "archive" / name, 2)
    return tmp_path / "archive"


def test_a_bug_costs_only_its_bag(replay, archive, monkeypatch, capsys):
    honest = batch.run_job

    def fails(job, tell=None, cores=None):
        if job.bag.name == "b":
            raise ZeroDivisionError("of our own")
        return honest(job, tell, cores)

    monkeypatch.setattr(batch, "run_job", fails)
    assert replay(archive / "*") == 1
    out = capsys.readouterr().out
    assert "ZeroDivisionError: of our own" in out and "2 of 3 bags are fine" in out
    assert [len(replay.frames(name)) for name in "ac"] == [2, 2]


def names(*patterns):
    patterns = [str(p) for p in patterns]
    return batch.name_results(batch.find_bags(patterns, Path("/nowhere")), patterns)


def test_a_result_s_name_does_not_depend_on_the_other_bags(tmp_path):
    archive = tmp_path / "archive"
    write_bag(archive / "mon" / "d1", 1)
    assert names(archive / "**" / "*.mcap") == names(archive / "*" / "*") == ["mon/d1"]
    write_bag(archive / "tue" / "d1", 1)
    write_bag(archive / "wed", 1)
    assert names(archive / "**" / "*.mcap") == ["mon/d1", "tue/d1", "wed"]
    assert names(archive / "mon" / "*", archive / "tue" / "*") == ["mon/d1", "tue/d1"]
    assert names(archive / "mon" / "*", archive / "wed") == ["mon/d1", "wed"]


def test_a_bag_given_by_its_path_keeps_its_name(tmp_path, monkeypatch):
    for folder in ("mon/d1", "mon/d2", "tue/d1"):
        write_bag(tmp_path / folder, 1)
    assert names(tmp_path / "mon/d1") == names(tmp_path / "mon/d1/d1.mcap") == ["d1"]
    assert names(tmp_path / "mon/d1", tmp_path / "mon/d2") == ["d1", "d2"]
    assert names(tmp_path / "mon/d1", tmp_path / "tue/d1") == ["mon/d1", "tue/d1"]
    monkeypatch.chdir(tmp_path / "mon")
    assert names("d1") == names("./d1/") == ["d1"]
    assert names("d*") == ["d1", "d2"]
    assert names("../*/d1") == ["mon/d1", "tue/d1"]
    assert names("d1/*.mcap") == ["d1"]


def test_files_that_differ_by_their_ending_keep_it(tmp_path):
    for ending in ("mcap", "db3"):
        source = write_bag(tmp_path / ending / "d1", 1, storage={"mcap": "mcap", "db3": "sqlite3"}[ending])
        (tmp_path / "files").mkdir(exist_ok=True)
        shutil.copy(source / f"d1.{ending}", tmp_path / "files")
    assert names(tmp_path / "files" / "*") == ["d1.db3", "d1.mcap"]
