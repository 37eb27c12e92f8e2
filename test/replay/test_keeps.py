"""A replay keeps what is there: results of others, of earlier runs, of another run at the same time."""

import json
import multiprocessing
from pathlib import Path

import pytest
from bags import write_bag
from replays import Replay
from workers import holds

from drive_seg.replay import batch
from drive_seg.replay.batch import find_bags, name_results, writing_into
from drive_seg.replay.settings import ReplayError


def names(*patterns) -> list[str]:
    patterns = [str(pattern) for pattern in patterns]
    return name_results(find_bags(patterns, Path("/nowhere")), patterns)


def test_a_bag_in_the_present_folder_has_the_folders_name(tmp_path, monkeypatch):
    bag = write_bag(tmp_path / "drive", 1)
    (bag / "deeper").mkdir()
    for here, pattern in ((bag, "."), (bag, "./"), (bag / "deeper", ".."), (tmp_path, "drive/deeper/.."),
                          (bag / "deeper", "../../drive")):
        monkeypatch.chdir(here)
        assert names(pattern) == ["drive"]


def test_nothing_is_looked_for_in_the_folder_of_results(tmp_path):
    out = write_bag(tmp_path / "out", 1)
    with pytest.raises(ReplayError, match="is the folder of results .*: choose another --out"):
        find_bags([str(out)], out)


def test_results_in_the_bags_own_folder_do_not_change_the_bag(colour_network_path, tmp_path, monkeypatch, capsys):
    """`drive-seg replay . --out results`, twice."""
    monkeypatch.chdir(write_bag(tmp_path / "drive", 3))
    replay = Replay(colour_network_path, Path("results"))
    assert replay(".") == replay(".") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("done before .: 3 frames")
    (tmp_path / "drive" / "drive.mcap").touch()
    assert replay(".") == 1


def test_the_file_of_a_split_bag_is_that_file(tmp_path):
    first, second = (write_bag(tmp_path / name, 2) / f"{name}.mcap" for name in ("split_0", "split_1"))
    whole = tmp_path / "split"
    whole.mkdir()
    for file in (first, second):
        file.rename(whole / file.name)
    text = (tmp_path / "split_0" / "metadata.yaml").read_text()
    (whole / "metadata.yaml").write_text(text.replace("- split_0.mcap", "- split_0.mcap\n  - split_1.mcap"))
    nowhere = Path("/nowhere")
    assert find_bags([str(whole / "split_1.mcap")], nowhere) == [whole / "split_1.mcap"]
    assert find_bags([str(whole)], nowhere) == find_bags([str(whole / "*.mcap")], nowhere) == [whole]
    assert names(whole / "split_0.mcap") == ["split_0"]


def test_names_that_differ_in_their_suffix_keep_it(tmp_path):
    for storage in ("mcap", "sqlite3"):
        bag = write_bag(tmp_path / storage, 1, storage=storage)
        (file,) = (p for p in bag.iterdir() if p.suffix != ".yaml")
        file.rename(tmp_path / f"drive{file.suffix}")
    assert names(tmp_path / "drive.mcap", tmp_path / "drive.db3") == ["drive.db3", "drive.mcap"]


@pytest.fixture
def result(replay, street_bag):
    assert replay(street_bag) == 0
    return replay.out / street_bag.name


def test_what_no_replay_made_is_never_deleted(replay, street_bag, result, capsys):
    (result / "other").mkdir()
    (result / "other" / "summary.json").write_text("{}")
    assert replay(street_bag, "--again") == 1
    assert "holds more than one replay's result: 'other': choose another --out" in capsys.readouterr().out
    assert (result / "other" / "summary.json").exists() and (result / "frames.jsonl").exists()


@pytest.mark.parametrize("summary", [None, "{"])
def test_somebodys_own_folder_named_result_is_never_deleted(replay, street_bag, result, capsys, summary):
    mine = result / "result" / "mine.txt"
    mine.write_text("mine")
    if summary is not None:
        (result / "summary.json").write_text(summary)
    assert replay(street_bag, "--again") == 1
    assert "holds more than one replay's result: 'result/mine.txt': choose another --out" in capsys.readouterr().out
    assert mine.read_text() == "mine"


def test_again_does_not_replace_another_bags_result(replay, street_bag, result, tmp_path, capsys):
    before = (result / "summary.json").read_bytes()
    other = write_bag(tmp_path / "other", 1)
    file = tmp_path / f"{street_bag.name}.mcap"
    (other / "other.mcap").rename(file)
    assert replay(file, "--again") == 1
    assert "holds the result of another bag" in capsys.readouterr().out
    assert (result / "summary.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "\0\0", '{"fingerprint": 3}'])
def test_a_damaged_summary_is_named_and_replaced_on_again(replay, street_bag, result, capsys, damage):
    (result / "summary.json").write_text(damage)
    assert replay(street_bag) == 1
    assert f"{result / 'summary.json'} is damaged: --again replaces this result" in capsys.readouterr().out
    assert replay(street_bag, "--again") == 0
    assert json.loads((result / "summary.json").read_text())["problem"] is None


def test_of_two_runs_into_one_folder_the_second_is_refused(replay, street_bag, capsys):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    holder = context.Process(target=holds, args=(replay.out, there))
    holder.start()
    there.close()
    assert here.recv() == "held"
    assert replay(street_bag) == 2
    assert "another replay writes into" in capsys.readouterr().err
    assert list(replay.out.iterdir()) == []
    holder.kill()  # the lock ends with its process
    holder.join()
    assert replay(street_bag) == 0


def test_a_folder_that_knows_no_locks_is_written(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(batch.fcntl, "flock", unknown)
    with writing_into(tmp_path / "out"):
        (tmp_path / "out" / "a").touch()
