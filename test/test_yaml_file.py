"""Hostile YAML gets one line, at once."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import drive_seg
from drive_seg.cli.train import _read_classes
from drive_seg.errors import CommandError
from drive_seg.labelling import class_map
from drive_seg.labelling.record import LabelError
from drive_seg.yaml_file import YamlError, quoted, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))

HOSTILE = {
    "bomb": (BOMB, "refers to itself, or to the same values too often"),
    "itself": ("a: &a [*a]", "refers to itself"),
    "itself in a mapping": ("&a {b: *a}", "not valid YAML|refers to itself"),
    "merges": (MERGES, "merges mappings with `<<` .line 2.: write them out"),
    "deep": ("[" * 20_000, "more than 50 levels|maximum nesting depth"),
    "deep mappings": ("".join(" " * i + "a:\n" for i in range(300)), "more than 50 levels"),
    "digits": ("a: " + "9" * 100_000, "a number of 100000 digits .line 1."),
    "sexagesimal": ("a: 1" + ":1" * 100_000, "a number of"),
    "endless fraction": ("a: 0." + "1" * 100_000, "a number of"),
    "long": ("# " + "x" * 3_000_000, "3 MB, more than the 2 MB"),
    "no UTF-8": (b"a: \xff\xfe", "not valid YAML"),
    "control characters": ("a: \0", "not valid YAML"),
    "a day that is none": ("a: 2001-99-99", "not valid YAML"),
    "objects": ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    "unknown tag": ("!x y", "not valid YAML"),
    "list as a key": ("? [a]\n: b", "not valid YAML"),
    "unclosed": ("a: [b", "not valid YAML: .* .line [12]."),
    "unknown alias": ("a: *b", "not valid YAML"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_yaml_is_one_line(tmp_path, kind):
    text, words = HOSTILE[kind]
    path = tmp_path / "net.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(YamlError, match=words) as error:
        read_yaml(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("document", [
    {"a": [1, 2.5, "x", None, True], "b": {"c": ["00" * 200] * 22}}, [], "text", None, {"a": float("inf")},
    {"same": [[1, 2]] * 50},
])
def test_good_yaml_is_what_was_written(tmp_path, document):
    path = tmp_path / "good.yaml"
    path.write_text(yaml.safe_dump(document))
    assert read_yaml(path) == document


def test_values_in_messages_are_cut():
    assert quoted("a") == "'a'" and len(quoted(["x" * 1000])) < 100


@pytest.mark.parametrize("kind", ["bomb", "merges", "digits", "itself"])
def test_the_command_says_it_in_one_line(tmp_path, colour_network_path, kind):
    network = tmp_path / "net.onnx"
    network.write_bytes(colour_network_path.read_bytes())
    text = HOSTILE[kind][0]
    network.with_suffix(".yaml").write_text(text)
    done = subprocess.run([sys.executable, "-m", "drive_seg.cli.main", "segment", "clip.png", "-o", str(tmp_path / "o"),
                           "--network", str(network)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode == 2 and done.returncode != -signal.SIGKILL
    assert len(done.stderr.strip().splitlines()) == 1


def test_ctrl_c_works_while_a_file_is_read(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text("a: [" + "1, " * 650_000 + "1]")  # as long as is allowed: it takes seconds
    # The process interrupts itself after 0.3 s of its own work: on a busy machine any other clock could be too late.
    code = f"import os, signal; from pathlib import Path; from drive_seg.yaml_file import read_yaml;" \
           f" signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.SIGINT));" \
           f" print('begun', flush=True); signal.setitimer(signal.ITIMER_PROF, 0.3);" \
           f" read_yaml(Path({str(path)!r})); print('done', flush=True)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert process.stdout == "begun\n" and process.returncode == -signal.SIGINT, process.stderr
    assert process.stderr.strip().endswith("KeyboardInterrupt")


def test_every_yaml_that_a_user_may_give_is_read_with_these_guards():
    package = Path(drive_seg.__file__).parent
    unguarded = [(file.name, line.strip()) for file in package.rglob("*.py") for line in file.read_text().splitlines()
                 if re.search(r"yaml\.(safe_load|load|full_load|unsafe_load)\((?!yaml\.safe_dump)", line)]
    assert unguarded == [("yaml_file.py", "document = yaml.load(text, _LOADER)")]


@pytest.mark.parametrize("kind", ["bomb", "merges", "deep", "itself"])
def test_class_tables_of_labels_and_of_training_too(tmp_path, kind):
    path = tmp_path / "classes.yaml"
    path.write_text(HOSTILE[kind][0])
    with pytest.raises(LabelError) as of_labels:
        class_map.load(path)
    with pytest.raises(CommandError) as of_training:
        _read_classes(path)
    for error in (of_labels.value, of_training.value):
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 600
