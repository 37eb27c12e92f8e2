"""MkDocs hook: pages of the site that live elsewhere in the repository, so that each text stands once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

PAGES = {
    "README.md": "index.md",
    "engines/README.md": "model_card.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files outside docs/ and the pages that they become."""

_LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, page, content=_relinked(text, Path(source).parent)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page in docs/ that lead out of it."""
    return markdown if page.file.src_uri in PAGES.values() else _relinked(markdown, Path("docs"))


def _relinked(text: str, folder: Path) -> str:
    """The text with its links, which are relative to `folder`, as links between pages of the site."""

    def moved(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = (ROOT / folder / target).resolve()
        if not path.is_relative_to(ROOT):
            return match[0]
        relative = path.relative_to(ROOT).as_posix()
        return match[1] + PAGES.get(relative, relative.removeprefix("docs/"))

    return _LINK.sub(moved, text)
