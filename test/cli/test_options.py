"""What the command line asks the node for."""

import argparse

import cv2
import numpy as np
import pytest
from bags import write_bag

from drive_seg.cli.main import load, main
from drive_seg.cli.options import (
    add_settings,
    cache_folder,
    given_settings,
    json_file,
    node_parameters,
    out_file,
    out_folder,
)
from drive_seg.core.engine import EngineError
from drive_seg.replay.settings import that_count
from drive_seg.settings import Settings


def test_every_choice_of_network_reaches_the_node(tmp_path):
    parser = argparse.ArgumentParser()
    add_settings(parser, ("network",))
    args = parser.parse_args(["--network", str(tmp_path / "n.onnx"), "--engine", "openvino", "--precision", "fp32",
                              "--size", "96x160", "--plans", str(tmp_path)])
    assert node_parameters(args) == {"engine": "openvino", "precision": "fp32", "network": str(tmp_path / "n.onnx"),
                                     "input_height": 96, "input_width": 160, "plan_folder": str(tmp_path)}
    assert node_parameters(parser.parse_args([])) == {}


def test_what_a_command_has_no_use_for_is_left_out_of_the_file_too(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_settings(parser, ("network", "masks"), without=("output_size", "temporal_filter", "ego_mask"))
    (tmp_path / "robot.yaml").write_text(
        "/**: {ros__parameters: {cameras: [front], output_size: network, temporal_filter: true, ego_mask: '',"
        " min_confidence: 0.5, front: {ego_mask: hood.png}}}")
    args = parser.parse_args(["--params-file", str(tmp_path / "robot.yaml")])
    for _ in range(2):
        assert given_settings(args) == {"cameras": ["front"], "min_confidence": 0.5}
    assert capsys.readouterr().err == (f"warning: {tmp_path}/robot.yaml: this command has no use for output_size,"
                                       " temporal_filter, front.ego_mask, left out\n"), "once, of a default nothing"


@pytest.mark.parametrize(("command", "settings"), [
    ("segment in.png -o out", "output_size"), ("pick in.png -o out", "output_size temporal_filter"),
    ("adapt in.png -o out", "output_size temporal_filter"), ("bench", "ego_mask"),
    ("evaluate --data d --split val", "output_size temporal_filter ego_mask"),
    ("compare a.onnx b.onnx", "output_size temporal_filter ego_mask"),
])
def test_settings_that_would_spoil_a_command_s_results_are_not_taken(command, settings):
    name, *words = command.split()
    parser = argparse.ArgumentParser()
    load(name).add_arguments(parser)
    assert set(settings.split()) <= set(parser.parse_args(words).without)


def test_every_command_keeps_plans_where_it_is_asked_to(tmp_path, monkeypatch):
    asked = []

    def refuse(name, network, plan_folder=None, **_):
        asked.append(plan_folder)
        raise EngineError("not here")

    monkeypatch.setattr("drive_seg.pipeline.open_engine", refuse)
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((64, 64, 3), np.uint8))
    write_bag(tmp_path / "bag", 2)
    (tmp_path / "node.yaml").write_text(f"/**: {{ros__parameters: {{plan_folder: {tmp_path}/file}}}}")
    out = ["--plans", str(tmp_path / "plans")]
    assert main(["segment", str(tmp_path / "in.png"), "-o", str(tmp_path / "s"), *out]) != 0
    replay = ["replay", str(tmp_path / "bag"), "--out"]
    assert main([*replay, str(tmp_path / "a"), *out]) != 0
    assert main([*replay, str(tmp_path / "b"), "--params-file", str(tmp_path / "node.yaml")]) != 0
    assert asked == [tmp_path / "plans", tmp_path / "plans", tmp_path / "file"]
    here, there = Settings(plan_folder="here"), Settings(plan_folder="there")
    assert that_count(here) == that_count(there), "no other result, so nothing to replay again"


@pytest.mark.parametrize(("command", "says"), [
    ("compare a b --topic /t --every 2 --duration 5 --split train --size 96x160 --engine openvino",
     "--topic, --duration, --every, --split, --engine, --size can only be used with two networks"),
    ("compare a b --data d --params-file p.yaml", "--data, --params-file can only be used with two networks"),
    ("compare a.onnx b.onnx --on x.mp4 --min-labels 0.9 --min-drivable 0.9 --max-frames 3",
     "--min-labels, --min-drivable, --max-frames can only be used with two results"),
    ("compare a.onnx b.onnx --on x.mp4 --pictures p", "for pictures give --page FILE.html"),
    ("replay bag --out out --ray --workers 4", "leave out --workers"),
])
def test_options_that_would_be_ignored_are_refused(command, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


FIELDS = {
    "segment": (["in.png", "-o"], "folder"), "demo": (["--out"], "folder"), "replay": (["bag", "--out"], "folder"),
    "compare --pictures": (["a", "b", "--pictures"], "folder"), "build --plans": (["--plans"], "folder"),
    "compare --json": (["a", "b", "--json"], "x.json"), "export": (["run", "-o"], "x.onnx"),
    "build -o": (["-o"], "x.plan"), "train": (["--data", "d", "--out"], "run"),
    "evaluate --pictures": (["--data", "d", "--split", "val", "--pictures"], "folder"),
    "evaluate --json": (["--data", "d", "--split", "val", "--json"], "x.json"),
}


@pytest.mark.parametrize("command", FIELDS)
def test_a_place_that_results_cannot_have_is_reported_before_the_work(tmp_path, capsys, command):
    words, name = FIELDS[command]
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as left:
        main([command.split()[0], *words, str(tmp_path / "taken" / name)])
    assert left.value.code == 2
    assert f"{tmp_path / 'taken'} is a file, not a folder: give another folder" in capsys.readouterr().err


def test_folders_and_files_for_results(tmp_path):
    (tmp_path / "taken").write_text("")
    assert out_folder(str(tmp_path / "new" / "one")) == tmp_path / "new" / "one"
    assert out_folder(str(tmp_path)) == tmp_path
    assert out_file(str(tmp_path / "new" / "x.json")) == tmp_path / "new" / "x.json"
    assert out_file(str(tmp_path / "taken")) == tmp_path / "taken"
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"], "nothing is made yet"
    with pytest.raises(argparse.ArgumentTypeError, match="is a file, not a folder"):
        out_folder(str(tmp_path / "taken"))
    with pytest.raises(argparse.ArgumentTypeError, match="is a folder: give the name of a file"):
        out_file(str(tmp_path))


def test_places_for_results_may_begin_with_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in (out_folder, cache_folder, out_file, json_file):
        assert place("~/new/x") == tmp_path / "new" / "x"
        with pytest.raises(argparse.ArgumentTypeError, match="a user who has no home here"):
            place("~nobody-of-that-name/x")


def test_a_place_that_may_not_be_written_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for place in (out_folder, out_file):
        with pytest.raises(argparse.ArgumentTypeError, match="may not be written"):
            place(str(tmp_path / "x"))
