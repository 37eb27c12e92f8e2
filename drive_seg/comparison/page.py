"""One HTML page in the style of the replay report, with everything in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from drive_seg.comparison.changes import CODE_COLOURS, LABELS
from drive_seg.comparison.networks import Compared, Example
from drive_seg.core.classes import LABEL_NAMES
from drive_seg.core.overlay import draw_overlay
from drive_seg.replay.report import jpeg

Cell = str | tuple[str, str]
"""A cell of a table: text, or (text, class)."""

NAMES = {
    "planning_iou": "mean IoU of road, pavement, obstacle", "road_iou": "road IoU", "pavement_iou": "pavement IoU",
    "obstacle_iou": "obstacle IoU", "miou": "mIoU", "pixel_accuracy": "pixels right", "boundary_iou": "Boundary IoU",
    "drivable_iou": "drivable area, IoU with true road", "drivable_false_drivable": "called drivable, is not road",
    "drivable_false_drivable_obstacle": "called drivable, is an obstacle",
    "drivable_missed": "true road that is not drivable", "confidence": "confidence", "unknown": "unknown share",
    "drivable": "drivable share", "steadiness": "labels that stay from frame to frame", "flicker": "flicker",
    "domain_shift": "domain shift (standard deviations)",
}
LESS_IS_BETTER = {"drivable_false_drivable", "drivable_false_drivable_obstacle", "drivable_missed", "unknown",
                  "flicker", "domain_shift"}
UNJUDGED = {"drivable"}

_MODES = ("changes", "former", "new", "image")

_CSS = """
.cards { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
.cards figure { margin: 0; } .cards img { width: 100%; display: block; border-radius: 8px; background: #000; }
td.good, td.bad { font-weight: 600; } .scroll { overflow-x: auto; }
.bar-fixed { position: sticky; top: 0; z-index: 2; padding: 8px 0; background: var(--ground); }
.keys i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 5px 0 12px; }
"""
_SCRIPT = """
"use strict";
const buttons = document.querySelectorAll("#mode button"), pictures = document.querySelectorAll("img[data-changes]");
function show(mode) {
  for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.mode === mode);
  for (const picture of pictures) picture.src = picture.dataset[mode];
}
for (const button of buttons) button.onclick = () => show(button.dataset.mode);
document.addEventListener("keydown", (event) => {
  const at = ["1", "2", "3", "4"].indexOf(event.key);
  if (at >= 0 && buttons.length) buttons[at].click();
});
"""


@dataclass(frozen=True)
class Section:
    """A card of the page. body: HTML."""

    title: str
    body: str


@cache
def _style() -> str:
    return (resources.files("drive_seg.replay") / "page" / "report.css").read_text(encoding="utf-8") + _CSS


def write_page(file: Path, *, kicker: str, title: str, subtitle: str, verdict: str, kind: str,
               tiles: Sequence[tuple[str, str]], sections: Sequence[Section], pictures: bool = True) -> None:
    """Write the page. kind: of the verdict, `good`, `bad` or `warn`. tiles: (value, name). pictures: whether a section
    has cards of `examples`, which then get their switch."""
    figures = "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
                      for value, name in tiles)
    cards = "".join(f'<section class="card"><h2>{escape(s.title)}</h2>{s.body}</section>' for s in sections)
    switch = ""
    if pictures:
        buttons = "".join(f'<button data-mode="{mode}" aria-pressed="{str(mode == "changes").lower()}">'
                          f"{mode.capitalize()}</button>" for mode in _MODES)
        switch = ('<div class="bar-fixed controls"><div role="group" aria-label="What is drawn" class="switch"'
                  f' id="mode">{buttons}</div><span class="muted">keys 1 to 4</span></div>')
    text = (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
            ' content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
            f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_style()}</style></head><body>'
            f'<header><div><p class="kicker">{escape(kicker)}</p><h1>{escape(title)}</h1><p class="muted">'
            f'{escape(subtitle)}</p></div><p class="badge {kind}">{escape(verdict)}</p></header><main>'
            f'<section class="tiles" aria-label="Key figures">{figures}</section>{switch}{cards}</main>'
            f"<script>{_SCRIPT}</script></body></html>\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError:  # on a full disk, half a page
        file.unlink(missing_ok=True)
        raise


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """An HTML table."""
    def cell(content: Cell, tag: str) -> str:
        text, kind = content if isinstance(content, tuple) else (content, "number")
        return f'<{tag} class="{kind}">{escape(text)}</{tag}>'

    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(cell(c, "th" if i == 0 else "td") for i, c in enumerate(row)) + "</tr>"
                   for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def compared_sections(compared: Sequence[Compared]) -> list[Section]:
    """For each data set or drive its figures, what became of what, and the pictures that changed most."""
    sections = []
    for one in compared:
        body = f'<p class="muted">{_summary(one)}</p><div class="two"><div>{figures_table(one)}</div>'
        body += f"<div><h3>What became of what, % of the pixels</h3>{_transitions(one.transitions)}</div></div>"
        if one.examples:
            known = one.kind == "labelled"
            body += f"<h3>Pictures that changed most</h3>{_key(known)}{_cards(one.examples)}"
        sections.append(Section(f"{'Labelled' if one.kind == 'labelled' else 'Drive'}: {one.name}", body))
    return sections


def figures_table(one: Compared) -> str:
    """Former, new and difference of each figure."""
    rows: list[list[Cell]] = []
    for name in one.former:
        former, new = one.former[name], one.new.get(name)
        if former is None and new is None:
            continue
        rows.append([NAMES.get(name, name), show(name, former), show(name, new), difference(name, former, new)])
    return table(("", "former", "new", "difference"), rows)


def show(name: str, value: float | None) -> str:
    """A figure as people read it."""
    if value is None:
        return "–"
    return f"{value:.2f}" if name == "domain_shift" else f"{100 * value:.2f} %"


def difference(name: str, former: float | None, new: float | None) -> tuple[str, str]:
    """The difference, and whether it is good."""
    if former is None or new is None:
        return "–", "number"
    change = new - former
    text = f"{change:+.2f}" if name == "domain_shift" else f"{100 * change:+.2f}"
    if abs(change) < 5e-5 or name in UNJUDGED:
        return text, "number"
    return text, "number good" if (change < 0) == (name in LESS_IS_BETTER) else "number bad"


def _summary(one: Compared) -> str:
    parts = [f"{one.pictures} pictures", f"{one.changed:.2%} of the pixels changed their label",
             f"drivable areas agree by {one.agreement.get('drivable', 1.0):.1%} (IoU)"]
    if one.better is not None:
        parts.append(f"{one.better:.2%} got better, {one.worse:.2%} got worse")
    if one.skipped:
        parts.append(f"{len(one.skipped)} frames could not be read")
    return escape("; ".join(parts))


def _transitions(matrix: np.ndarray) -> str:
    names = [LABEL_NAMES[label] for label in LABELS]
    total = max(1, int(matrix.sum()))
    rows = []
    for i, name in enumerate(names):
        shares = matrix[i] / total
        rows.append([f"{name} was", *(f"{100 * v:.2f}" if v else "" for v in shares)])
    return table(("", *(f"is {name}" for name in names)), rows)


def _key(known: bool) -> str:
    entries = [("got better", 1), ("got worse", 2), ("changed", 3)] if known else [("changed", 3)]
    return '<p class="muted keys">' + "".join(
        f'<i style="background:rgb{CODE_COLOURS[code]}"></i>{name}' for name, code in entries) + "</p>"


def _cards(examples: Sequence[Example]) -> str:
    return '<div class="cards">' + "".join(_card(example) for example in examples) + "</div>"


def _card(example: Example) -> str:
    drawn = {"changes": _changes(example), "image": example.image,
             "former": draw_overlay(example.image, example.former, example.former_drivable, legend=False),
             "new": draw_overlay(example.image, example.new, example.new_drivable, legend=False)}
    sources = {mode: jpeg(picture, 72) for mode, picture in drawn.items()}
    data = " ".join(f'data-{mode}="{source}"' for mode, source in sources.items())
    text = f"{example.name}: {example.changed:.1%} changed"
    if example.better is not None:
        text += f", {example.better:.1%} better, {example.worse:.1%} worse"
    found = "; ".join(map(str, example.regions))
    return (f'<figure><img src="{sources["changes"]}" {data} alt="{escape(text)}" loading="lazy"><figcaption>'
            f"{escape(text)}{'<br>' + escape(found) if found else ''}</figcaption></figure>")


def _changes(example: Example) -> np.ndarray:
    out = example.image // 2
    for code, colour in CODE_COLOURS.items():
        out[example.codes == code] = colour[::-1]
    for region in example.regions:
        scale = example.image.shape[1] / example.full_width
        left, top, wide, high = (round(v * scale) for v in region.box)
        cv2.rectangle(out, (left, top), (left + wide, top + high), (255, 255, 255), 1)
    return out

