"""Many bags: what one of them meets is no matter of the others, or of the number of workers."""

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
