"""config/drive_seg.yaml and docs/parameters.md are made from the table of settings, and list it as it is."""

from pathlib import Path

import pytest
import yaml

from drive_seg.parameter_file import TEXTS, docs_text
from drive_seg.settings import TABLE

ROOT = Path(__file__).parents[1]
FILES = {"config": ROOT / "config/drive_seg.yaml", "docs": ROOT / "docs/parameters.md"}


@pytest.mark.parametrize("name", FILES)
def test_is_up_to_date(name):
    where = FILES[name].relative_to(ROOT)
    assert FILES[name].read_text() == TEXTS[name](), f"run python -m drive_seg.parameter_file {name} > {where}"


def test_lists_every_parameter_with_its_default():
    listed = yaml.safe_load(FILES["config"].read_text())["/**"]["ros__parameters"]
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in listed.items()}
    assert found == {name: setting.default for name, setting in TABLE.items()}
    assert {name: type(value) for name, value in found.items()} == {s.name: s.kind for s in TABLE.values()}


def test_the_page_has_a_row_for_every_parameter():
    assert all(docs_text().count(f"\n| `{name}` |") == 1 for name in TABLE)
