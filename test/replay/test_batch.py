"""Many bags: what one of them meets does not touch the others, nor does the number of workers."""

import shutil
from pathlib import Path

import pytest
from bags import write_bag
from workers import dies_after_its_first_job, dies_at_once

from drive_seg.replay import batch
from drive_seg.replay.job import Job
from drive_seg.replay.settings import that_count
from drive_seg.settings import Settings


@pytest.fixture
def archive(tmp_path):
    for name in "abc":
        write_bag(tmp_path / "archive" / name, 2)
    return tmp_path / "archive"


def test_a_bug_costs_only_its_bag(replay, archive, monkeypatch, capsys):
    honest = batch.run_job

    def fails(job, progress=None, cores=None):
        if job.bag.name == "b":
            raise ZeroDivisionError("of our own")
        return honest(job, progress, cores)

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


@pytest.mark.parametrize(("worker", "fine"), [(dies_at_once, {0}), (dies_after_its_first_job, {2, 3})])
def test_workers_that_die_between_jobs_cost_only_a_bag_each(tmp_path, monkeypatch, worker, fine):
    monkeypatch.setattr(batch, "_work", worker)
    jobs = [Job(tmp_path / str(n), tmp_path / "out" / str(n), Settings()) for n in range(4)]
    done = []
    outcomes = batch.run_jobs(jobs, 2, done.append)
    assert len(outcomes) == len(done) == 4
    assert sum(o.ok for o in outcomes) in fine  # by how soon a death is seen
    assert {o.problem for o in outcomes if not o.ok} == {
        "its process ended with code 3; run the same command again to resume"}


def test_a_job_means_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings(network="ours.onnx", ego_mask="ego.png")
    job = Job(Path("d1"), Path("out/d1"), settings, Path("labels"), Path("golden")).absolute()
    assert (job.bag, job.folder) == (tmp_path / "d1", tmp_path / "out" / "d1")
    assert (job.labels, job.golden) == (tmp_path / "labels", tmp_path / "golden")
    assert (job.settings.network, job.settings.ego_mask) == (str(tmp_path / "ours.onnx"), str(tmp_path / "ego.png"))
    assert that_count(job.settings) == that_count(settings), "so it resumes what was begun under a relative path"
    assert Job(Path("d1"), Path("d2"), Settings()).absolute().settings.network == ""
