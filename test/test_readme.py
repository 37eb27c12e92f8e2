"""README and docs say what the code says (parameters, topics, subcommands), and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "engines/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("text", [README, page("topics.md")], ids=["README", "topics"])
def test_every_topic_is_there(text):
    from drive_seg.ros.outputs import OUTPUTS

    missing = [o.topic for o in OUTPUTS if f"`{o.topic}`" not in text]
    assert not missing


def test_every_subcommand_is_there_and_exists():
    from drive_seg.cli.main import COMMANDS, load

    for name in COMMANDS:
        module = load(name)
        assert callable(module.run) and callable(module.add_arguments)
        assert f"drive-seg {name}" in README and f"`drive-seg {name}" in page("command_line.md")


def test_the_readme_stays_an_overview():
    assert len(README.splitlines()) <= 150


def anchors(text: str) -> set[str]:
    """What headings are called in links, as GitHub and MkDocs have it."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text):
        if "://" in target:
            continue
        found = (path.parent / target).resolve() if target else path
        assert found.is_file(), f"{path.name} links to {target}, which does not exist"
        assert found.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(found.read_text()), f"{path.name}: {target}#{anchor} does not exist"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
@pytest.mark.parametrize("word", ["/work/", "/tmp/", "TODO"])
def test_nothing_of_the_workshop_is_left(path, word):
    assert word not in path.read_text()


def test_every_page_is_in_the_site():
    listed = set(re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert {path.name for path in PAGES if path.parent == ROOT / "docs"} <= listed


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    import cv2
    from colours import paint_scene

    code = re.search(r"```python\n(import cv2, drive_seg\n.*?)```", README, re.S)[1]
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("road.jpg", paint_scene())
    exec(compile(code, "README.md", "exec"), {})
    assert re.fullmatch(r"<Segmentation 640x360, \d+ % drivable, \d+ % unknown>\n", capsys.readouterr().out)
    assert cv2.imread("out.png").shape == (360, 640, 3)
