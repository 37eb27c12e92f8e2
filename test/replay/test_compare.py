"""Golden results and `drive-seg compare`."""

import json
import shutil

import cv2
import numpy as np
import pytest
from bags import raw, street, write_bag
from colours import rgb
from replays import Replay

from drive_seg.cli.main import main
from drive_seg.core.classes import Group
from drive_seg.replay import job as job_module
from drive_seg.replay.compare import Limits, compare, find_results
from drive_seg.replay.settings import ReplayError


def with_a_wall(number):
    """The street; in frame 7 a wall stands on the right third."""
    scene = street(number)
    if number == 7:
        scene[:, 134:] = rgb("car")[::-1]
    return scene


@pytest.fixture(scope="module")
def results(tmp_path_factory, colour_network_path):
    """--out folders: one drive, the same drive with a wall in frame 7, and the drive with frame 3 broken."""
    folder = tmp_path_factory.mktemp("results")
    messages = [raw(i, street(i)) for i in range(12)]
    messages[3].step = 5
    bags = {"before": {}, "wall": {"paint": with_a_wall}, "broken": {"messages": messages}}
    for name, options in bags.items():
        bag = write_bag(folder / "bags" / name / "street", 12, **options)
        Replay(colour_network_path, folder / name)(bag)
    return folder


def test_a_result_is_the_same_as_itself(results, capsys):
    assert main(["compare", str(results / "before"), str(results / "before")]) == 0
    assert "12 frames in both, 12 identical, 0 under a limit" in capsys.readouterr().out


def test_figures_on_standard_output_stand_alone_there(results, capsys):
    assert main(["compare", str(results / "before"), str(results / "before"), "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert next(iter(json.loads(out).values()))["identical"] == 12
    assert "12 identical" in err


def test_the_frame_that_changed_is_found_measured_and_drawn(results, tmp_path, capsys):
    code = main(["compare", str(results / "before"), str(results / "wall"), "--pictures", str(tmp_path / "worst"),
                 "--json", str(tmp_path / "figures.json")])
    assert code == 1
    (figures,) = json.loads((tmp_path / "figures.json").read_text()).values()
    assert (figures["identical"], figures["different"]) == (11, 1)
    (worst,) = figures["worst"]
    assert worst["index"] == 7
    assert worst["labels"] == pytest.approx(2 / 3, abs=0.03), "the wall covers a third"
    assert figures["labels"]["mean"] == pytest.approx(1 - (1 - worst["labels"]) / 12)
    out = capsys.readouterr().out
    assert "DIFFERENT" in out and "frame 7: labels" in out
    picture = cv2.imread(str(tmp_path / "worst" / "frame_000007.png"))
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    difference = (picture[:height, width:] == (255, 0, 255)).all(2)
    assert difference[:, -width // 4 :].mean() > 0.8 and difference[:, : width // 2].mean() < 0.05


@pytest.mark.parametrize(("limits", "same"), [
    (["--min-labels", "0.5", "--min-drivable", "0.3"], True),
    (["--min-labels", "0.5"], False),
    (["--max-frames", "1"], True),
    (["--min-labels", "0.99", "--min-drivable", "0.99"], False),
])
def test_limits(results, limits, same):
    assert main(["compare", str(results / "before"), str(results / "wall"), *limits]) == (0 if same else 1)


def test_a_missing_frame_is_a_difference(results, capsys):
    assert main(["compare", str(results / "before"), str(results / "broken")]) == 1
    assert "only in A: 1 frames, only in B: 0" in capsys.readouterr().out


def test_drivable_agreement_is_the_iou_of_the_masks(results):
    comparison = compare(results / "before" / "street", results / "wall" / "street", Limits())
    from drive_seg.replay.resultbag import ResultReader

    with ResultReader(results / "before/street/result") as a, ResultReader(results / "wall/street/result") as b:
        one, other = (list(r.frames())[7].images for r in (a, b))
    inter = ((one["drivable_area"] > 0) & (other["drivable_area"] > 0)).sum()
    union = ((one["drivable_area"] > 0) | (other["drivable_area"] > 0)).sum()
    assert comparison.drivable["min"] == pytest.approx(inter / union)
    assert (other["labels"][:, 140:] == Group.OBSTACLE).all()


def test_golden_while_replaying(results, colour_network_path, tmp_path, capsys):
    replay = Replay(colour_network_path, tmp_path / "out")
    bag = results / "bags" / "wall" / "street"
    assert replay(bag, "--golden", results / "before", report=True) == 1
    assert "DIFFERS" in capsys.readouterr().out
    page = (tmp_path / "out" / "street" / "report.html").read_text()
    assert "differs from golden" in page and "frame 7: labels 6" in page
    again = Replay(colour_network_path, tmp_path / "again")
    assert again(bag, "--golden", results / "wall") == 0


def test_engines_are_compared_by_limits(results, colour_network_path, tmp_path):
    pytest.importorskip("onnxruntime")
    bag = results / "bags" / "before" / "street"
    words = ["replay", bag, "--out", tmp_path / "ort", "--network", colour_network_path, "--engine", "onnxruntime",
             "--no-report", "--golden", results / "before", "--min-labels", "0.999", "--min-drivable", "0.999"]
    assert main([str(w) for w in words]) == 0


@pytest.mark.parametrize("missing", ["a", "b"])
def test_what_is_no_result_is_reported(results, tmp_path, missing, capsys):
    folders = [results / "before", tmp_path] if missing == "b" else [tmp_path, results / "before"]
    assert main(["compare", *map(str, folders)]) == 2
    assert "is not a result of `drive-seg replay`" in capsys.readouterr().err


def test_runs_of_several_bags_are_matched_by_name(results, tmp_path, capsys):
    for run, first in (("one", "before"), ("two", "wall")):
        shutil.copytree(results / first / "street", tmp_path / run / "a")
        shutil.copytree(results / "before" / "street", tmp_path / run / "b")
    assert sorted(find_results(tmp_path / "one")) == ["a", "b"]
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 1
    assert capsys.readouterr().out.count("same: ") == 1
    shutil.rmtree(tmp_path / "two" / "a")
    shutil.copytree(tmp_path / "one" / "a", tmp_path / "two" / "c")
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 1
    out = capsys.readouterr().out
    assert "only in" in out and ": a" in out and ": c" in out


def test_results_of_another_size_can_t_be_compared(results, colour_network_path, tmp_path):
    other = Replay(colour_network_path, tmp_path / "out")
    other(write_bag(tmp_path / "street", 12, paint=lambda i: np.ascontiguousarray(street(i)[::2, ::2])))
    with pytest.raises(ReplayError, match=r"\(200, 120\) in A and \(100, 60\) in B"):
        compare(results / "before" / "street", tmp_path / "out" / "street", Limits())


def test_frames_of_one_time_and_stamp_are_told_apart(replay, another, tmp_path):
    """A driver that sends a frame twice, or an unset stamp: each frame has its counterpart."""
    numbers = [0, 1, 1, 1, 2]
    for run, second in ((replay, street(1)), (another, with_a_wall(7))):
        messages = [raw(n, second if place == 2 else street(n)) for place, n in enumerate(numbers)]
        run(write_bag(tmp_path / f"bags of {run.out.name}" / "street", numbers=numbers, messages=messages))
    ours, theirs = replay.out / "street", another.out / "street"
    same = compare(ours, ours, Limits())
    assert (same.frames, same.identical, same.same) == (5, 5, True)
    changed = compare(ours, theirs, Limits())
    assert (changed.frames, changed.identical, changed.different) == (5, 4, 1)
    assert [frame["index"] for frame in changed.worst] == [2]


@pytest.mark.parametrize(("spoiled", "missing"), [("a", (0, 1)), ("b", (1, 0))])
def test_a_frame_that_a_result_bag_lacks_is_missing(results, tmp_path, spoiled, missing):
    """As in a bag that was cut or filtered after the replay."""
    sides = {"a": results / "before" / "street", "b": results / "wall" / "street"}
    shutil.copytree(sides[spoiled], tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "result")
    shutil.copytree(results / "broken" / "street" / "result", tmp_path / "cut" / "result")  # lacks frame 3
    lines = (tmp_path / "cut" / "frames.jsonl").read_text().splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | {"digest": "another"})
    (tmp_path / "cut" / "frames.jsonl").write_text("\n".join(lines))
    sides[spoiled] = tmp_path / "cut"
    comparison = compare(sides["a"], sides["b"], Limits())
    assert (comparison.only_in_a, comparison.only_in_b) == missing
    assert comparison.frames == 11 and not comparison.same


def test_a_golden_result_that_does_not_fit_is_reported_before_any_frame(results, replay, another, tmp_path, capsys):
    bag = results / "bags" / "before" / "street"
    shutil.copytree(results / "before" / "street", tmp_path / "light", ignore=shutil.ignore_patterns("result"))
    assert replay(bag, "--golden", tmp_path / "light") == 1
    assert f"there is no bag at {tmp_path / 'light' / 'result'}" in capsys.readouterr().out
    another(write_bag(tmp_path / "street", 12, paint=lambda i: np.ascontiguousarray(street(i)[::2, ::2])))
    capsys.readouterr()
    assert replay(bag, "--golden", another.out) == 1
    assert "(100, 60) in A and (200, 120) in B" in capsys.readouterr().out
    assert not (replay.out / "street").exists()


def test_what_fails_after_the_last_frame_leaves_the_replay(results, replay, tmp_path, monkeypatch, capsys):
    def no_report(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(job_module, "write_report", no_report)
    shutil.copytree(results / "wall", tmp_path / "golden")
    file = tmp_path / "golden" / "street" / "result" / "result.mcap"
    with file.open("r+b") as damaged:  # a bad sector behind the first frames
        damaged.seek(file.stat().st_size // 2)
        damaged.write(bytes(2000))
    assert replay(results / "bags" / "before" / "street", "--golden", tmp_path / "golden", report=True) == 1
    out = capsys.readouterr().out
    assert out.startswith("FAILED") and out.count("\n") == 1
    problem = replay.summary()["problem"]
    assert problem.startswith("not compared with the golden result: ")
    assert problem.endswith("; no report: KeyError: 'a bug'")
    assert len(replay.masks()) == 12
