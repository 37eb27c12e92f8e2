"""The README says what the code says: parameters, topics, subcommands."""

from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


def parameter_table() -> str:
    """The README's table of parameters, as the code has them."""
    from drive_seg.ros.parameters import PARAMETERS

    rows = ["| parameter | default | live | meaning |", "|---|---|---|---|"]
    for spec in PARAMETERS:
        default = str(spec.default).lower() if isinstance(spec.default, bool) else spec.default
        meaning = spec.description + (f" ({', '.join(spec.choices)})" if spec.choices else "")
        shown = f"`{default}`" if default != "" else "-"
        rows.append(f"| `{spec.name}` | {shown} | {'yes' if spec.live else ''} | {meaning} |")
    return "\n".join(rows)


def test_every_parameter_is_there_with_its_default():
    table = parameter_table()
    assert table in README, f"the README's table of parameters should be:\n{table}"


def test_every_topic_is_there():
    from drive_seg.ros.outputs import OUTPUTS

    missing = [o.topic for o in OUTPUTS if f"`{o.topic}`" not in README]
    assert not missing


def test_every_subcommand_is_there_and_exists():
    import importlib

    from drive_seg.cli.main import COMMANDS

    for name in COMMANDS:
        module = importlib.import_module(f"drive_seg.cli.{name}")
        assert callable(module.run) and callable(module.add_arguments)
        assert f"drive-seg {name}" in README


@pytest.mark.parametrize("word", ["/work/", "/tmp/", "TODO"])
def test_nothing_of_the_workshop_is_left(word):
    assert word not in README
