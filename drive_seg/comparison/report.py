"""The page and the verdict of a comparison of two networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from drive_seg.comparison.networks import Compared, Side, worse_sets
from drive_seg.comparison.page import Cell, Section, compared_sections, show, table, write_page
from drive_seg.core.classes import LABEL_NAMES
from drive_seg.replay.summary import describe


def verdict(compared: Sequence[Compared]) -> tuple[str, str]:
    """(what the page's badge says, its kind)."""
    if worse := worse_sets(compared):
        return f"worse on {', '.join(one.name for one in worse)}", "bad"
    gains = [one.gain for one in compared if one.gain is not None]
    if not gains:
        return "no labels: what changed is shown, not whether it is better", "warn"
    return f"not worse, {100 * sum(gains) / len(gains):+.2f} points", "good"


def write_report(file: Path, former: Side, new: Side, compared: Sequence[Compared]) -> None:
    """The whole page."""
    text, kind = verdict(compared)
    pictures = sum(one.pictures for one in compared)
    tiles = [(str(pictures), "pictures")]
    for one in compared:
        if one.gain is not None:
            tiles.append((f"{100 * one.gain:+.2f}", f"points on {one.name}"))
        tiles.append((f"{100 * one.changed:.2f} %", f"changed on {one.name}"))
    write_page(file, kicker="drive_seg compare", title=f"{former.network.name} against {new.network.name}",
               subtitle="former against new", verdict=text, kind=kind, tiles=tiles,
               sections=[*compared_sections(compared), origin(former, new)],
               pictures=any(one.examples for one in compared))


def origin(former: Side, new: Side) -> Section:
    """Which networks they were, and on what."""
    facts = [describe(side.segmenter) for side in (former, new)]
    rows: list[list[Cell]] = [[name, (str(facts[0][key]), ""), (str(facts[1][key]), "")] for name, key in (
        ("network", "network"), ("SHA-256", "network_sha256"), ("engine", "engine"), ("precision", "precision"),
        ("ran", "file"), ("input", "input_size"), ("classes", "classes"))]
    return Section("How it was made", table(("", "former", "new"), rows))


def lines(compared: Sequence[Compared]) -> Iterator[str]:
    """What a person reads."""
    for one in compared:
        yield f"{one.name}: {one.pictures} pictures, {one.changed:.2%} of the pixels changed"
        if one.better is not None:
            yield f"  {one.better:.2%} got better, {one.worse:.2%} got worse"
        for name in ("planning_iou", *(f"{LABEL_NAMES[g]}_iou" for g in (1, 2, 3)), "miou", "drivable_iou",
                     "drivable_false_drivable", "confidence", "unknown", "steadiness", "domain_shift"):
            former, new = one.former.get(name), one.new.get(name)
            if former is not None and new is not None:
                yield f"  {name:24} {show(name, former):>9} -> {show(name, new):>9}"
        for example in one.examples[:3]:
            yield f"  {example.name}: {example.changed:.1%} changed: {'; '.join(map(str, example.regions)) or '-'}"
        if one.skipped:
            yield f"  {len(one.skipped)} frames could not be read, {one.skipped[0]}"
    text, _ = verdict(compared)
    yield text
